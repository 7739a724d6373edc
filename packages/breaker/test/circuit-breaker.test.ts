import { describe, expect, test } from 'vitest'
import { type BreakerTransition, CircuitBreaker, CircuitBreakerOpenError } from '../src/index.ts'
import { bench, codeOf, deferred } from './fake-clock.ts'

describe('window', () => {
  test('B1: opens on exactly the Nth counted failure', async () => {
    const { breaker, fail } = bench()
    for (let failures = 1; failures <= 4; failures++) {
      await fail()
      expect([breaker.state, breaker.failureCount]).toEqual(['CLOSED', failures])
    }
    await fail()
    expect([breaker.state, breaker.failureCount]).toEqual(['OPEN', 5])
  })

  test('B1: N - 1 failures and one as old as the window leave it closed; a millisecond younger opens it', async () => {
    for (const [ageMs, state] of [
      [10_000, 'CLOSED'],
      [9_999, 'OPEN'],
    ] as const) {
      const { breaker, fail, clock } = bench()
      await fail()
      clock.advance(5_000)
      for (let n = 0; n < 3; n++) await fail()
      clock.advance(ageMs - 5_000)
      await fail()
      expect(breaker.state, `oldest failure ${ageMs} ms old`).toBe(state)
    }
  })

  test('B1: good calls do not take failures back', async () => {
    const { breaker, fail, pass } = bench()
    for (let n = 0; n < 4; n++) {
      await fail()
      await pass()
    }
    await fail()
    expect(breaker.state).toBe('OPEN')
  })

  test('B1: the count decays on read, without a call', async () => {
    const { breaker, fail, clock } = bench()
    await fail()
    clock.advance(4_000)
    await fail()
    expect(breaker.failureCount).toBe(2)
    clock.advance(6_000)
    expect(breaker.failureCount).toBe(1)
    clock.advance(4_000)
    expect(breaker.failureCount).toBe(0)
  })

  test('B1: a pause of many windows empties all of it', async () => {
    const { breaker, fail, pass, clock } = bench({ failureRatio: 0.5, minimumCalls: 4, failureThreshold: 100 })
    for (let n = 0; n < 3; n++) await fail()
    clock.advance(10_000 * 1_000)
    expect([breaker.failureCount, breaker.failureRate]).toEqual([0, 0])
    await pass()
    await fail()
    expect([breaker.state, breaker.failureRate]).toEqual(['CLOSED', 0.5])
  })
})

describe('open', () => {
  test('B2: refuses without calling until the wait is over, and says how long', async () => {
    const { breaker, open, clock } = bench()
    await open()
    clock.advance(59_999)
    let called = false
    const error = await breaker
      .run(() => {
        called = true
      })
      .then(undefined, (thrown: unknown) => thrown as CircuitBreakerOpenError)
    expect(called).toBe(false)
    expect(error).toBeInstanceOf(CircuitBreakerOpenError)
    expect(error).toMatchObject({
      name: 'CircuitBreakerOpenError',
      code: 'breaker_open',
      circuitBreakerName: 'billing',
      state: 'OPEN',
      retryAfterMs: 1,
    })
    expect((error as CircuitBreakerOpenError).nextAttemptTime?.getTime()).toBe(clock.wallNow() + 1)
    expect((error as CircuitBreakerOpenError).cause).toEqual(new Error('down'))
    clock.advance(1)
    expect(await breaker.run(() => 'called')).toBe('called')
  })

  test('B2: the wall clock stepped an hour either way changes nothing', async () => {
    for (const stepMs of [3_600_000, -3_600_000]) {
      const { breaker, fail, pass, open, clock } = bench()
      await fail()
      clock.stepWall(stepMs)
      expect(breaker.failureCount).toBe(1)
      await open()
      clock.stepWall(stepMs)
      clock.advance(59_999)
      expect(await codeOf(breaker.run(() => 'x'))).toBe('breaker_open')
      clock.advance(1)
      clock.stepWall(-stepMs)
      expect([await pass(), await pass(), breaker.state]).toEqual(['ok', 'ok', 'CLOSED'])
    }
  })

  test('B2: the answer for a client is a 503 problem with whole seconds', async () => {
    const { breaker, open, clock } = bench()
    await open()
    clock.advance(57_300)
    const error = (await breaker.run(() => 'x').catch((thrown: unknown) => thrown)) as CircuitBreakerOpenError
    const response = error.getResponse()
    expect([response.status, response.headers.get('retry-after'), response.headers.get('content-type')]).toEqual([
      503,
      '3',
      'application/problem+json',
    ])
    expect(response.headers.get('cache-control')).toBe('no-store')
    expect(await response.json()).toMatchObject({
      circuit_breaker_open: true,
      service: 'billing',
      state: 'OPEN',
      code: 'breaker_open',
      status: 503,
    })
  })

  test('B2: jitter adds up to its part of the wait, by the random number given', async () => {
    const { breaker, open, clock } = bench({ openJitterRatio: 0.5, random: () => 0.5 })
    await open()
    expect(breaker.nextAttemptTime?.getTime()).toBe(clock.wallNow() + 75_000)
  })
})

