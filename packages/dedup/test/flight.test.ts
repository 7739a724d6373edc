import type { Context } from 'hono'
import { describe, expect, test } from 'vitest'
import {
  answerInRun,
  type DedupStore,
  type KeyLink,
  type RequestDeduplicator,
  type RequestIdentity,
  type StoredResponse,
  type Timers,
  webCrypto,
} from '../src/index.ts'
import { sqliteDedupStore } from '../src/stores/sqlite.ts'
import { runtimeTimers } from '../src/timers.ts'
import { faulty } from './faulty-store.ts'
import {
  appOf,
  codeOfAnswer,
  counting,
  database,
  deduplicatorOf,
  gate,
  memoryOf,
  send,
  sqliteOf,
  ticking,
} from './fixture.ts'

/** Counts the calls that reach a store. */
function counted(store: DedupStore): { readonly store: DedupStore; readonly calls: Record<string, number> } {
  const calls: Record<string, number> = {}
  return {
    calls,
    store: {
      ...store,
      tryClaim(claim) {
        calls['tryClaim'] = (calls['tryClaim'] ?? 0) + 1
        return store.tryClaim(claim)
      },
      get(key, options) {
        calls['get'] = (calls['get'] ?? 0) + 1
        return store.get(key, options)
      },
    },
  }
}

