import { randomBytes } from 'node:crypto'
import { openDatabase } from '@gw/sqlite'
import { afterAll, expect, test as sequential, vi } from 'vitest'
import type { ColdStore } from '../src/cold.ts'
import { payloadCache } from '../src/payload-cache.ts'
import { periodic } from '../src/periodic.ts'
import type { CheckpointStore } from '../src/store.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { s3CheckpointStore } from '../src/stores/s3.ts'
import { sqliteCheckpointStore } from '../src/stores/sqlite.ts'
import { type TieredCheckpointStoreOptions, tieredCheckpointStore } from '../src/stores/tiered.ts'
import {
  clientOf,
  commit,
  completedRun,
  failingEachCall,
  freshCold,
  freshDirectory,
  inputOf,
  outcomeOf,
  recordOf,
  stepOf,
  wholeOf,
} from './fixture-runs.ts'

const test = sequential.concurrent
vi.setConfig({ testTimeout: 30_000 })
const closing: (() => unknown)[] = []

afterAll(async () => {
  for (const close of closing.reverse()) await close()
})

const day = 86_400_000

/** A SQLite primary. */
async function primaryOf(): Promise<CheckpointStore> {
  const db = await openDatabase({ directory: freshDirectory() })
  closing.push(() => db.close())
  const store = sqliteCheckpointStore({ db })
  await store.open()
  return store
}

/** Tiers with a clock by hand that begins a day after the runs of these tests. */
async function tiersOf(options: Partial<TieredCheckpointStoreOptions> = {}) {
  const primary = options.primary ?? (await primaryOf())
  const cold = options.cold ?? (await freshCold()).cold
  const clock = { now: 1_700_000_000_000 + day }
  const store = tieredCheckpointStore({ coldAfterMs: 1_000, now: () => clock.now, ...options, primary, cold })
  return { store, primary, cold, clock }
}

/** Counts a cold store's calls, and fails those that `fails` names. */
function watched(cold: ColdStore, fails: (call: string) => boolean = () => false) {
  const calls: string[] = []
  const through =
    <Args extends unknown[], Result>(name: string, call: (...args: Args) => Promise<Result>) =>
    async (...args: Args): Promise<Result> => {
      calls.push(name)
      if (fails(name)) throw Object.assign(new Error(`${name} failed`), { code: 'cold_unavailable' })
      return call(...args)
    }
  const store: ColdStore = {
    probe: through('probe', cold.probe),
    put: through('put', cold.put),
    get: through('get', cold.get),
    list: through('list', cold.list),
    remove: through('remove', cold.remove),
  }
  return { store, calls }
}

test('checkpoint T1: a completed run moves after its time, and is then readable, listed and counted as before', async () => {
  const { store, primary, cold, clock } = await tiersOf({ cacheBytes: 0 })
  const old = await completedRun(store, 'old', { data: '{"a":1}', stage: 's', progress: 1 })
  const young = await completedRun(store, 'young', { updatedAt: clock.now - 999 })
  const [before, counts, list] = [await wholeOf(store, old.id), await store.counts(), await store.list({ limit: 10 })]
  await store.moveCold()
  expect(store.tiers().cold).toMatchObject({ moved: 1, backlog: 0, state: 'ready', failures: 0 })
  expect(await cold.list('runs/')).toHaveLength(1)
  expect([await primary.outcome(old.id), await primary.steps(old.id)]).toEqual([undefined, []])
  expect((await primary.input(old.id))?.body.length).toBe(0)
  expect(await wholeOf(store, old.id)).toEqual(before)
  expect([await store.counts(), await store.list({ limit: 10 })]).toEqual([counts, list])
  expect((await primary.outcome(young.id))?.status).toBe(201)
  clock.now += 1_000
  await store.moveCold()
  expect(store.tiers().cold.moved).toBe(2)
  expect(await primary.outcome(young.id)).toBeUndefined()
})