describe('half-open', () => {
  test('B3: of 20 at once exactly the trials are called, the rest is refused at once', async () => {
    const { breaker, open, clock } = bench()
    await open()
    clock.advance(60_000)
    const gate = deferred()
    let called = 0
    const calls = Array.from({ length: 20 }, () =>
      codeOf(
        breaker.run(() => {
          called++
          return gate.promise
        }),
      ),
    )
    const refused = await Promise.all(calls.slice(2))
    expect([called, breaker.state, new Set(refused)]).toEqual([2, 'HALF_OPEN', new Set(['breaker_open'])])
    gate.resolve('ok')
    expect(await Promise.all(calls.slice(0, 2))).toEqual([undefined, undefined])
    expect([breaker.state, breaker.failureCount, breaker.failureRate]).toEqual(['CLOSED', 0, 0])
  })

  test('B3: the first failed trial opens it again for a full period, also while another runs', async () => {
    const { breaker, open, clock } = bench()
    await open()
    clock.advance(70_000)
    const other = deferred()
    const running = breaker.run(() => other.promise)
    const failed = codeOf(breaker.run(() => Promise.reject(new Error('still down'))))
    const third = codeOf(breaker.run(() => 'x'))
    await failed
    expect(breaker.state).toBe('OPEN')
    expect(await third).toBe('breaker_open')
    expect(breaker.nextAttemptTime?.getTime()).toBe(clock.wallNow() + 60_000)
    other.resolve('late')
    expect(await running).toBe('late')
    expect([breaker.state, breaker.figures.late]).toEqual(['OPEN', 1])
  })

  test('B3: a trial that throws at once, or that rejects, gives its place back', async () => {
    const { breaker, open, clock } = bench({ ignoreErrors: ['Neutral'] })
    await open()
    clock.advance(60_000)
    const neutral = Object.assign(new Error('says nothing'), { name: 'Neutral' })
    for (let n = 0; n < 5; n++) {
      await expect(
        breaker.run(() => {
          throw neutral
        }),
      ).rejects.toBe(neutral)
      await expect(breaker.run(() => Promise.reject(neutral))).rejects.toBe(neutral)
    }
    expect(breaker.state).toBe('HALF_OPEN')
    expect(await breaker.run(() => 1)).toBe(1)
    expect(await breaker.run(() => 2)).toBe(2)
    expect(breaker.state).toBe('CLOSED')
  })

  test('B3: a trial that outlives its half-open time keeps its place in the next', async () => {
    const { breaker, open, clock } = bench({ maxHalfOpenMs: 600_000 })
    await open()
    clock.advance(60_000)
    const gate = deferred()
    const long = breaker.run(() => gate.promise)
    await codeOf(breaker.run(() => Promise.reject(new Error('down'))))
    clock.advance(60_000)
    let called = 0
    const calls = [1, 2, 3].map(() =>
      codeOf(
        breaker.run(() => {
          called++
          return deferred().promise
        }),
      ),
    )
    expect(await Promise.all(calls.slice(1))).toEqual(['breaker_open', 'breaker_open'])
    expect(called).toBe(1)
    gate.resolve('late')
    await long
  })

  test('B4: a hung trial opens it again, as of the time it hung, and its place is free', async () => {
    const { breaker, open, pass, clock } = bench({ maxHalfOpenMs: 5_000 })
    await open()
    clock.advance(60_000)
    const gate = deferred()
    const hung = breaker.run(() => gate.promise)
    clock.advance(4_999)
    expect(breaker.state).toBe('HALF_OPEN')
    clock.advance(2)
    expect([breaker.state, breaker.figures.hung]).toEqual(['OPEN', 1])
    expect(breaker.nextAttemptTime?.getTime()).toBe(clock.wallNow() + 60_000 - 1)
    clock.advance(60_000)
    expect([await pass(), await pass(), breaker.state]).toEqual(['ok', 'ok', 'CLOSED'])
    gate.reject(new Error('at last'))
    await expect(hung).rejects.toThrow('at last')
    expect([breaker.state, breaker.failureCount, breaker.figures.late]).toEqual(['CLOSED', 0, 1])
  })

  test('B4: without the trials it lacks, half-open ends and the next call is the first of a new one', async () => {
    const { breaker, open, pass, clock } = bench({ maxHalfOpenMs: 5_000 })
    await open()
    clock.advance(60_000)
    await pass()
    clock.advance(5_000)
    expect([breaker.state, breaker.ready]).toEqual(['OPEN', true])
    await pass()
    expect(breaker.state).toBe('HALF_OPEN')
    await pass()
    expect(breaker.state).toBe('CLOSED')
  })

  test('B4: the limit of half-open is `openMs` unless given', async () => {
    const { breaker, open, clock } = bench()
    await open()
    clock.advance(60_000)
    const gate = deferred()
    void breaker.run(() => gate.promise)
    clock.advance(59_999)
    expect(breaker.state).toBe('HALF_OPEN')
    clock.advance(1)
    expect(breaker.state).toBe('OPEN')
  })
})

