import { describe, expect, test } from 'vitest'
import { dryRun } from '../src/dry-run.ts'
import type { BreakerTransition, CircuitBreakerOptions } from '../src/index.ts'
import { bench, codeOf, deferred } from './fake-clock.ts'

const operator = { actor: 'alice', note: 'maintenance' }

describe('operators', () => {
  test('B7: reset closes and empties: one later failure does not open it', async () => {
    const { breaker, open, fail } = bench()
    await open()
    breaker.reset(operator)
    expect([breaker.state, breaker.failureCount, breaker.nextAttemptTime]).toEqual(['CLOSED', 0, undefined])
    for (let n = 0; n < 4; n++) await fail()
    expect(breaker.state).toBe('CLOSED')
    await fail()
    expect(breaker.state).toBe('OPEN')
  })

  test('B7: reset while trials run leaves them harmless, good or bad', async () => {
    const { breaker, open, clock } = bench()
    await open()
    clock.advance(60_000)
    const gates = [deferred(), deferred()] as const
    const trials = gates.map((gate) => codeOf(breaker.run(() => gate.promise)))
    breaker.reset(operator)
    gates[0].reject(new Error('late'))
    gates[1].resolve('late')
    await Promise.all(trials)
    expect([breaker.state, breaker.failureCount, breaker.figures.late]).toEqual(['CLOSED', 0, 2])
  })

  test('B7: reset while calls of the closed time run leaves them harmless', async () => {
    const { breaker, pass } = bench()
    await pass()
    const gates = Array.from({ length: 10 }, () => deferred())
    const calls = gates.map((gate) => codeOf(breaker.run(() => gate.promise)))
    breaker.reset(operator)
    for (const gate of gates) gate.reject(new Error('late'))
    await Promise.all(calls)
    expect([breaker.state, breaker.failureCount, breaker.figures.late]).toEqual(['CLOSED', 0, 10])
  })

  test('B7: forced open refuses everything until reset, and plans no attempt', async () => {
    const { breaker, clock, pass } = bench()
    breaker.forceOpen(operator)
    clock.advance(1_000_000)
    expect([breaker.state, breaker.ready, breaker.forced, breaker.nextAttemptTime]).toEqual([
      'OPEN',
      false,
      'open',
      undefined,
    ])
    expect(await codeOf(breaker.run(() => 'x'))).toBe('breaker_open')
    expect(await codeOf(breaker.permit())).toBe('breaker_open')
    breaker.reset(operator)
    expect(await pass()).toBe('ok')
  })

  test('B7: forced closed passes everything, also from open', async () => {
    const { breaker, open, fail } = bench()
    await open()
    breaker.forceClose(operator)
    for (let n = 0; n < 20; n++) await fail()
    expect([breaker.state, breaker.forced, breaker.figures.suppressed]).toEqual(['CLOSED', 'closed', 16])
    breaker.trip()
    expect(breaker.state).toBe('CLOSED')
  })

  test('B7: disabled only counts, and notes where it would have opened', async () => {
    const { breaker, fail } = bench()
    await fail()
    breaker.disable(operator)
    for (let n = 0; n < 5; n++) await fail()
    expect([breaker.state, breaker.failureCount, breaker.figures.suppressed]).toEqual(['CLOSED', 6, 2])
    breaker.reset(operator)
    for (let n = 0; n < 5; n++) await fail()
    expect(breaker.state).toBe('OPEN')
  })

  test('B7: each act is a transition with its actor', () => {
    const seen: BreakerTransition[] = []
    const { breaker, clock } = bench({ onTransition: (transition) => seen.push(transition) })
    breaker.forceOpen(operator)
    breaker.forceClose(operator)
    breaker.disable(operator)
    breaker.reset(operator)
    breaker.trip()
    expect(
      seen.map(({ type, from, to, actor, note, forced, reason }) => [type, from, to, actor, note, forced, reason]),
    ).toEqual([
      ['breaker.forced_open', 'CLOSED', 'OPEN', 'alice', 'maintenance', 'open', 'operator'],
      ['breaker.forced_closed', 'OPEN', 'CLOSED', 'alice', 'maintenance', 'closed', 'operator'],
      ['breaker.disabled', 'CLOSED', 'CLOSED', 'alice', 'maintenance', 'disabled', 'operator'],
      ['breaker.reset', 'CLOSED', 'CLOSED', 'alice', 'maintenance', undefined, 'operator'],
      ['breaker.opened', 'CLOSED', 'OPEN', undefined, undefined, undefined, 'tripped'],
    ])
    expect(seen[4]).toMatchObject({ openForMs: 60_000, at: new Date(clock.wallNow()) })
  })

  test('B7: what operators decided survives a restart', () => {
    for (const act of ['forceOpen', 'forceClose', 'disable'] as const) {
      const { breaker } = bench()
      breaker[act](operator)
      const { breaker: restarted } = bench()
      expect(restarted.hydrate(JSON.parse(JSON.stringify(breaker.snapshot())))).toBe(true)
      expect([restarted.forced, restarted.state]).toEqual([breaker.forced, breaker.state])
    }
  })

  test('B7: a hook that acts on the breaker, in the middle of a transition, leaves it usable', async () => {
    const { breaker, fail, pass } = bench()
    breaker.subscribe(({ type }) => {
      if (type === 'breaker.opened') breaker.reset(operator)
    })
    for (let n = 0; n < 25; n++) await fail()
    expect([breaker.state, breaker.figures.opened, await pass()]).toEqual(['CLOSED', 5, 'ok'])
  })
})