test('checkpoint T1: what is not completed, or still has something to settle, stays; when it completes later it moves too', async () => {
  const { store, primary, clock } = await tiersOf()
  const idle = { owner: undefined } as const
  const kept = [
    recordOf({ ...idle, status: 'queued' }),
    recordOf({ ...idle, status: 'waiting' }),
    recordOf({ ...idle, status: 'parked' }),
    recordOf({ ...idle, status: 'failed', settled: true }),
    recordOf({ ...idle, status: 'cancelled', settled: true }),
    recordOf({ ...idle, status: 'dead', settled: true }),
    recordOf({ ...idle, status: 'completed', settled: false }),
  ]
  for (const run of kept) await commit(store, store.accept(run, inputOf('x'), { outcome: outcomeOf('x') }))
  const running = recordOf()
  await commit(store, store.accept(running, inputOf('x')))
  await store.moveCold()
  expect(store.tiers().cold.moved).toBe(0)
  for (const { id } of kept) expect((await primary.input(id))?.body.length).toBeGreaterThan(0)
  const ending = {
    status: 'completed',
    reason: undefined,
    outcome: outcomeOf('x'),
    settled: true,
    expiresAt: clock.now + day,
    updatedAt: clock.now,
  } as const
  await commit(store, store.finish({ id: running.id, fence: 1 }, ending))
  await commit(store, store.settle(kept.at(-1)!.id))
  const failed = kept[3]!
  await commit(
    store,
    store.requeue({ id: failed.id, revision: failed.revision, drop: [], keep: [], updatedAt: clock.now }),
  )
  const claim = { owner: 'bob/1', operations: ['job'], orphans: [], alone: false, limit: 10, now: clock.now }
  await commit(store, store.claim(claim))
  await commit(store, store.finish({ id: failed.id, fence: 2 }, ending))
  clock.now += 2_000
  await store.moveCold()
  expect(store.tiers().cold.moved).toBe(3)
  for (const id of [running.id, kept.at(-1)!.id, failed.id]) expect((await store.outcome(id))?.status).toBe(201)
})

test('checkpoint T1: a crash after any call of the move leaves the run readable, once, and the next move completes it', async () => {
  const calls = await failingEachCall(async (failing) => {
    const primary = await primaryOf()
    const { cold } = await freshCold()
    let count = 0
    let crashed = false
    const crash = () => {
      if (!crashed && ++count === failing) {
        crashed = true
        throw new Error('crash')
      }
    }
    const { store: unreliable } = watched(cold, () => {
      crash()
      return false
    })
    const crashing: CheckpointStore = {
      ...primary,
      unit() {
        const unit = primary.unit()
        return {
          add: (write, onCommitted) => unit.add(write, onCommitted),
          async commit() {
            crash()
            const durability = await unit.commit()
            crash()
            return durability
          },
        }
      },
    }
    const run = await completedRun(primary, 'x')
    const before = await wholeOf(primary, run.id)
    const first = await tiersOf({ primary: crashing, cold: unreliable })
    await first.store.moveCold().catch(() => {})
    const again = await tiersOf({ primary, cold })
    expect(await wholeOf(again.store, run.id), `crash ${failing}`).toEqual(before)
    expect((await again.store.list({ limit: 10 })).map(({ id }) => id)).toEqual([run.id])
    await again.store.moveCold()
    expect(await wholeOf(again.store, run.id)).toEqual(before)
    expect(await primary.outcome(run.id)).toBeUndefined()
    expect(await cold.list('runs/')).toHaveLength(1)
    return crashed
  })
  expect(calls).toBeGreaterThan(5)
})

test('checkpoint T1: what was put is read back before the primary lets go: a store that keeps other bytes loses nothing', async () => {
  const { cold } = await freshCold()
  const lying: ColdStore = { ...cold, put: async (name, bytes) => cold.put(name, bytes.slice(0, -1)) }
  const { store, primary } = await tiersOf({ cold: { ...lying, probe: cold.probe } })
  const run = await completedRun(store, 'x')
  await expect(store.moveCold()).rejects.toMatchObject({ code: 'seal_broken' })
  expect((await primary.outcome(run.id))?.status).toBe(201)
  const forgetful: ColdStore = { ...cold, put: async () => 'stored' }
  const other = await tiersOf({ cold: forgetful, primary })
  await expect(other.store.moveCold()).rejects.toMatchObject({ code: /seal_broken|cold_unknown/ })
  expect((await primary.outcome(run.id))?.status).toBe(201)
})