describe('verdicts', () => {
  const refused = (): Error => Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })

  test('B5: only expected errors count, by code, name, code of the cause, class and question', async () => {
    class Down extends Error {}
    const { breaker, fail } = bench({
      failureThreshold: 100,
      expectedErrors: ['connection_refused', 'TimeoutError', Down, (error) => error === 17],
    })
    const counted: unknown[] = [
      refused(),
      new TypeError('fetch failed', { cause: refused() }),
      Object.assign(new Error('x'), { name: 'TimeoutError' }),
      new Down(),
      17,
    ]
    for (const error of counted) expect(await fail(error)).toBe(error)
    expect(breaker.failureCount).toBe(counted.length)
    for (const error of [new Error('x'), 18, 'ECONNREFUSED', null, undefined, new Error('x', { cause: 'y' })]) {
      await breaker.run(() => Promise.reject(error)).then(undefined, () => {})
    }
    expect([breaker.failureCount, breaker.figures.successes]).toEqual([counted.length, 6])
  })

  test('B5: the aliases of the guide', async () => {
    const { breaker, fail } = bench({
      failureThreshold: 100,
      expectedErrors: ['connection_timeout', 'connection_refused', 'database_unavailable'],
    })
    const codes = ['ETIMEDOUT', 'UND_ERR_CONNECT_TIMEOUT', 'ECONNREFUSED', '57P03', '08006', '08P01']
    for (const code of codes) await fail(Object.assign(new Error('x'), { code }))
    expect(breaker.failureCount).toBe(codes.length)
    for (const code of ['ECONNRESET', '57P01', '0800', '080060', 8006]) {
      await fail(Object.assign(new Error('x'), { code }))
    }
    expect(breaker.failureCount).toBe(codes.length)
  })

  test('B5: ignored errors win over expected ones and say nothing', async () => {
    const { breaker, fail } = bench({ expectedErrors: [Error], ignoreErrors: ['ENOENT'] })
    for (let n = 0; n < 10; n++) await fail(Object.assign(new Error('x'), { code: 'ENOENT' }))
    expect([breaker.state, breaker.failureCount, breaker.figures.neutral]).toEqual(['CLOSED', 0, 10])
  })

  test('B5: what fails after the caller has aborted is neutral, closed and half-open', async () => {
    const { breaker, open, clock } = bench()
    const aborted = async (): Promise<void> => {
      const controller = new AbortController()
      const call = breaker.run(
        ({ signal }) =>
          new Promise((_, reject) => {
            signal.addEventListener('abort', () => reject(signal.reason))
          }),
        { signal: controller.signal },
      )
      controller.abort(new Error('gone'))
      await expect(call).rejects.toThrow('gone')
    }
    for (let n = 0; n < 10; n++) await aborted()
    expect([breaker.state, breaker.failureCount]).toEqual(['CLOSED', 0])
    await open()
    clock.advance(60_000)
    for (let n = 0; n < 10; n++) await aborted()
    expect(breaker.state).toBe('HALF_OPEN')
  })

  test('B5: a signal that has aborted before the call calls nothing and takes no place', async () => {
    const { breaker, open, clock } = bench()
    const signal = AbortSignal.abort(new Error('gone'))
    await breaker.run(() => 'load')
    const never = (): never => {
      throw new Error('called')
    }
    await expect(breaker.run(never, { signal })).rejects.toThrow('gone')
    await open()
    clock.advance(60_000)
    await expect(breaker.run(never, { signal })).rejects.toThrow('gone')
    expect(breaker.state).toBe('OPEN')
  })

  test('B5: in half-open another error than the expected is a good trial', async () => {
    const { breaker, fail, clock } = bench({ expectedErrors: ['ECONNREFUSED'] })
    for (let n = 0; n < 5; n++) await fail(refused())
    clock.advance(60_000)
    await fail(new Error('not found'))
    await fail(new Error('not found'))
    expect(breaker.state).toBe('CLOSED')
  })

  test('B5: our own timeout counts, whatever is expected, and aborts the signal that was read', async () => {
    const timers: (() => void)[] = []
    const { breaker } = bench({
      failureThreshold: 2,
      expectedErrors: ['nothing'],
      callTimeoutMs: 50,
      delay: (task, delayMs) => {
        expect(delayMs).toBe(50)
        timers.push(task)
        return () => {}
      },
    })
    let seen: AbortSignal | undefined
    const first = codeOf(
      breaker.run((context) => {
        seen = context.signal
        return deferred().promise
      }),
    )
    const second = codeOf(breaker.run(() => deferred().promise))
    await Promise.resolve()
    await Promise.resolve()
    await new Promise((resolve) => setImmediate(resolve))
    for (const timer of timers) timer()
    expect(await Promise.all([first, second])).toEqual(['call_timeout', 'call_timeout'])
    expect(seen?.aborted).toBe(true)
    expect([breaker.state, breaker.figures.timedOut]).toEqual(['OPEN', 2])
  })

  test('B5: a call makes one timer, calls it off, and makes no AbortController unless the signal is read', async () => {
    const made: number[] = []
    let calledOff = 0
    const original = globalThis.AbortController
    const { breaker } = bench({
      callTimeoutMs: 50,
      delay: (_task, delayMs) => {
        made.push(delayMs)
        return () => {
          calledOff++
        }
      },
    })
    await breaker.run(() => 'load')
    let controllers = 0
    globalThis.AbortController = class extends original {
      constructor() {
        super()
        controllers++
      }
    }
    try {
      await breaker.run(() => 'x')
      await codeOf(
        breaker.run(() => {
          throw new Error('x')
        }),
      )
      expect([made.length, calledOff, controllers]).toEqual([3, 3, 0])
      await breaker.run(({ signal }) => signal.aborted)
      expect(controllers).toBe(1)
    } finally {
      globalThis.AbortController = original
    }
  })

  test('B5: a result may be judged a failure, and the caller still gets it', async () => {
    const { breaker } = bench({ failureThreshold: 2 })
    const judge = (status: number): 'ok' | 'failure' => (status >= 500 ? 'failure' : 'ok')
    expect(await breaker.run(() => 503, { judge })).toBe(503)
    expect(await breaker.run(() => 404, { judge })).toBe(404)
    expect(breaker.failureCount).toBe(1)
    expect(await breaker.run(() => 500, { judge })).toBe(500)
    expect(breaker.state).toBe('OPEN')
  })
})

