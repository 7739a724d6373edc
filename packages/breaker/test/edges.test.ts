import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { dryRun } from '../src/dry-run.ts'
import { type CircuitBreakerOpenError, CircuitBreakerRegistry, fetchWithBreaker } from '../src/index.ts'
import { bench, deferred, fakeClock } from './fake-clock.ts'

const operator = { actor: 'test' }
const refusal = async (call: Promise<unknown>): Promise<CircuitBreakerOpenError> =>
  (await call.catch((error: unknown) => error)) as CircuitBreakerOpenError

describe('refusals', () => {
  test('B2: forced open says to come back after `openMs`, taken trials after a second, and both have no next attempt', async () => {
    const { breaker, open, clock } = bench()
    await open()
    clock.advance(60_000)
    for (let n = 0; n < 2; n++) void breaker.run(() => deferred().promise)
    const taken = await refusal(breaker.run(() => 'x'))
    expect([taken.state, taken.retryAfterMs, taken.nextAttemptTime]).toEqual(['HALF_OPEN', 1_000, undefined])
    breaker.forceOpen(operator)
    const forced = await refusal(breaker.run(() => 'x'))
    expect([forced.state, forced.retryAfterMs, forced.nextAttemptTime]).toEqual(['OPEN', 60_000, undefined])
  })

  test('B2: has no stack, and leaves the stacks of others alone', async () => {
    const { breaker, open } = bench()
    await open()
    const error = await refusal(breaker.run(() => 'x'))
    expect(error.stack).not.toContain('\n    at ')
    expect(new Error('x').stack).toContain('\n    at ')
  })

  test('B2: the cause is the failure that opened it, also one of a trial, of a permit, or none for a bad result', async () => {
    const { breaker, open, clock } = bench()
    await open()
    clock.advance(60_000)
    const trial = new Error('trial')
    await breaker.run(() => Promise.reject(trial)).catch(() => {})
    expect((await refusal(breaker.run(() => 'x'))).cause).toBe(trial)
    breaker.reset(operator)
    const permitted = new Error('permit')
    for (let n = 0; n < 5; n++) await (await breaker.permit()).fail(permitted)
    expect((await refusal(breaker.run(() => 'x'))).cause).toBe(permitted)
    clock.advance(60_000)
    await breaker.run(() => 503, { judge: () => 'failure' })
    expect((await refusal(breaker.run(() => 'x'))).cause).toBeUndefined()
  })
})

describe('snapshots', () => {
  test('B9: the last failure keeps its age, a whole remainder is one, and what was there is replaced', async () => {
    const { breaker, fail, open, clock } = bench()
    await fail()
    clock.advance(3_000)
    const aged = breaker.snapshot()
    const { breaker: restarted, clock: restartedClock, fail: failAgain } = bench()
    for (let n = 0; n < 3; n++) await failAgain()
    restarted.hydrate(aged)
    expect([restarted.failureCount, restarted.lastFailureTime?.getTime()]).toEqual([
      1,
      restartedClock.wallNow() - 3_000,
    ])
    await open()
    expect(breaker.snapshot().openRemainingMs).toBe(60_000)
    expect(restarted.hydrate(breaker.snapshot())).toBe(true)
    restarted.forceOpen(operator)
    expect(restarted.hydrate('corrupt')).toBe(false)
    expect([restarted.state, restarted.forced, restarted.failureCount]).toEqual(['CLOSED', undefined, 0])
  })
})

describe('window', () => {
  test('B1: without a threshold the count is that of the tenths, and counts on', async () => {
    const { breaker, fail, clock } = bench({ failureThreshold: Infinity })
    for (let n = 0; n < 50; n++) await fail()
    expect([breaker.failureCount, breaker.state]).toEqual([50, 'CLOSED'])
    clock.advance(11_001)
    expect(breaker.failureCount).toBe(0)
    expect(breaker.snapshot().failureAgesMs).toEqual([])
  })

  test('B1: counts on beyond what it keeps by time while forced', async () => {
    const { breaker, fail, clock } = bench()
    breaker.disable(operator)
    for (let n = 0; n < 1_200; n++) await fail()
    expect(breaker.failureCount).toBe(1_200)
    clock.advance(20_000)
    expect(breaker.failureCount).toBe(0)
  })
})

describe('verdicts', () => {
  test('B5: an alias does not match the code of another cause', async () => {
    const { breaker, fail } = bench({ expectedErrors: ['connection_refused', 'database_unavailable'] })
    await fail(new Error('x', { cause: { code: 'ENOTFOUND' } }))
    expect(breaker.failureCount).toBe(0)
    await fail(new Error('x', { cause: { code: 'ECONNREFUSED' } }))
    await fail(new Error('x', { cause: { code: '08001' } }))
    expect(breaker.failureCount).toBe(2)
  })
})