test('checkpoint T1: a run that changes while it is being moved keeps its change', async () => {
  const { cold } = await freshCold()
  const primary = await primaryOf()
  const run = await completedRun(primary, 'x')
  const meddling: ColdStore = {
    ...cold,
    async get(name) {
      await commit(primary, primary.settle(run.id))
      return cold.get(name)
    },
  }
  const { store } = await tiersOf({ cold: meddling, primary })
  await store.moveCold()
  expect(store.tiers().cold.moved).toBe(0)
  expect((await primary.outcome(run.id))?.status).toBe(201)
  expect((await primary.get(run.id))?.revision).toBe(run.revision + 1)
})

test('checkpoint T2: two nodes that move the same runs at once leave each run readable, once', async () => {
  const primary = memoryCheckpointStore({ shared: true })
  const { cold } = await freshCold()
  const keys = { current: 'a', keys: new Map([['a', new Uint8Array(randomBytes(32))]]) }
  const nodes = [await tiersOf({ primary, cold, keys }), await tiersOf({ primary, cold, keys })]
  const runs = await Promise.all(Array.from({ length: 30 }, (_, i) => completedRun(primary, `run ${i}`)))
  const before = await Promise.all(runs.map(({ id }) => wholeOf(primary, id)))
  await Promise.all(nodes.map(({ store }) => store.moveCold()))
  expect(nodes.reduce((sum, { store }) => sum + store.tiers().cold.moved, 0)).toBeGreaterThanOrEqual(30)
  for (const { store } of nodes) {
    expect(await Promise.all(runs.map(({ id }) => wholeOf(store, id)))).toEqual(before)
    expect(store.tiers().cold.conflicts).toBe(0)
  }
  expect(await cold.list('runs/')).toHaveLength(30)
})

test('checkpoint T1: another run under the same name is a conflict: both keep what they have', async () => {
  const { cold } = await freshCold()
  const [mine, theirs] = [await tiersOf({ cold }), await tiersOf({ cold })]
  const run = recordOf()
  await completedRun(mine.store, 'mine', run)
  await completedRun(theirs.store, 'theirs', run)
  await mine.store.moveCold()
  await theirs.store.moveCold()
  expect(theirs.store.tiers().cold).toMatchObject({ moved: 0, conflicts: 1 })
  const text = async ({ store }: typeof mine) => new TextDecoder().decode((await store.outcome(run.id))?.body)
  expect([await text(mine), await text(theirs)]).toEqual(['answer mine', 'answer theirs'])
})

test('checkpoint T1: while the cold store is away, writes and reads go on, the backlog shows, and nothing is lost', async () => {
  const { cold } = await freshCold()
  let away = true
  const { store: unreliable, calls } = watched(cold, () => away)
  const errors: unknown[] = []
  const { store, primary } = await tiersOf({ cold: unreliable, onError: (error) => errors.push(error) })
  const runs = await Promise.all(Array.from({ length: 12 }, (_, i) => completedRun(store, `run ${i}`)))
  await expect(store.moveCold()).rejects.toMatchObject({ code: 'cold_unavailable' })
  expect(store.tiers().cold).toMatchObject({ backlog: 12, moved: 0, failures: 1, lastError: 'probe failed' })
  expect(calls).toEqual(['probe'])
  for (const { id } of runs) expect((await store.outcome(id))?.status).toBe(201)
  away = false
  await store.moveCold()
  expect(store.tiers().cold).toMatchObject({ backlog: 0, moved: 12, lastError: undefined })
  for (const { id } of runs) expect(await primary.outcome(id)).toBeUndefined()
})