describe('generations', () => {
  test('B6: failures of the closed time that end in half-open change neither state nor count', async () => {
    const { breaker, open, pass, clock } = bench()
    await pass()
    const gates = Array.from({ length: 10 }, () => deferred())
    const slow = gates.map((gate) => codeOf(breaker.run(() => gate.promise)))
    await open()
    clock.advance(60_000)
    await pass()
    const before = breaker.failureCount
    for (const gate of gates.slice(0, 5)) gate.reject(new Error('late'))
    for (const gate of gates.slice(5)) gate.resolve('late')
    await Promise.all(slow)
    expect([breaker.state, breaker.failureCount - before, breaker.figures.late]).toEqual(['HALF_OPEN', 0, 10])
    await pass()
    expect(breaker.state).toBe('CLOSED')
  })

  test('B6: of failures that end at once, those after the one that opens are late', async () => {
    const { breaker, pass } = bench()
    await pass()
    const gate = deferred()
    const calls = Array.from({ length: 8 }, () => codeOf(breaker.run(() => gate.promise)))
    gate.reject(new Error('all at once'))
    await Promise.all(calls)
    expect([breaker.state, breaker.failureCount, breaker.figures.late, breaker.figures.opened]).toEqual([
      'OPEN',
      5,
      3,
      1,
    ])
  })
})