describe('snapshots', () => {
  const through = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

  test('B9: an open breaker stays open for what remains, less the time that is told to have passed', async () => {
    const { breaker, open, clock } = bench()
    await open()
    clock.advance(20_000)
    const snapshot = through(breaker.snapshot())
    const { breaker: later, clock: laterClock } = bench()
    expect(later.hydrate(snapshot, { elapsedMs: 10_000 })).toBe(true)
    laterClock.advance(29_999)
    expect([later.state, later.ready, await codeOf(later.run(() => 'x'))]).toEqual(['OPEN', false, 'breaker_open'])
    laterClock.advance(1)
    expect([later.ready, await later.run(() => 'x')]).toEqual([true, 'x'])
  })

  test('B9: half-open comes back open and ready', async () => {
    const { breaker, open, pass, clock } = bench()
    await open()
    clock.advance(60_000)
    await pass()
    const { breaker: restarted, pass: call } = bench()
    restarted.hydrate(through(breaker.snapshot()))
    expect([restarted.state, restarted.ready]).toEqual(['OPEN', true])
    await call()
    expect(restarted.state).toBe('HALF_OPEN')
  })

  test('B9: failures keep their age, and those older than the window are dropped', async () => {
    const { breaker, fail, clock } = bench()
    await fail()
    clock.advance(6_000)
    await fail()
    await fail()
    const { breaker: restarted, fail: failAgain, clock: restartedClock } = bench()
    restarted.hydrate(through(breaker.snapshot()), { elapsedMs: 4_000 })
    expect([restarted.failureCount, restarted.lastFailureTime?.getTime()]).toEqual([
      2,
      restartedClock.wallNow() - 4_000,
    ])
    restartedClock.advance(5_999)
    expect(restarted.failureCount).toBe(2)
    for (let n = 0; n < 3; n++) await failAgain()
    expect(restarted.state).toBe('OPEN')
  })

  test('B9: failures in a row are kept', async () => {
    const { breaker, fail } = bench({ consecutive: true })
    for (let n = 0; n < 4; n++) await fail()
    const { breaker: restarted, fail: failAgain } = bench({ consecutive: true })
    restarted.hydrate(through(breaker.snapshot()))
    expect(restarted.failureCount).toBe(4)
    await failAgain()
    expect(restarted.state).toBe('OPEN')
  })

  const good = {
    version: 1,
    state: 'OPEN',
    forced: null,
    openRemainingMs: 5,
    failureAgesMs: [1],
    streak: 1,
    lastFailureAgeMs: 1,
  }
  test.each([
    ['nothing', undefined],
    ['null', null],
    ['a list', []],
    ['a text', 'OPEN'],
    ['another version', { ...good, version: 2 }],
    ['an unknown state', { ...good, state: 'ISOLATED' }],
    ['an unknown field', { ...good, failureThreshold: 1 }],
    ['a wait longer than `openMs`', { ...good, openRemainingMs: 60_001 }],
    ['a negative wait', { ...good, openRemainingMs: -1 }],
    ['a wait that is no number', { ...good, openRemainingMs: '5' }],
    ['ages that are no list', { ...good, failureAgesMs: 5 }],
    ['a negative age', { ...good, failureAgesMs: [-1] }],
    ['a streak that is no number', { ...good, streak: 1.5 }],
    ['a bad last failure', { ...good, lastFailureAgeMs: 'x' }],
    ['an unknown force', { ...good, forced: 'maybe' }],
    ['forced open but closed', { ...good, state: 'CLOSED', forced: 'open' }],
    ['a field missing', { version: 1, state: 'OPEN' }],
  ])('B9: %s is no snapshot: closed, with a warning', async (_what, snapshot) => {
    const warnings: unknown[] = []
    const { breaker, pass } = bench({ onWarning: (warning) => warnings.push(warning) })
    expect(breaker.hydrate(snapshot)).toBe(false)
    expect([breaker.state, await pass()]).toEqual(['CLOSED', 'ok'])
    expect(warnings).toMatchObject([{ name: 'billing', code: 'snapshot_invalid' }])
  })

  test('B9: the snapshot that those are made from is one', () => {
    expect(bench().breaker.hydrate(good)).toBe(true)
  })
})