describe('time limits', () => {
  test("B5: the caller's abort reaches a call with a time limit, before and after its signal is read, and leaves no listener", async () => {
    const { breaker } = bench({ callTimeoutMs: 60_000, failureThreshold: 1 })
    for (const early of [true, false]) {
      const controller = new AbortController()
      const started = deferred<void>()
      const read = deferred<void>()
      const call = breaker.run(
        async (context) => {
          if (!early) void context.signal
          started.resolve()
          await read.promise
          context.signal.throwIfAborted()
        },
        { signal: controller.signal },
      )
      await started.promise
      controller.abort(new Error('gone'))
      read.resolve()
      await expect(call).rejects.toThrow('gone')
    }
    const { signal } = new AbortController()
    await breaker.run((context) => context.signal.aborted, { signal })
    expect(getEventListeners(signal, 'abort')).toEqual([])
    expect([breaker.state, breaker.figures.neutral]).toEqual(['CLOSED', 2])
  })

  test('B5: a signal that is read after the time is over has aborted with the reason', async () => {
    const { breaker } = bench({ callTimeoutMs: 1 })
    const after = deferred<unknown>()
    const late = deferred<void>()
    const call = breaker.run(async (context) => {
      await late.promise
      after.resolve((context.signal.reason as { code: string }).code)
    })
    await expect(call).rejects.toMatchObject({ code: 'call_timeout' })
    late.resolve()
    expect(await after.promise).toBe('call_timeout')
  })
})

describe('registry', () => {
  test('B11: tells how many it forgot', () => {
    const clock = fakeClock()
    const registry = new CircuitBreakerRegistry({ maxKeys: 1, idleMs: 1_000, now: clock.now })
    registry.for('a')
    registry.for('b')
    clock.advance(1_000)
    registry.for('b')
    expect(registry.figures).toEqual({ named: 0, keyed: 1, overflow: 0, evicted: 2 })
  })
})

describe('cluster', () => {
  test('B14: a cluster that opens moves the wait of one that is open; one that closes leaves the closed and the forced alone', async () => {
    const { breaker, open, clock, fail } = bench()
    await open()
    breaker.openByCluster(5_000)
    expect(breaker.nextAttemptTime?.getTime()).toBe(clock.wallNow() + 5_000)
    breaker.closeByCluster()
    expect([breaker.state, breaker.failureCount]).toEqual(['CLOSED', 0])
    await fail()
    breaker.closeByCluster()
    expect(breaker.failureCount).toBe(1)
    breaker.forceOpen(operator)
    breaker.closeByCluster()
    breaker.openByCluster(5_000)
    expect([breaker.state, breaker.forced, breaker.nextAttemptTime]).toEqual(['OPEN', 'open', undefined])
  })
})

describe('dry run', () => {
  test('B13: calls without a duration count, and of two at one instant the one that ends makes room', async () => {
    const at = (startedAtMs: number, durationMs: number, verdict: 'ok' | 'failure') => ({
      startedAtMs,
      durationMs,
      verdict,
    })
    const options = { name: 'x', failureThreshold: 1, openMs: 100, halfOpenMaxCalls: 2 }
    const instant = await dryRun([at(0, 0, 'failure'), at(100, 0, 'ok'), at(100, 0, 'ok'), at(101, 0, 'ok')], options)
    expect(instant).toMatchObject({ made: 4, refused: 0, notClosedMs: 100 })
    const handed = await dryRun(
      [at(0, 1, 'failure'), at(101, 50, 'ok'), at(101, 50, 'ok'), at(151, 1, 'ok'), at(150, 1, 'ok')],
      options,
    )
    expect(handed).toMatchObject({ made: 4, refused: 1, lostSuccesses: 1 })
  })
})

test('B5: with `countBody`, a body that its caller aborts is neutral', async () => {
  const { breaker } = bench({ failureThreshold: 1 })
  const controller = new AbortController()
  const get = fetchWithBreaker({
    breaker,
    countBody: true,
    fetch: async (_input, init) =>
      new Response(
        new ReadableStream({
          start(stream) {
            stream.enqueue(new Uint8Array(1))
            init?.signal?.addEventListener('abort', () => stream.error(init.signal?.reason))
          },
        }),
      ),
  })
  const response = await get('http://127.0.0.1/', { signal: controller.signal })
  const reader = response.body!.getReader()
  await reader.read()
  controller.abort(new Error('gone'))
  await expect(reader.read()).rejects.toThrow('gone')
  expect([breaker.state, breaker.figures.neutral]).toEqual(['CLOSED', 1])
})