describe('figures', () => {
  test('B8: the JSON has exactly the five fields of the guide', async () => {
    const { breaker, fail, pass, open, clock } = bench()
    expect(JSON.parse(JSON.stringify(breaker))).toEqual({
      state: 'CLOSED',
      failure_count: 0,
      failure_rate: 0,
      last_failure: null,
      next_attempt: null,
    })
    await pass()
    await fail()
    expect(JSON.parse(JSON.stringify(breaker))).toEqual({
      state: 'CLOSED',
      failure_count: 1,
      failure_rate: 0.5,
      last_failure: new Date(clock.wallNow()).toISOString(),
      next_attempt: null,
    })
    await open()
    expect(JSON.parse(JSON.stringify(breaker))).toEqual({
      state: 'OPEN',
      failure_count: 5,
      failure_rate: 5 / 6,
      last_failure: new Date(clock.wallNow()).toISOString(),
      next_attempt: new Date(clock.wallNow() + 60_000).toISOString(),
    })
  })

  test('B8: open with the wait over is OPEN and ready; the next attempt is told only while open', async () => {
    const { breaker, open, pass, clock } = bench()
    await open()
    expect(breaker.ready).toBe(false)
    clock.advance(60_000)
    expect([breaker.state, breaker.ready, breaker.nextAttemptTime?.getTime()]).toEqual(['OPEN', true, clock.wallNow()])
    await pass()
    expect([breaker.state, breaker.ready, breaker.nextAttemptTime]).toEqual(['HALF_OPEN', false, undefined])
  })
})

describe('hooks', () => {
  test('B10: a throwing, a rejecting and a resetting hook leave calls their own results', async () => {
    const warnings: string[] = []
    const seen: BreakerTransition[] = []
    const { breaker, fail, clock } = bench({
      onTransition: (transition) => {
        seen.push(transition)
        throw new Error('hook')
      },
      onWarning: ({ code }) => {
        warnings.push(code)
        throw new Error('and this one')
      },
    })
    breaker.subscribe(() => Promise.reject(new Error('hook')))
    const error = new Error('down')
    for (let n = 0; n < 5; n++) expect(await fail(error)).toBe(error)
    clock.advance(60_000)
    expect(await breaker.run(() => 'mine')).toBe('mine')
    expect(seen.map(({ type, from, to, reason }) => [type, from, to, reason])).toEqual([
      ['breaker.opened', 'CLOSED', 'OPEN', 'failure_threshold'],
      ['breaker.half_opened', 'OPEN', 'HALF_OPEN', 'open_elapsed'],
    ])
    expect(seen[0]).toMatchObject({ name: 'billing', failureCount: 5, openForMs: 60_000, at: expect.any(Date) })
    expect(warnings).toEqual(['hook_failed', 'hook_failed', 'hook_failed', 'hook_failed'])
  })
})

describe('options', () => {
  test.each([
    [{ openMs: 0 }, 'Expected `openMs` to be a finite number above 0, got `0`'],
    [{ openMs: Infinity }, 'Expected `openMs` to be a finite number above 0, got `Infinity`'],
    [{ rollingWindowMs: '5' }, 'Expected `rollingWindowMs` to be a finite number above 0, got `"5"`'],
    [{ failureThreshold: 1.5 }, 'Expected `failureThreshold` to be a whole number above 0 or `Infinity`, got `1.5`'],
    [{ halfOpenMaxCalls: 0 }, 'Expected `halfOpenMaxCalls` to be a whole number above 0, got `0`'],
    [{ failureRatio: 1.1 }, 'Expected `failureRatio` to be a number above 0 and at most 1, got `1.1`'],
    [
      { expectedErrors: [1] },
      'Expected `expectedErrors` to be a list of strings, error classes and functions, got `a list`',
    ],
    [{ name: '' }, 'Expected `name` to be a string that is not empty, got `""`'],
    [{ name: undefined }, 'Expected `name` to be a string that is not empty, got `undefined`'],
    [{ slowCallMs: 5 }, 'Expected `slowCallMs` and `slowCallRatio` together, got one of them'],
    [{ timeout: 5 }, 'Unknown option `timeout`'],
    [{ toString: 5 }, 'Unknown option `toString`'],
  ])('refuses %j', (options, message) => {
    let thrown: unknown
    try {
      new CircuitBreaker({ name: 'x', ...(options as object) })
    } catch (error) {
      thrown = error
    }
    expect(thrown).toMatchObject({ name: 'BreakerError', code: 'invalid_option', message })
  })
})