describe('ratios and slow calls', () => {
  test('B13: the ratio of failures opens it, from `minimumCalls` on', async () => {
    const { breaker, pass, fail } = bench({ failureThreshold: Infinity, failureRatio: 0.5, minimumCalls: 10 })
    for (let n = 0; n < 4; n++) await fail()
    for (let n = 0; n < 5; n++) await pass()
    expect(breaker.state).toBe('CLOSED')
    await fail()
    expect([breaker.state, breaker.failureRate]).toEqual(['OPEN', 0.5])
  })

  test('B13: a ratio below its limit leaves it closed, and the count opens it beside the ratio', async () => {
    const { breaker, pass, fail } = bench({ failureThreshold: 8, failureRatio: 0.5, minimumCalls: 4 })
    for (let n = 0; n < 9; n++) await pass()
    for (let n = 0; n < 7; n++) await fail()
    expect([breaker.state, breaker.failureRate]).toEqual(['CLOSED', 7 / 16])
    await fail()
    expect(breaker.state).toBe('OPEN')
  })

  test('B13: in a row, whatever their age; a good call begins anew, a neutral one does not', async () => {
    const { breaker, pass, fail, clock } = bench({ consecutive: true, failureThreshold: 3, ignoreErrors: ['ENOENT'] })
    await fail()
    await fail()
    await pass()
    await fail()
    clock.advance(1_000_000)
    await fail()
    await fail(Object.assign(new Error('x'), { code: 'ENOENT' }))
    expect([breaker.state, breaker.failureCount]).toEqual(['CLOSED', 2])
    await fail()
    expect(breaker.state).toBe('OPEN')
  })

  test('B13: slow calls open it by their ratio, good ones and failed ones, and the caller gets the result', async () => {
    const { breaker, clock, fail } = bench({
      slowCallMs: 100,
      slowCallRatio: 0.5,
      minimumCalls: 4,
      failureThreshold: 100,
    })
    const take = (ms: number): Promise<number> =>
      breaker.run(() => {
        clock.advance(ms)
        return ms
      })
    expect(await take(99)).toBe(99)
    expect(await take(100)).toBe(100)
    await fail()
    expect(breaker.state).toBe('CLOSED')
    expect(await take(150)).toBe(150)
    expect([breaker.state, breaker.figures.slow, breaker.figures.successes]).toEqual(['OPEN', 2, 3])
    clock.advance(60_000)
    expect(await take(100)).toBe(100)
    expect(breaker.state, 'a slow trial has failed').toBe('OPEN')
    clock.advance(60_000)
    await take(1)
    await take(1)
    expect(breaker.state).toBe('CLOSED')
  })

  test('B13: a permit is timed as a call is', async () => {
    const { breaker, clock } = bench({ slowCallMs: 100, slowCallRatio: 1, minimumCalls: 2 })
    for (let n = 0; n < 2; n++) {
      const permit = await breaker.permit()
      clock.advance(100)
      await permit.succeed()
    }
    expect([breaker.state, breaker.figures.opened, breaker.figures.successes]).toEqual(['OPEN', 1, 2])
  })
})