describe('in flight', () => {
  test('I1: fifty concurrent requests on two instances over one store run once; the others are 409 with a whole Retry-After', async () => {
    for (const store of [memoryOf(), sqliteOf(await database())]) {
      let calls = 0
      const { opened, open } = gate()
      const apps = [0, 1].map(() =>
        appOf(deduplicatorOf(store), async (c) => {
          calls++
          await opened
          return c.json({ calls })
        }),
      )
      const answers = Array.from({ length: 50 }, (_, i) => send(apps[i % 2]!, 'k'))
      expect((await Promise.race(answers)).status).toBe(409)
      open()
      const statuses = (await Promise.all(answers)).map(({ status, headers }) =>
        headers.get('idempotent-replayed') === 'true'
          ? 'replayed'
          : status === 409 && /^[1-9][0-9]*$/.test(headers.get('retry-after') ?? '')
            ? 'conflict'
            : status,
      )
      expect(statuses.filter((status) => status === 200)).toHaveLength(1)
      expect(statuses.filter((status) => status === 'conflict' || status === 'replayed')).toHaveLength(49)
      expect(calls).toBe(1)
      expect((await send(apps[1]!, 'k')).headers.get('idempotent-replayed')).toBe('true')
    }
  })

  test('I1: a loser that asks after the winner finished gets the replay, not 409', async () => {
    const store = memoryOf()
    const { opened, open } = gate()
    const winner = appOf(deduplicatorOf(store), (c) => c.json({ by: 'winner' }))
    const slow: DedupStore = {
      ...store,
      async tryClaim(claim) {
        await opened
        return store.tryClaim(claim)
      },
    }
    const late = send(
      appOf(deduplicatorOf(slow), (c) => c.json({ by: 'loser' })),
      'k',
    )
    await send(winner, 'k')
    open()
    expect(await (await late).json()).toEqual({ by: 'winner' })
  })

  test('I1: Retry-After is the lesser of what is left of the lease and what the route usually takes', async () => {
    const { opened, open } = gate()
    const { app, clock, calls } = counting({}, async (n, c) => {
      if (c.req.header('x-wait') === 'yes') await opened
      else clock.ms += 4_000
      return c.json({ n })
    })
    const headers = { 'x-wait': 'yes' }
    const first = send(app, 'k', { headers })
    await expect.poll(() => calls.n).toBe(1)
    clock.ms += 10_500
    expect((await send(app, 'k', { headers })).headers.get('retry-after')).toBe('20')
    await send(app, 'other')
    const after = Number((await send(app, 'k', { headers })).headers.get('retry-after'))
    expect(after).toBeGreaterThanOrEqual(4)
    expect(after).toBeLessThanOrEqual(5)
    open()
    await first
  })

  test('I2: with Prefer: wait a repeat attaches and gets the same bytes, on its own instance and on another', async () => {
    const store = memoryOf()
    const { opened, open } = gate()
    let calls = 0
    const handler = async (c: Context) => {
      calls++
      await opened
      return c.json({ calls })
    }
    const [one, two] = [0, 1].map(() => appOf(deduplicatorOf(store), handler)) as [
      ReturnType<typeof appOf>,
      ReturnType<typeof appOf>,
    ]
    const first = send(one, 'k')
    await expect.poll(() => calls).toBe(1)
    const headers = { prefer: 'wait=10' }
    const waiting = [one, two, one, two].map((app) => send(app, 'k', { headers }))
    await new Promise((resolve) => setTimeout(resolve, 20))
    open()
    const text = await (await first).text()
    for (const answer of await Promise.all(waiting)) {
      expect([answer.headers.get('idempotent-replayed'), answer.headers.get('preference-applied')]).toEqual([
        'true',
        'wait=10',
      ])
      expect(await answer.text()).toBe(text)
    }
    expect(calls).toBe(1)
  })

  test('I2: at its deadline a waiter gets 409; the owner is not disturbed', async () => {
    const { opened, open } = gate()
    const { app, calls } = counting({ waitMs: 50 }, async (n, c) => {
      await opened
      return c.json({ n })
    })
    const first = send(app, 'k')
    await expect.poll(() => calls.n).toBe(1)
    expect(await codeOfAnswer(await send(app, 'k'))).toEqual([409, 'idempotency_request_in_flight'])
    const preferring = await send(app, 'k', { headers: { prefer: 'respond-async, wait=0' } })
    expect([preferring.status, preferring.headers.get('preference-applied')]).toEqual([409, 'wait=0'])
    open()
    expect((await first).status).toBe(200)
  })

  test('I2: when the owner frees the key, one of those who wait runs, and the others get its answer', async () => {
    const { opened, open } = gate()
    const { app, calls } = counting({ waitMs: 5_000 }, async (n, c) => {
      if (n > 1) return c.json({ n })
      await opened
      return c.text('later', 503)
    })
    const first = send(app, 'k')
    await expect.poll(() => calls.n).toBe(1)
    const waiting = Array.from({ length: 5 }, () => send(app, 'k'))
    open()
    expect((await first).status).toBe(503)
    for (const answer of await Promise.all(waiting)) expect(await answer.json()).toEqual({ n: 2 })
    expect(calls.n).toBe(2)
  })

  test('I2: who waits is woken by the settlement itself, an answer or a free key, and not by the next look at the store', async () => {
    for (const status of [200, 503]) {
      const { opened, open } = gate()
      const timers: Timers = {
        ...runtimeTimers,
        // The looks never come; the deadline would.
        setTimeout: (work, afterMs) => (afterMs < 2_000 ? undefined : runtimeTimers.setTimeout(work, afterMs)),
      }
      const { app, calls } = counting(
        { waitMs: 15_000 },
        async (n, c) => {
          if (n === 1) await opened
          return c.json({ n }, n === 1 ? (status as 200) : 200)
        },
        { timers },
      )
      const first = send(app, 'k')
      await expect.poll(() => calls.n).toBe(1)
      const waiting = send(app, 'k')
      await new Promise((resolve) => setImmediate(resolve))
      open()
      expect((await first).status).toBe(status)
      expect(await (await waiting).json()).toEqual({ n: status === 200 ? 1 : 2 })
    }
  })

  test('I2: a client that has gone away before it waits does not wait', async () => {
    const { opened, open } = gate()
    const timers: Timers = {
      ...runtimeTimers,
      setTimeout: (work, afterMs) => (afterMs === 15_000 ? undefined : runtimeTimers.setTimeout(work, afterMs)),
    }
    const { app, calls } = counting(
      { waitMs: 15_000 },
      async (n, c) => {
        await opened
        return c.json({ n })
      },
      { timers },
    )
    const first = send(app, 'k')
    await expect.poll(() => calls.n).toBe(1)
    expect((await send(app, 'k', { signal: AbortSignal.abort() })).status).toBe(409)
    open()
    await first
  })

  test('I2: what a client prefers to wait is honoured up to what the route allows, and it is told how long that is', async () => {
    const { opened, open } = gate()
    const { app, calls } = counting({ maxWaitMs: 20 }, async (n, c) => {
      await opened
      return c.json({ n })
    })
    const first = send(app, 'k')
    await expect.poll(() => calls.n).toBe(1)
    for (const prefer of ['wait=100', 'respond-async, wait="100"; x']) {
      const { status, headers } = await send(app, 'k', { headers: { prefer } })
      expect([status, headers.get('preference-applied')]).toEqual([409, 'wait=0.02'])
    }
    open()
    await first
  })

  test('I2: a waiter that goes away leaves the owner running and the others waiting', async () => {
    const { opened, open } = gate()
    const { app, calls } = counting({ waitMs: 5_000 }, async (n, c) => {
      await opened
      return c.json({ n })
    })
    const first = send(app, 'k')
    await expect.poll(() => calls.n).toBe(1)
    const controller = new AbortController()
    const [gone, stays] = [send(app, 'k', { signal: controller.signal }), send(app, 'k')]
    await new Promise((resolve) => setTimeout(resolve, 10))
    controller.abort()
    expect((await gone).status).toBe(409)
    open()
    expect([(await first).status, (await stays).status, calls.n]).toEqual([200, 200, 1])
  })

  test('I2: of 10,000 repeats a hundred wait and the rest are told to come back, with a handful of store reads', async () => {
    const { store, calls: stored } = counted(memoryOf())
    const { opened, open } = gate()
    const { app, calls } = counting(
      { waitMs: 30_000 },
      async (n, c) => {
        await opened
        return c.json({ n })
      },
      { store },
    )
    const first = send(app, 'k')
    await expect.poll(() => calls.n).toBe(1)
    const repeats = Array.from({ length: 10_000 }, () => send(app, 'k'))
    const refused = await Promise.all(repeats.slice(100))
    expect(new Set(refused.map(({ status }) => status))).toEqual(new Set([409]))
    open()
    const waited = await Promise.all(repeats.slice(0, 100))
    expect(new Set(waited.map(({ status }) => status))).toEqual(new Set([200]))
    await first
    expect(calls.n).toBe(1)
    expect((stored['tryClaim'] ?? 0) + (stored['get'] ?? 0)).toBeLessThan(10)
  })

  test('I2: 10,000 repeats on another instance than the owner read the store a few times a second', async () => {
    const memory = memoryOf()
    const { opened, open } = gate()
    let ran = 0
    const handler = async (c: Context) => {
      ran++
      await opened
      return c.json({ ran })
    }
    const first = send(appOf(deduplicatorOf(memory), handler), 'k')
    await expect.poll(() => ran).toBe(1)
    const { store, calls } = counted(memory)
    const other = appOf(deduplicatorOf(store), handler, { waitMs: 30_000 })
    const began = performance.now()
    const waiting = Array.from({ length: 100 }, () => send(other, 'k'))
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    const reads = calls['get'] ?? 0
    expect(reads / Math.max(1, (performance.now() - began) / 1_000)).toBeLessThan(15)
    open()
    for (const { status } of await Promise.all(waiting)) expect(status).toBe(200)
    await first
    expect(ran).toBe(1)
  })
})