test('checkpoint T1: a moved run whose object is gone is an error that says so, never an empty answer', async () => {
  const { store, cold } = await tiersOf({ cacheBytes: 0 })
  const run = await completedRun(store, 'x')
  await store.moveCold()
  for (const name of await cold.list('runs/')) await cold.remove(name)
  for (const read of [() => store.input(run.id), () => store.steps(run.id), () => store.outcome(run.id)])
    await expect(read()).rejects.toMatchObject({ code: 'cold_unavailable', message: expect.stringContaining(run.id) })
  expect(await store.get(run.id)).toEqual(run)
})

test('checkpoint T1: reads promote: a cold run is fetched once, then it is in memory', async () => {
  const { cold } = await freshCold()
  const { store: counted, calls } = watched(cold)
  const { store } = await tiersOf({ cold: counted })
  const run = await completedRun(store, 'x')
  await store.moveCold()
  calls.length = 0
  for (let i = 0; i < 3; i++) await wholeOf(store, run.id)
  expect(calls.filter((call) => call === 'get').length).toBeGreaterThan(0)
  expect(calls.filter((call) => call === 'get').length).toBeLessThanOrEqual(3)
  const first = calls.length
  await wholeOf(store, run.id)
  expect(calls.length).toBe(first)
  expect(store.tiers().memory).toMatchObject({ entries: 1 })
  expect(store.tiers().memory.hits).toBeGreaterThan(3)
})

test('checkpoint T1: memory holds the bytes it may, drops the least recently used, and lets an entry over the cap pass by', () => {
  const body = (bytes: number) => ({ outcome: { ...outcomeOf(''), headers: [], body: new Uint8Array(bytes) } })
  const cache = payloadCache(10_000)
  for (const id of ['a', 'b', 'c']) cache.put(id, body(2_500))
  expect(cache.get('a', 'outcome')?.body.length).toBe(2_500)
  cache.put('d', body(2_500))
  expect(['a', 'b', 'c', 'd'].map((id) => cache.get(id, 'outcome') !== undefined)).toEqual([true, false, true, true])
  cache.put('huge', body(10_001))
  expect(cache.get('huge', 'outcome')).toBeUndefined()
  expect(cache.figures).toMatchObject({ entries: 3 })
  expect(cache.figures.bytes).toBeLessThanOrEqual(10_000)
  cache.put('a', { steps: [stepOf('x', { value: 'y'.repeat(6_000) })] })
  expect(cache.get('a', 'outcome')).toBeUndefined()
  cache.clear()
  expect(cache.figures).toMatchObject({ entries: 0, bytes: 0 })
  const none = payloadCache(0)
  none.put('a', body(0))
  expect(none.figures.entries).toBe(0)
})

test('checkpoint T1: memory never answers for a run that may still change, or that is gone', async () => {
  const { store, clock } = await tiersOf()
  const run = recordOf()
  await commit(store, store.accept(run, inputOf('x')))
  const ending = {
    reason: undefined,
    outcome: outcomeOf('one'),
    settled: true,
    expiresAt: clock.now,
    updatedAt: 5,
  } as const
  await commit(store, store.finish({ id: run.id, fence: 1 }, { ...ending, status: 'failed' }))
  expect((await store.outcome(run.id))?.status).toBe(201)
  const { revision } = (await store.get(run.id))!
  await commit(store, store.requeue({ id: run.id, revision, drop: [], keep: [], updatedAt: 6 }))
  expect(await store.outcome(run.id)).toBeUndefined()
  const done = await completedRun(store, 'y', { expiresAt: clock.now })
  expect((await store.outcome(done.id))?.status).toBe(201)
  await commit(store, store.collect(clock.now, 10))
  expect(await store.outcome(done.id)).toBeUndefined()
})

test('checkpoint G1: a cold object goes when its run may be collected, and soon when it is removed by name', async () => {
  const { store, cold, clock } = await tiersOf()
  const brief = await completedRun(store, 'brief', { expiresAt: clock.now + 10_000 })
  const named = await completedRun(store, 'named', { expiresAt: clock.now + 30 * day })
  const long = await completedRun(store, 'long', { expiresAt: clock.now + 30 * day })
  await store.moveCold()
  expect(await cold.list('runs/')).toHaveLength(3)
  clock.now += 20_000
  await commit(store, store.collect(clock.now, 10))
  await commit(store, store.remove([named]))
  expect(await store.get(brief.id)).toBeUndefined()
  await store.moveCold()
  expect(await cold.list('runs/')).toHaveLength(2)
  clock.now += 3_600_001
  await store.moveCold()
  expect(await cold.list('runs/')).toHaveLength(1)
  expect((await store.outcome(long.id))?.status).toBe(201)
})

