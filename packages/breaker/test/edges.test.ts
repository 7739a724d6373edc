import { getEventListeners, once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test, vi } from 'vitest'
import { dryRun } from '../src/dry-run.ts'
import { type CircuitBreakerOpenError, CircuitBreakerRegistry, fetchWithBreaker } from '../src/index.ts'
import { bench, codeOf, deferred, fakeClock } from './fake-clock.ts'

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

test("B5: with a time limit the caller's abort still ends a body whose head has come", async () => {
  const upstream = createServer((_incoming, response) => {
    response.writeHead(200).write('half')
  })
  upstream.listen(0, '127.0.0.1')
  await once(upstream, 'listening')
  const origin = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`
  const { breaker } = bench({ callTimeoutMs: 60_000, failureThreshold: 1 })
  try {
    for (const send of [
      (signal: AbortSignal) => fetchWithBreaker({ breaker })(`${origin}/`, { signal }),
      (signal: AbortSignal) => fetchWithBreaker({ breaker })(new Request(`${origin}/`, { signal })),
    ]) {
      const controller = new AbortController()
      const reader = (await send(controller.signal)).body!.getReader()
      await reader.read()
      controller.abort(new Error('gone'))
      await expect(reader.read()).rejects.toThrow('gone')
    }
    expect([breaker.state, breaker.figures.successes]).toEqual(['CLOSED', 2])
  } finally {
    upstream.closeAllConnections()
    upstream.close()
  }
})

test('B5: with `countBody` a `failureStatus` that throws gives the place of a trial back', async () => {
  const { breaker, open, clock } = bench({ halfOpenMaxCalls: 1 })
  await open()
  clock.advance(60_000)
  const get = fetchWithBreaker({
    breaker,
    countBody: true,
    fetch: async () => new Response('ok'),
    failureStatus() {
      throw new Error('in the option')
    },
  })
  await expect(get('http://127.0.0.1/')).rejects.toThrow('in the option')
  expect(breaker.state).toBe('OPEN')
})

describe('numbers that are none', () => {
  test.each([Number.NaN, Number.POSITIVE_INFINITY, 0, -1])('B8: `trip` refuses %s for `openMs`', (openMs) => {
    const { breaker } = bench()
    expect(() => breaker.trip({ openMs })).toThrow('Expected `openMs` to be a finite number above 0')
    expect(breaker.state).toBe('CLOSED')
  })

  test.each([Number.NaN, Number.POSITIVE_INFINITY])('B9: `hydrate` refuses %s for `elapsedMs`', async (elapsedMs) => {
    const { breaker, open } = bench()
    await open()
    expect(() => breaker.hydrate(breaker.snapshot(), { elapsedMs })).toThrow(
      'Expected `elapsedMs` to be a finite number',
    )
    expect(breaker.state).toBe('OPEN')
  })

  test('B8: times beyond what a date can hold are its ends, and the JSON is there', () => {
    const { breaker } = bench({ openMs: 1e300 })
    breaker.hydrate({ ...breaker.snapshot(), lastFailureAgeMs: 1e300 })
    breaker.trip()
    expect(breaker.toJSON()).toMatchObject({
      last_failure: '-271821-04-20T00:00:00.000Z',
      next_attempt: '+275760-09-13T00:00:00.000Z',
    })
  })

  test('B9: one that was tripped for longer than `openMs` gives a snapshot that keeps it open', () => {
    const { breaker } = bench()
    breaker.trip({ openMs: 600_000 })
    const { breaker: restarted } = bench()
    expect(restarted.hydrate(breaker.snapshot())).toBe(true)
    expect([restarted.state, restarted.ready]).toEqual(['OPEN', false])
  })

  test('B5: a time limit that no timer can keep is refused', () => {
    expect(() => bench({ callTimeoutMs: 2 ** 31 })).toThrow('Expected `callTimeoutMs` to be a number above 0 and up to')
    expect(bench({ callTimeoutMs: 2 ** 31 - 1 }).breaker.timesCalls).toBe(true)
  })
})

describe('slow calls', () => {
  const slow = { slowCallMs: 1_000, slowCallRatio: 0.5, minimumCalls: 2, failureThreshold: 100 }
  const take = ({ breaker, clock }: ReturnType<typeof bench>, ms: number, error?: Error) =>
    breaker
      .run(async () => {
        clock.advance(ms)
        if (error !== undefined) throw error
      })
      .catch(() => {})

  test('B13: a call that is slow and fails opens it too', async () => {
    const made = bench(slow)
    await take(made, 0)
    await take(made, 1_000, new Error('slow and down'))
    expect(made.breaker.state).toBe('OPEN')
  })

  test('B13: slow calls leave the window by their age, and by a reset', async () => {
    for (const empty of [
      ({ clock }: ReturnType<typeof bench>) => clock.advance(11_000),
      ({ breaker }: ReturnType<typeof bench>) => breaker.reset(operator),
    ]) {
      const made = bench({ ...slow, minimumCalls: 3 })
      await take(made, 1_000)
      await take(made, 1_000)
      empty(made)
      for (const ms of [0, 0, 1_000]) await take(made, ms)
      expect(made.breaker.state).toBe('CLOSED')
    }
  })

  test('B7: one that is disabled notes where slow calls would have opened it', async () => {
    const made = bench(slow)
    made.breaker.disable(operator)
    await take(made, 1_000)
    await take(made, 1_000)
    expect([made.breaker.state, made.breaker.figures.suppressed]).toEqual(['CLOSED', 1])
  })

  test('B6: a slow call of an earlier time is not counted among the slow ones', async () => {
    const { breaker, clock } = bench(slow)
    const ends = deferred()
    const call = breaker.run(() => ends.promise)
    await new Promise((resolve) => setImmediate(resolve))
    breaker.reset(operator)
    clock.advance(1_000)
    ends.resolve('late')
    await call
    expect(breaker.figures).toMatchObject({ slow: 0, late: 1 })
  })
})

test('B5: the time limit is a failure also when the caller has aborted', async () => {
  const controller = new AbortController()
  let fire = (): void => {}
  const { breaker } = bench({
    callTimeoutMs: 50,
    failureThreshold: 1,
    delay(task) {
      fire = task
      return () => {}
    },
  })
  const call = breaker.run(() => deferred().promise, { signal: controller.signal })
  await new Promise((resolve) => setImmediate(resolve))
  controller.abort()
  fire()
  expect([await codeOf(call), breaker.state]).toEqual(['call_timeout', 'OPEN'])
})

test('B5: a permit at the end of its block, also a synchronous one, says nothing', async () => {
  const { breaker, open, clock } = bench({ halfOpenMaxCalls: 1 })
  await open()
  clock.advance(60_000)
  {
    using _permit = await breaker.permit()
  }
  await new Promise((resolve) => setImmediate(resolve))
  expect([breaker.state, breaker.figures.neutral]).toEqual(['HALF_OPEN', 1])
  expect(await breaker.run(() => 'the place is free')).toBe('the place is free')
})

test('B9: time that is told to have run backwards lengthens nothing', async () => {
  const { breaker, open } = bench()
  await open()
  const { breaker: restarted, clock } = bench()
  restarted.hydrate(breaker.snapshot(), { elapsedMs: -60_000 })
  expect(restarted.nextAttemptTime?.getTime()).toBe(clock.wallNow() + 60_000)
})

test('B10: a listener that has left hears nothing, and a warning that rejects is no rejection', async () => {
  const { breaker } = bench({ onWarning: () => Promise.reject(new Error('in the hook')) })
  const heard: string[] = []
  const leave = breaker.subscribe(({ type }) => heard.push(type))
  breaker.trip()
  leave()
  breaker.reset(operator)
  breaker.hydrate('corrupt')
  await new Promise((resolve) => setImmediate(resolve))
  expect([heard, breaker.figures.warnings]).toEqual([['breaker.opened'], 1])
})

describe('a registry that is full', () => {
  test('B11: use keeps a breaker from being idle', () => {
    const clock = fakeClock()
    const registry = new CircuitBreakerRegistry({ idleMs: 1_000, now: clock.now })
    const used = registry.for('a')
    for (let n = 0; n < 3; n++) {
      clock.advance(999)
      expect(registry.for('a')).toBe(used)
    }
  })

  test('B11: one that an operator has forced is kept, and several that may not go do not hide one that may', () => {
    const registry = new CircuitBreakerRegistry({ maxKeys: 3 })
    const kept = ['a', 'b'].map((key) => registry.for(key))
    for (const breaker of kept) breaker.forceClose(operator)
    registry.for('c')
    registry.for('d')
    expect(['a', 'b'].map((key) => registry.find(key))).toEqual(kept)
    expect([registry.find('c'), registry.find('d')?.name]).toEqual([undefined, 'd'])
  })

  test('B11: removing tells whether there was one', () => {
    const registry = new CircuitBreakerRegistry().add('x', bench().breaker)
    expect([registry.remove('x'), registry.remove('x'), registry.find('x')]).toEqual([true, false, undefined])
  })
})

describe('options of HTTP', () => {
  test('B5: `failureStatus` decides which answers count, with and without `countBody`', async () => {
    for (const countBody of [false, true]) {
      const { breaker } = bench()
      const get = fetchWithBreaker({
        breaker,
        countBody,
        failureStatus: (status) => status === 404,
        fetch: async (input) => new Response(null, { status: Number(String(input).slice(-3)) }),
      })
      await get('http://127.0.0.1/500')
      expect(breaker.figures).toMatchObject({ successes: 1, failures: 0 })
      await get('http://127.0.0.1/404')
      expect(breaker.figures).toMatchObject({ successes: 1, failures: 1 })
    }
  })

  test('B5: with `countBody` a request that has been aborted already is not sent, and giving a body up reaches the upstream', async () => {
    const { breaker } = bench()
    let sent = 0
    let cancelled: unknown
    const get = fetchWithBreaker({
      breaker,
      countBody: true,
      fetch: async () => {
        sent++
        return new Response(
          new ReadableStream({
            cancel(reason) {
              cancelled = reason
            },
          }),
        )
      },
    })
    await expect(get('http://127.0.0.1/', { signal: AbortSignal.abort(new Error('gone')) })).rejects.toThrow('gone')
    expect(sent).toBe(0)
    await (await get('http://127.0.0.1/')).body!.cancel('enough')
    expect([sent, cancelled]).toEqual([1, 'enough'])
  })
})

test('B13: a dry run ends while open, and a call as long as the time limit is in time', async () => {
  const call = (startedAtMs: number, durationMs: number, verdict: 'ok' | 'failure') => ({
    startedAtMs,
    durationMs,
    verdict,
  })
  const options = { name: 'x', failureThreshold: 1, openMs: 1_000, callTimeoutMs: 50 }
  const report = await dryRun([call(0, 50, 'ok'), call(100, 10, 'failure'), call(200, 10, 'ok')], options)
  expect(report).toMatchObject({ made: 2, refused: 1, openings: [{ atMs: 110 }], notClosedMs: 100 })
})

test('B5: a permit may be the first that is asked of the process', async () => {
  vi.resetModules()
  const { CircuitBreaker } = await import('../src/index.ts')
  const breaker = new CircuitBreaker({ name: 'x' })
  await (await breaker.permit()).succeed()
  expect(breaker.figures.successes).toBe(1)
})