describe('leases and fences', () => {
  test('L1: a handler three leases long keeps its lease', async () => {
    const db = await database()
    let calls = 0
    const one = deduplicatorOf(sqliteDedupStore({ db }), undefined, {
      leaseMs: 150,
      monotonic: () => performance.now(),
    })
    const app = appOf(one, async (c) => {
      calls++
      await new Promise((resolve) => setTimeout(resolve, 500))
      return c.json({ calls })
    })
    const two = deduplicatorOf(sqliteDedupStore({ db }), undefined, { leaseMs: 150 })
    const other = appOf(two, (c) => c.json({ calls: ++calls }), { onUnknown: 'execute' })
    const first = send(app, 'k')
    for (let i = 0; i < 4; i++) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      expect([(await send(other, 'k')).status, calls]).toEqual([409, 1])
    }
    expect((await first).status).toBe(200)
    expect(one.held).toBe(0)
  })

  test('L1: an owner that ends without a word loses its key after the lease, not after the window', async () => {
    const { app, clock, calls, store } = counting({ onUnknown: 'execute' })
    await send(app, 'warm')
    const dead = deduplicatorOf(store, clock)
    const identity = await identityOf(dead, 'k', store)
    await dead.acquire(identity)
    expect((await send(app, 'k')).status).toBe(409)
    clock.ms += 30_001
    expect((await send(app, 'k')).status).toBe(201)
    expect(calls.n).toBe(2)
  })

  test('L2: an owner past its lease neither frees nor replaces the next owner result, and is told so', async () => {
    const clock = { ms: 0 }
    const shared = memoryOf(clock)
    const gates = [gate(), gate()]
    let calls = 0
    const signals: AbortSignal[] = []
    const handler = async (c: Context) => {
      const n = ++calls
      signals.push(c.get('idempotency').signal)
      await gates[n - 1]?.opened
      return c.json({ n })
    }
    const late = send(appOf(deduplicatorOf(shared, clock), handler), 'k')
    await expect.poll(() => calls).toBe(1)
    clock.ms += 30_001
    const executing = appOf(deduplicatorOf(shared, clock), handler, { onUnknown: 'execute' })
    const next = send(executing, 'k')
    await expect.poll(() => calls).toBe(2)
    gates[0]!.open()
    const answer = await late
    expect([answer.headers.get('idempotency-status'), await answer.json()]).toEqual(['superseded', { n: 1 }])
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false])
    gates[1]!.open()
    expect(await (await next).json()).toEqual({ n: 2 })
    expect(await (await send(executing, 'k')).json()).toEqual({ n: 2 })
  })

  test('L1: a claim is renewed by the lease of its route, until it is settled', async () => {
    const { timers, tick, due } = ticking()
    const { opened, open } = gate()
    const { app, calls, clock, store, deduplicator } = counting(
      { leaseMs: 90_000 },
      async (_, c) => {
        await opened
        return c.text('x')
      },
      { timers },
    )
    const first = send(app, 'k')
    await expect.poll(() => calls.n).toBe(1)
    const key = await deduplicator.storageKey({ principal: 'ann', method: 'POST', path: '/pay/:id' }, 'k')
    for (let i = 0; i < 10; i++) {
      clock.ms += 20_000
      await tick()
      expect((await store.get(key))?.leaseRemainingMs).toBe(90_000)
      expect((await send(app, 'k')).headers.get('retry-after')).toBe('90')
    }
    open()
    await first
    await tick()
    // What is left is the sweeper's.
    expect(due.size).toBe(1)
  })

  test('L1: one timer renews all claims, at a sixth of the shortest lease', async () => {
    const { timers, due, periods } = ticking()
    const deduplicator = deduplicatorOf(memoryOf(), { ms: 1 }, { timers })
    await deduplicator.start()
    const swept = periods.splice(0)
    for (const leaseMs of [60_000, 6_000, 90_000])
      await deduplicator.acquire({ key: `${leaseMs}`, fingerprint: '', principalHash: '', leaseMs })
    expect([swept, periods, due.size]).toEqual([[60_000], [10_000, 1_000], 2])
  })

  test('L2: an owner whose own transaction came too late is told so, also by a signal that it asks for only then', async () => {
    const clock = { ms: 0 }
    const store = memoryOf(clock)
    const { opened, open } = gate()
    let signal: AbortSignal | undefined
    let calls = 0
    const late = appOf(deduplicatorOf(store, clock), async (c) => {
      calls++
      await opened
      const { idempotency } = c.var
      const unit = store.unit()
      await idempotency.completeIn(unit, new Response('late'))
      await unit.commit()
      signal = idempotency.signal
      return c.text('late')
    })
    const answer = send(late, 'k')
    await expect.poll(() => calls).toBe(1)
    clock.ms += 30_001
    const next = appOf(deduplicatorOf(store, clock), (c) => c.text('next'), { onUnknown: 'execute' })
    await send(next, 'k')
    open()
    expect([(await answer).headers.get('idempotency-status'), signal?.aborted]).toEqual(['superseded', true])
    expect(await (await send(next, 'k')).text()).toBe('next')
  })

  test('L2: a heartbeat that finds the key lost aborts the handler signal', async () => {
    const store = memoryOf()
    const stale: DedupStore = { ...store, extend: () => store.extend({ key: 'x', token: 'x' }, 1) }
    let clockMs = 0
    const deduplicator = deduplicatorOf(stale, undefined, { leaseMs: 60, monotonic: () => (clockMs += 30) })
    const app = appOf(deduplicator, async (c) => {
      const { signal } = c.get('idempotency')
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
      return c.text(`${signal.aborted} ${deduplicator.held}`)
    })
    expect(await (await send(app, 'k')).text()).toBe('true 0')
  })

  test('L3: a lapsed claim is rejected, executed, parked, or decided by a function', async () => {
    const outcome = async (options: NonNullable<Parameters<typeof counting>[0]>) => {
      const { app, clock, calls, store, told } = counting(options)
      await send(app, 'warm')
      const dead = deduplicatorOf(store, clock)
      await dead.acquire(await identityOf(dead, 'k', store))
      clock.ms += 30_001
      const response = await send(app, 'k')
      const body = (await response.json()) as { code?: string; retryable?: boolean }
      return [response.status, body.code, body.retryable, calls.n - 1, told().at(-1)]
    }
    const unknown = [409, 'idempotency_outcome_unknown', false, 0, 'outcome_unknown']
    expect(await outcome({})).toEqual(unknown)
    expect(await outcome({ onUnknown: 'reject' })).toEqual(unknown)
    expect(await outcome({ onUnknown: 'resume' })).toEqual(unknown)
    expect(await outcome({ onUnknown: 'park' })).toEqual([
      409,
      'idempotency_outcome_unknown',
      true,
      0,
      'outcome_unknown',
    ])
    expect(await outcome({ onUnknown: 'execute' })).toEqual([201, undefined, undefined, 1, 'completed'])
    expect(await outcome({ onUnknown: ({ fence }) => (fence > 0 ? 'execute' : 'reject') })).toEqual([
      201,
      undefined,
      undefined,
      1,
      'completed',
    ])
  })

  test('L3: reconcile is asked first, and what it answers is the answer of the key', async () => {
    const asked: number[] = []
    const { app, clock, calls, store } = counting({
      async reconcile(record, c) {
        asked.push(record.fence)
        return c.json({ found: true }, 201)
      },
    })
    await send(app, 'warm')
    const dead = deduplicatorOf(store, clock)
    await dead.acquire(await identityOf(dead, 'k', store))
    clock.ms += 30_001
    expect(await (await send(app, 'k')).json()).toEqual({ found: true })
    const replay = await send(app, 'k')
    expect([replay.headers.get('idempotent-replayed'), await replay.json()]).toEqual(['true', { found: true }])
    expect([asked.length, calls.n]).toEqual([1, 1])
  })

  test('L3: a function that decides nothing does not let the handler run again', async () => {
    const { app, clock, calls, store } = counting({ onUnknown: (() => undefined) as never })
    await send(app, 'warm')
    const dead = deduplicatorOf(store, clock)
    await dead.acquire(await identityOf(dead, 'k', store))
    clock.ms += 30_001
    expect(await codeOfAnswer(await send(app, 'k'))).toEqual([409, 'idempotency_outcome_unknown'])
    expect(calls.n).toBe(1)
  })

  test('L3, E3: what reconcile found out is the answer although the store cannot take it, and is kept when it can', async () => {
    const clock = { ms: 1 }
    const { store, plan } = faulty(memoryOf(clock))
    const { app, calls, told } = counting({ reconcile: async (_, c) => c.json({ found: true }, 201) }, undefined, {
      store,
      monotonic: () => clock.ms,
    })
    await send(app, 'warm')
    const dead = deduplicatorOf(store, clock)
    await dead.acquire(await identityOf(dead, 'k', store))
    clock.ms += 30_001
    plan.fault = (call) => (call === 'complete' ? 'unavailable' : undefined)
    expect((await send(app, 'k')).status).toBe(201)
    expect(told().at(-1)).toBe('unstored')
    plan.fault = () => undefined
    await expect.poll(told, { timeout: 3_000 }).toContain('stored_late')
    const replay = await send(app, 'k')
    expect([replay.headers.get('idempotent-replayed'), await replay.json(), calls.n]).toEqual([
      'true',
      { found: true },
      1,
    ])
  })

  test('L3: reconcile may say that nothing happened, and then the handler runs; a parked key is to be asked for again', async () => {
    const outcome = async (options: NonNullable<Parameters<typeof counting>[0]>) => {
      const { app, clock, calls, store } = counting(options)
      await send(app, 'warm')
      const dead = deduplicatorOf(store, clock)
      await dead.acquire(await identityOf(dead, 'k', store))
      clock.ms += 30_001
      const { status, headers } = await send(app, 'k')
      return [status, calls.n - 1, headers.get('retry-after')]
    }
    expect(await outcome({ reconcile: async () => 'execute' })).toEqual([201, 1, null])
    expect(await outcome({ reconcile: async () => undefined, onUnknown: 'park' })).toEqual([409, 0, '60'])
  })

  test('L4: each claim of a key has a higher fence, and handlers get it', async () => {
    const fences: number[] = []
    const { app } = counting({}, (_, c) => {
      fences.push(c.get('idempotency').fence)
      return new Response('x', { status: 503 })
    })
    for (let i = 0; i < 3; i++) await send(app, 'k')
    expect(fences).toEqual([...fences].sort((a, b) => a - b))
    expect(new Set(fences).size).toBe(3)
  })
})