test('checkpoint G1: a removal that is refused leaves the cold object', async () => {
  const { store, cold } = await tiersOf()
  const run = await completedRun(store, 'kept')
  await store.moveCold()
  await expect(commit(store, store.remove([{ ...run, revision: run.revision - 1 }]))).rejects.toMatchObject({
    reason: 'stale',
  })
  await store.moveCold()
  expect(await cold.list('runs/')).toHaveLength(1)
  expect((await store.outcome(run.id))?.status).toBe(201)
})

test('checkpoint T4: nothing is put before the probe has passed, and a server that fails it is shown', async () => {
  const { access, bucket } = await freshCold()
  const cold = s3CheckpointStore({
    client: clientOf(access, { secretAccessKey: 'wrong' }),
    bucket,
    endpoint: access.url,
  })
  const { store } = await tiersOf({ cold, backupIntervalMs: 1_000 })
  const run = await completedRun(store, 'x')
  await expect(store.moveCold()).rejects.toMatchObject({ code: 'cold_denied' })
  await expect(store.backup()).rejects.toMatchObject({ code: 'cold_denied' })
  expect(store.tiers().cold).toMatchObject({ state: 'refused', backlog: 1 })
  expect((await store.outcome(run.id))?.status).toBe(201)
})

test('checkpoint T1: passes come by themselves after `open`, sooner again after a failure, and end with `close`', async ({
  expect,
}) => {
  const { cold } = await freshCold()
  let failures = 2
  const { store: unreliable } = watched(cold, (call) => call === 'probe' && failures-- > 0)
  const primary = await primaryOf()
  const { store } = await tiersOf({ primary, cold: unreliable, coldAfterMs: 4_000, random: () => 0 })
  closing.push(() => store.close())
  const run = await completedRun(store, 'x')
  await store.open()
  await expect.poll(() => store.tiers().cold.moved, { timeout: 10_000 }).toBe(1)
  expect(store.tiers().cold.failures).toBe(2)
  await store.close()
  expect((await store.outcome(run.id))?.status).toBe(201)
})

test('checkpoint T1: a period never overlaps itself, and `stop` waits for what is under way', async ({ expect }) => {
  let [running, most, passes] = [0, 0, 0]
  const work = async () => {
    most = Math.max(most, ++running)
    await new Promise((resolve) => setTimeout(resolve, 5))
    running--
    passes++
  }
  const period = periodic({ everyMs: 1, work, onError: () => {}, random: () => 0 })
  period.start()
  await Promise.all([period.now(), period.now()])
  await expect.poll(() => passes).toBeGreaterThan(3)
  void period.now()
  await period.stop()
  expect([running, most]).toEqual([0, 1])
  const after = passes
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(passes).toBe(after)
})

test('checkpoint T1: options that cannot be right are refused when the store is made, and making it does nothing', () => {
  const primary = memoryCheckpointStore()
  const refuse = () => Promise.reject(new Error('used'))
  const cold: ColdStore = { probe: refuse, put: refuse, get: refuse, list: refuse, remove: refuse }
  tieredCheckpointStore({ primary, cold, coldAfterMs: 0, backupIntervalMs: 1 })
  const bad: readonly object[] = [
    {},
    { primary: {} },
    { primary, coldAfterMs: 5 },
    { primary, backupIntervalMs: 5 },
    { primary, cold, backupIntervalMs: 0 },
    { primary, cold, coldAfterMs: -1 },
    { primary, cacheBytes: -1 },
    { primary, cold: {} },
    { primary, memoryLimitMb: 5 },
    { primary, keyring: {} },
  ]
  for (const options of bad) expect(() => tieredCheckpointStore(options as never)).toThrow(/Expected|Unknown/)
})