describe('permits', () => {
  test('B5: the first word decides, and is counted once', async () => {
    const { breaker } = bench()
    const permit = await breaker.permit()
    await permit.fail(new Error('down'))
    await permit.fail(new Error('down'))
    await permit.succeed()
    await permit.release()
    expect(breaker.figures).toMatchObject({ failures: 1, successes: 0, neutral: 0 })
  })

  test('B5: fails by the lists of the breaker; without an error it is a failure', async () => {
    const { breaker } = bench({ expectedErrors: ['ECONNREFUSED'], ignoreErrors: ['ENOENT'] })
    for (const code of ['ECONNREFUSED', 'ENOENT', 'OTHER']) {
      await (await breaker.permit()).fail(Object.assign(new Error('x'), { code }))
    }
    await (await breaker.permit()).fail()
    expect(breaker.figures).toMatchObject({ failures: 2, neutral: 1, successes: 1 })
  })

  test('B3: permits are the trials of half-open, and one disposed of undecided gives its place back', async () => {
    const { breaker, open, clock } = bench()
    await open()
    clock.advance(60_000)
    const first = await breaker.permit()
    const second = await breaker.permit()
    expect(await codeOf(breaker.permit())).toBe('breaker_open')
    {
      await using undecided = first
      void undecided
    }
    const third = await breaker.permit()
    await second.succeed()
    await third.succeed()
    expect(breaker.state).toBe('CLOSED')
  })

  test('B4: a permit that nobody decides is a hung trial', async () => {
    const { breaker, open, clock } = bench({ maxHalfOpenMs: 5_000 })
    await open()
    clock.advance(60_000)
    const lost = await breaker.permit()
    clock.advance(5_000)
    expect(breaker.state).toBe('OPEN')
    await lost.succeed()
    expect([breaker.state, breaker.figures.late]).toEqual(['OPEN', 1])
  })

  test('B6: a permit of an earlier time is late', async () => {
    const { breaker, open } = bench()
    const early = await breaker.permit()
    await open()
    breaker.reset(operator)
    await early.fail()
    expect([breaker.failureCount, breaker.figures.late]).toEqual([0, 1])
  })
})

describe('dry run', () => {
  const outage = (startedAtMs: number, verdict: 'ok' | 'failure') => ({ startedAtMs, durationMs: 10, verdict })

  test('B13: tells what a configuration would have made of recorded outcomes', async () => {
    const outcomes = [
      ...Array.from({ length: 10 }, (_, n) => outage(n * 1_000, 'ok')),
      ...Array.from({ length: 30 }, (_, n) => outage(10_000 + n * 1_000, 'failure')),
      ...Array.from({ length: 30 }, (_, n) => outage(40_000 + n * 1_000, 'ok')),
    ]
    const report = await dryRun(outcomes, {
      name: 'candidate',
      failureThreshold: 5,
      openMs: 10_000,
      halfOpenMaxCalls: 2,
    })
    // Opens with the call of 14 s, tries at 25 s and 36 s in vain, and closes with the trials of 47 s and 48 s.
    expect(report.openings).toEqual([
      { atMs: 14_010, reason: 'failure_threshold' },
      { atMs: 25_010, reason: 'trial_failed' },
      { atMs: 36_010, reason: 'trial_failed' },
    ])
    expect(report).toMatchObject({ calls: 70, made: 40, refused: 30, sparedFailures: 23, lostSuccesses: 7 })
    expect(report.notClosedMs).toBe(48_010 - 14_010)
    expect(await dryRun(outcomes, { name: 'candidate', failureThreshold: 100 })).toMatchObject({
      made: 70,
      refused: 0,
      openings: [],
      notClosedMs: 0,
    })
  })

  test('B13: replays what `onOutcome` records, with time limits and slow calls of the candidate', async () => {
    const recorded: Parameters<NonNullable<CircuitBreakerOptions['onOutcome']>>[0][] = []
    const { breaker, clock } = bench({ onOutcome: (outcome) => recorded.push(outcome) })
    for (let n = 0; n < 4; n++) {
      await breaker.run(() => {
        clock.advance(500)
      })
    }
    expect(recorded[1]).toEqual({ startedAtMs: 1_500, durationMs: 500, verdict: 'ok' })
    const slow = await dryRun(recorded, { name: 'x', slowCallMs: 400, slowCallRatio: 1, minimumCalls: 3 })
    expect(slow.openings).toEqual([{ atMs: 2_500, reason: 'slow_calls' }])
    const limited = await dryRun(recorded, { name: 'x', callTimeoutMs: 100, failureThreshold: 2 })
    expect(limited.openings).toEqual([{ atMs: 1_600, reason: 'failure_threshold' }])
  })

  test('refuses outcomes without times', async () => {
    await expect(dryRun([{ startedAtMs: Number.NaN, durationMs: 1, verdict: 'ok' }], { name: 'x' })).rejects.toThrow(
      'Expected outcome 0 to have finite times',
    )
  })
})