describe('runs', () => {
  test('C5: a claim joined to a unit is there with it, is refused with it, and is settled by its link', async () => {
    const db = await database()
    const deduplicator = deduplicatorOf(sqliteOf(db))
    const identity = {
      key: await deduplicator.storageKey({ principal: 'p' }, 'k'),
      fingerprint: 'f',
      principalHash: 'h',
    }
    const [first, second] = [await deduplicator.decide(identity), await deduplicator.decide(identity)]
    if (first.kind !== 'free' || second.kind !== 'free') throw new Error('expected a free key')
    const [winner, loser] = [db.unit(), db.unit()]
    deduplicator.claimIn(winner, first.claim, { link: 'run-1' })
    deduplicator.claimIn(loser, second.claim, { link: 'run-2' })
    await winner.commit()
    await expect(loser.commit()).rejects.toMatchObject({ code: 'refused' })
    expect([first.claim.committed, second.claim.committed]).toEqual([true, false])
    expect(await deduplicator.decide(identity)).toMatchObject({ kind: 'in_flight', record: { link: 'run-1' } })
    const response = { status: 201, headers: [['x-a', 'b'] as const], body: new Uint8Array([1]) }
    expect(await deduplicator.complete({ key: first.claim.key, token: 'stale' }, response)).toBe('stale')
    const unit = db.unit()
    deduplicator.completeIn(unit, { key: first.claim.key, token: first.claim.token }, response)
    await unit.commit()
    expect(await deduplicator.decide(identity)).toMatchObject({
      kind: 'completed',
      record: { response: { status: 201, headers: [['x-a', 'b']] } },
    })
  })

  test('C5: a claim that a run has taken over is settled by the run alone; 202 is not its answer', async () => {
    const store = memoryOf()
    const clock = { ms: 0 }
    const deduplicator = deduplicatorOf(store, clock)
    let link: { key: string; token: string } | undefined
    const app = appOf(
      deduplicator,
      async (c) => {
        const { claim } = c.get('idempotency')
        link = { key: claim.key, token: claim.token }
        await deduplicator.handOver(claim, { link: 'run-1' })
        return c.text('accepted', 202)
      },
      {
        runs: {
          lookup: async (runId) => ({ runId, status: 'running' }),
          attach: async (c, runId) => c.text(`attached ${runId}`, 409),
        },
      },
    )
    expect((await send(app, 'k')).status).toBe(202)
    expect(await (await send(app, 'k')).text()).toBe('attached run-1')
    clock.ms += 100_000
    expect(await (await send(app, 'k')).text()).toBe('attached run-1')
    await deduplicator.complete(link!, { status: 200, headers: [], body: new TextEncoder().encode('done') })
    const replay = await send(app, 'k')
    expect([await replay.text(), replay.headers.get('idempotent-replayed')]).toEqual(['done', 'true'])
  })

  test('P1: an answer that is kept with its run is replayed from there, and is 409 where the run has it no longer', async () => {
    for (const store of [memoryOf(), sqliteOf(await database())]) {
      const deduplicator = deduplicatorOf(store)
      let outcome: StoredResponse | undefined = {
        status: 201,
        headers: [['x-kind', 'of the run']],
        body: new TextEncoder().encode('kept once'),
      }
      const app = appOf(
        deduplicator,
        async (c) => {
          const claim = c.get('idempotency')!.claim!
          await deduplicator.handOver(claim, { link: 'run-1' })
          await deduplicator.complete({ key: claim.key, token: claim.token }, answerInRun(201))
          return c.text('kept once', 201)
        },
        {
          runs: {
            lookup: async (runId) => ({ runId, status: 'completed', ...(outcome === undefined ? {} : { outcome }) }),
            attach: async () => undefined,
          },
        },
      )
      await send(app, 'k')
      const replay = await send(app, 'k')
      expect([replay.status, await replay.text(), replay.headers.get('x-kind')]).toEqual([
        201,
        'kept once',
        'of the run',
      ])
      expect([replay.headers.get('idempotent-replayed'), replay.headers.get('gw-answer-in-run')]).toEqual([
        'true',
        null,
      ])
      outcome = undefined
      expect(await codeOfAnswer(await send(app, 'k'))).toEqual([409, 'idempotency_response_unavailable'])
    }
  })

  test('C5: a run that was accepted at the last moment is attached to, not run again; runs that cannot be asked are 503', async () => {
    let there = false
    let broken = false
    const { app, clock, calls, store } = counting({
      runs: {
        async lookup(runId) {
          if (broken) throw new Error('the runs are away')
          return there ? { runId, status: 'running' } : undefined
        },
        attach: async (c, runId) => c.text(`attached ${runId}`, 202),
        async preclude() {
          there = true
          return false
        },
      },
    })
    await send(app, 'warm')
    const dead = deduplicatorOf(store, clock)
    const decision = await dead.acquire(await identityOf(dead, 'k', store))
    if (decision.kind !== 'claimed') throw new Error('expected a free key')
    await dead.handOver(decision.claim, { link: 'run-1' })
    clock.ms += 30_001
    expect(await (await send(app, 'k')).text()).toBe('attached run-1')
    broken = true
    expect(await codeOfAnswer(await send(app, 'k'))).toEqual([503, 'idempotency_store_unavailable'])
    expect(calls.n).toBe(1)
  })

  test('C5: a run that was not accepted after all frees its key', async () => {
    const { app, calls, deduplicator } = counting({}, async (_, c) => {
      await deduplicator.handOver(c.get('idempotency').claim, { link: 'run-1' })
      return Response.json({ code: 'storage_unavailable' }, { status: 503, headers: problemJson })
    })
    for (let i = 0; i < 2; i++) expect((await send(app, 'k')).status).toBe(503)
    expect(calls.n).toBe(2)
  })

  test('C5: of two joined requests at once the loser gets the answer of the winner; a 409 of its own stays its own', async () => {
    const store = memoryOf()
    const deduplicator = deduplicatorOf(store)
    const { opened, open } = gate()
    let arrived = 0
    const app = appOf(
      deduplicator,
      async (c) => {
        const { claim } = c.get('idempotency')
        if (c.req.header('x-own') === 'yes')
          return Response.json({ code: 'own' }, { status: 409, headers: problemJson })
        if (++arrived === 2) open()
        await opened
        const unit = store.unit()
        deduplicator.claimIn(unit, claim, { link: 'run-1' })
        try {
          await unit.commit()
        } catch {
          return Response.json({ code: 'run_not_accepted' }, { status: 409, headers: problemJson })
        }
        const ending = store.unit()
        const response = { status: 201, headers: [], body: new TextEncoder().encode('won') }
        deduplicator.completeIn(ending, { key: claim.key, token: claim.token }, response)
        await ending.commit()
        return c.text('won', 201)
      },
      { join: true },
    )
    const answers = await Promise.all([send(app, 'k'), send(app, 'k')])
    for (const answer of answers) expect([answer.status, await answer.text()]).toEqual([201, 'won'])
    expect(answers.map(({ headers }) => headers.get('idempotent-replayed')).sort()).toEqual([null, 'true'])
    expect(await codeOfAnswer(await send(app, 'l', { headers: { 'x-own': 'yes' } }))).toEqual([409, 'own'])
  })

  test('C5: a run says how long its answer is kept, in its unit or by itself; in a unit answers are sealed at once', async () => {
    const clock = { ms: 1 }
    const store = memoryOf(clock)
    const deduplicator = deduplicatorOf(store, clock)
    const response: StoredResponse = { status: 200, headers: [], body: undefined }
    const identity = { fingerprint: 'f', principalHash: 'h' }
    for (const [key, settle] of Object.entries({
      alone: (link: KeyLink) => deduplicator.complete(link, response, { windowMs: 5_000 }),
      async unit(link: KeyLink) {
        const unit = store.unit()
        deduplicator.completeIn(unit, link, response, { windowMs: 5_000 })
        await unit.commit()
      },
    })) {
      const decision = await deduplicator.acquire({ ...identity, key })
      if (decision.kind !== 'claimed') throw new Error('expected a free key')
      await settle(decision.claim)
      clock.ms += 4_999
      expect((await store.get(key))?.state).toBe('completed')
      clock.ms += 1
      expect(await store.get(key)).toBeUndefined()
    }
    const slow = deduplicatorOf(store, clock, { crypto: webCrypto })
    await slow.start()
    expect(() => slow.completeIn(store.unit(), { key: 'k', token: 't' }, response)).toThrow('`crypto`')
  })

  test('I2: a repeat on a route that does not know the run behind a key is told at once, and does not ask the store on and on', async () => {
    const clock = { ms: 1 }
    const { store, calls: stored } = counted(memoryOf(clock))
    const { app, calls } = counting({ waitMs: 2_000 }, undefined, { store, monotonic: () => performance.now() })
    await send(app, 'warm')
    const dead = deduplicatorOf(store, clock)
    const decision = await dead.acquire(await identityOf(dead, 'k', store))
    if (decision.kind !== 'claimed') throw new Error('expected a free key')
    await dead.handOver(decision.claim, { link: 'run-1' })
    clock.ms += 30_001
    const asked = (stored['tryClaim'] ?? 0) + (stored['get'] ?? 0)
    expect(await codeOfAnswer(await send(app, 'k'))).toEqual([409, 'idempotency_request_in_flight'])
    expect((stored['tryClaim'] ?? 0) + (stored['get'] ?? 0) - asked).toBe(1)
    expect(calls.n).toBe(1)
  })

  test('C5, L3: a claim whose run was never accepted ran nothing: once its lease is over it executes', async () => {
    const { app, clock, calls, store } = counting({
      runs: { lookup: async () => undefined, attach: async () => undefined },
    })
    await send(app, 'warm')
    const dead = deduplicatorOf(store, clock)
    const decision = await dead.acquire(await identityOf(dead, 'k', store))
    if (decision.kind !== 'claimed') throw new Error('expected a free key')
    await dead.handOver(decision.claim, { link: 'run-never' })
    expect((await send(app, 'k')).status).toBe(409)
    clock.ms += 30_001
    expect((await send(app, 'k')).status).toBe(201)
    expect(calls.n).toBe(2)
  })
})

const problemJson = { 'content-type': 'application/problem+json' }

/** What the middleware knows the usual request by: the fingerprint is the one under which `warm` was answered. */
async function identityOf(deduplicator: RequestDeduplicator, key: string, store: DedupStore): Promise<RequestIdentity> {
  await deduplicator.start()
  const scope = { principal: 'ann', method: 'POST', path: '/pay/:id' }
  const warm = (await store.get(await deduplicator.storageKey(scope, 'warm')))!
  return {
    key: await deduplicator.storageKey(scope, key),
    fingerprint: warm.fingerprint,
    principalHash: await deduplicator.principalHash(scope),
  }
}
