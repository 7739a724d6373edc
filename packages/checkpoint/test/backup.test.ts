import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { openDatabase } from '@gw/sqlite'
import { Hono } from 'hono'
import { afterAll, expect, test as sequential, vi } from 'vitest'
import { segmentNames } from '../src/backup.ts'
import { readBundle } from '../src/bundle.ts'
import type { ColdStore } from '../src/cold.ts'
import { CheckpointManager, durable } from '../src/index.ts'
import { finished } from '../src/run-record.ts'
import type { CheckpointStore } from '../src/store.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { s3CheckpointStore } from '../src/stores/s3.ts'
import { sqliteCheckpointStore } from '../src/stores/sqlite.ts'
import { restore, type TieredCheckpointStoreOptions, tieredCheckpointStore } from '../src/stores/tiered.ts'
import {
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

const start = 1_700_000_000_000
const bytes = Uint8Array.from({ length: 512 }, (_, i) => i)

async function machine() {
  const directory = freshDirectory()
  const db = await openDatabase({ directory })
  closing.push(() => db.close())
  const primary = sqliteCheckpointStore({ db })
  await primary.open()
  return { directory, db, primary }
}

async function backedUp(options: Partial<TieredCheckpointStoreOptions> = {}) {
  const { primary = memoryCheckpointStore(), cold = (await freshCold()).cold } = options
  const clock = { now: start + 1_000_000 }
  const store = tieredCheckpointStore({ backupIntervalMs: 3_600_000, now: () => clock.now, ...options, primary, cold })
  return { store, primary, cold, clock }
}

/** One run in every status there is, with every kind of thing that a run keeps. */
async function everyKind(store: CheckpointStore): Promise<string[]> {
  const ids: string[] = []
  const fields = {
    subject: 'ann',
    stage: 's',
    progress: 0.5,
    data: '{"ü":"\\u0000"}',
    links: { a: [1] },
    idempotencySeed: 'seed',
    signals: 1,
  }
  for (const status of [
    'queued',
    'running',
    'waiting',
    'parked',
    'completed',
    'failed',
    'cancelled',
    'dead',
  ] as const) {
    const over = finished.has(status)
    const run = recordOf({
      ...fields,
      status,
      owner: status === 'running' ? 'alice/1' : undefined,
      fence: 3,
      wakeAt: status === 'waiting' ? 5 : undefined,
      settled: over,
      expiresAt: over ? start + 10_000_000_000 : undefined,
    })
    const steps = [
      stepOf('a', { value: '"\u{1f600}"' }),
      stepOf('a', { occurrence: 2, value: bytes }),
      stepOf('b', { state: 'started', value: undefined }),
      stepOf('go', { state: 'signal', value: 'null' }),
    ]
    const past = { steps, ...(over ? { outcome: { ...outcomeOf(status), body: bytes } } : {}) }
    await commit(store, store.accept(run, inputOf(status, { body: bytes }), past))
    ids.push(run.id)
  }
  return ids
}

for (const sealed of [false, true]) {
  test(`checkpoint T2: after the data directory is deleted, restore brings every backed-up run back to the byte${sealed ? ', sealed ones too' : ''}`, async () => {
    const seal = sealed ? { keys: { current: 'a', keys: new Map([['a', new Uint8Array(randomBytes(32))]]) } } : {}
    const lost = await machine()
    const { store, cold } = await backedUp({ primary: lost.primary, ...seal })
    const ids = await everyKind(store)
    await store.backup()
    const late = await completedRun(store, 'after the first pass')
    await store.backup()
    const before = new Map(
      await Promise.all([...ids, late.id].map(async (id) => [id, await wholeOf(store, id)] as const)),
    )
    await lost.db.close()
    rmSync(lost.directory, { recursive: true })

    const fresh = await machine()
    const restored = await restore({ cold, into: fresh.primary, now: () => start, ...seal })
    expect(restored).toEqual({ runs: 9, present: 0, unfinished: 4, segments: 2, cutAt: start + 1_000_000 })
    for (const [id, { record, ...payloads }] of before) {
      const { record: now, ...nowPayloads } = await wholeOf(fresh.primary, id)
      expect(nowPayloads).toEqual(payloads)
      if (finished.has(record!.status)) expect(now).toEqual(record)
      else {
        expect(now).toEqual({
          ...record,
          status: record!.status === 'running' ? 'queued' : record!.status,
          owner: undefined,
          fence: record!.fence + 1_000_000,
          revision: record!.revision + 1,
        })
      }
    }
    expect(await restore({ cold, into: fresh.primary, now: () => start, ...seal })).toMatchObject({
      runs: 0,
      present: 9,
    })
    if (sealed) {
      const other = await machine()
      await expect(restore({ cold, into: other.primary })).rejects.toMatchObject({ code: 'key_unknown' })
    }
  })
}

test('checkpoint T2: unfinished runs go on after a restore from their last kept step, with a higher fence than any before', async ({
  expect,
}) => {
  const { cold } = await freshCold()
  const calls: string[] = []
  const fences: number[] = []
  let hang = true
  const appOn = async (store: CheckpointStore) => {
    const checkpoints = new CheckpointManager({ store, settleMs: 20 })
    closing.push(() => checkpoints.stop({ gracefulShutdownMs: 0 }))
    const app = new Hono()
    app.post('/jobs', durable({ checkpoints, operation: 'job' }), async (c) => {
      const body = await c.req.text()
      const first = await c.var.run.step('first', () => {
        calls.push('first')
        return body.length
      })
      fences.push(c.var.run.fence)
      if (hang) await new Promise(() => {})
      return c.text(`${first} ${await c.var.run.step('second', () => 'done')}`)
    })
    checkpoints.serve(app)
    return { app, checkpoints }
  }
  const lost = await machine()
  const tiers = tieredCheckpointStore({ primary: lost.primary, cold, backupIntervalMs: 3_600_000 })
  const { app } = await appOn(tiers)
  void app.request('/jobs', { method: 'POST', body: 'hello' })
  await expect.poll(() => fences.length).toBe(1)
  await tiers.backup()
  hang = false
  const fresh = await machine()
  const into = tieredCheckpointStore({ primary: fresh.primary, cold, backupIntervalMs: 3_600_000 })
  closing.push(() => into.close({ backup: false }))
  expect(await restore({ cold, into })).toMatchObject({ runs: 1, unfinished: 1 })
  const { checkpoints } = await appOn(into)
  const [run] = (await checkpoints.list()).runs
  await checkpoints.start()
  const outcome = await checkpoints.wait(run!.id, { timeoutMs: 5_000 })
  expect(new TextDecoder().decode(outcome?.body)).toBe('5 done')
  expect(calls).toEqual(['first'])
  expect(fences[1]).toBeGreaterThan(fences[0]! + 1_000)
})

test('checkpoint T2: moved runs come back too: as rows where the tiers are the same, whole into any other store', async () => {
  const { store, cold, clock } = await backedUp({ coldAfterMs: 0 })
  const runs = await Promise.all(Array.from({ length: 20 }, (_, i) => completedRun(store, `run ${i}`)))
  const before = await Promise.all(runs.map(({ id }) => wholeOf(store, id)))
  await store.moveCold()
  expect(store.tiers().cold.moved).toBe(20)
  await store.backup()
  const plain = memoryCheckpointStore()
  expect(await restore({ cold, into: plain, now: () => clock.now })).toMatchObject({ runs: 20 })
  expect(await Promise.all(runs.map(({ id }) => wholeOf(plain, id)))).toEqual(before)
  const primary = memoryCheckpointStore()
  const again = tieredCheckpointStore({ primary, cold, coldAfterMs: 0, now: () => clock.now })
  closing.push(() => again.close())
  expect(await restore({ cold, into: again, now: () => clock.now })).toMatchObject({ runs: 20 })
  expect(await primary.outcome(runs[0]!.id)).toBeUndefined()
  expect(await Promise.all(runs.map(({ id }) => wholeOf(again, id)))).toEqual(before)
})

test('checkpoint T2: a pass writes only what changed, and the newest state of a run wins', async () => {
  const { store, cold, clock } = await backedUp()
  const run = recordOf()
  const held = { id: run.id, fence: 1 }
  await commit(store, store.accept(run, inputOf('x')))
  for (let i = 0; i < 20; i++) await completedRun(store, `run ${i}`)
  await store.backup()
  expect(store.tiers().backup).toMatchObject({ runs: 21, pendingRuns: 0, cutAt: clock.now })
  clock.now += 1_000
  await store.backup()
  expect(store.tiers().backup).toMatchObject({ runs: 21, segments: 2 })
  await commit(store, store.keep(held, [stepOf('one')]))
  await store.backup()
  await commit(store, store.patch(held, { stage: 'later', updatedAt: clock.now }))
  await commit(store, store.keep(held, [stepOf('two')]))
  await store.backup()
  expect(store.tiers().backup).toMatchObject({ runs: 23, segments: 4 })
  const into = memoryCheckpointStore()
  await restore({ cold, into, now: () => start })
  expect((await into.get(run.id))?.stage).toBe('later')
  expect((await into.steps(run.id)).map(({ name }) => name)).toEqual(['one', 'two'])
})

test('checkpoint T2: a run that finishes while a pass reads it is in the next pass', async () => {
  const primary = memoryCheckpointStore()
  const { store, cold } = await backedUp({ primary })
  const run = recordOf()
  await commit(store, store.accept(run, inputOf('x')))
  await store.backup()
  const ending = {
    status: 'completed',
    reason: undefined,
    outcome: outcomeOf('x'),
    settled: true,
    expiresAt: start * 2,
    updatedAt: start,
  } as const
  await commit(store, store.keep({ id: run.id, fence: 1 }, [stepOf('one')]))
  const unit = store.unit()
  unit.add(store.finish({ id: run.id, fence: 1 }, ending))
  await store.backup()
  await unit.commit()
  expect(store.tiers().backup?.pendingRuns).toBe(1)
  await store.backup()
  expect(store.tiers().backup?.pendingRuns).toBe(0)
  const into = memoryCheckpointStore()
  await restore({ cold, into, now: () => start })
  expect((await into.get(run.id))?.status).toBe('completed')
})

test('checkpoint T2: a run that is settled while a pass writes its end is in the next pass as settled', async () => {
  const primary = memoryCheckpointStore()
  const { cold } = await freshCold()
  const run = recordOf({ status: 'completed', owner: undefined, expiresAt: start * 2 })
  const meddling: ColdStore = {
    ...cold,
    async put(name, body) {
      if ((await store.get(run.id))?.settled === false) await commit(store, store.settle(run.id))
      return cold.put(name, body)
    },
  }
  const { store } = await backedUp({ primary, cold: meddling })
  await store.backup()
  await commit(store, store.accept(run, inputOf('x'), { outcome: outcomeOf('x') }))
  await store.backup()
  await store.backup()
  const into = memoryCheckpointStore()
  await restore({ cold, into, now: () => start })
  expect((await into.get(run.id))?.settled).toBe(true)
})

test('checkpoint T2: a process that starts again backs up what the one before it had not', async () => {
  const { primary } = await machine()
  const first = await backedUp({ primary })
  const running = recordOf({ updatedAt: first.clock.now })
  await commit(first.store, first.store.accept(running, inputOf('x')))
  await first.store.backup()
  const { now } = first.clock
  await commit(first.store, first.store.keep({ id: running.id, fence: 1 }, [stepOf('one')]))
  const done = await completedRun(first.store, 'done', { updatedAt: now + 5 })
  const second = await backedUp({ primary, cold: first.cold })
  second.clock.now = now + 10
  await second.store.backup()
  const into = memoryCheckpointStore()
  await restore({ cold: first.cold, into, now: () => start })
  expect((await into.steps(running.id)).length).toBe(1)
  expect((await into.outcome(done.id))?.status).toBe(201)
})

test('checkpoint T2: two nodes that back up one store at once take different sequence numbers, and nothing is overwritten or missing', async () => {
  const primary = memoryCheckpointStore({ shared: true })
  const { place, cold } = await freshCold()
  const other = s3CheckpointStore(place)
  const nodes = [await backedUp({ primary, cold }), await backedUp({ primary, cold: other })]
  const ids: string[] = []
  await nodes[0]!.store.backup()
  for (let round = 0; round < 6; round++) {
    for (const [i, { store, clock }] of nodes.entries()) {
      clock.now = start + 1_000_000 + round * 100_000 + i
      ids.push((await completedRun(store, `round ${round}`, { updatedAt: clock.now })).id)
    }
    await Promise.all(nodes.map(({ store }) => store.backup()))
  }
  const names: string[] = []
  for await (const name of segmentNames(cold)) names.push(name)
  expect(new Set(names).size).toBe(names.length)
  expect(names.length).toBe(nodes.reduce((sum, { store }) => sum + store.tiers().backup!.segments, 0))
  const into = memoryCheckpointStore()
  await restore({ cold, into, now: () => start })
  for (const id of ids) expect((await into.outcome(id))?.status).toBe(201)
})

test('checkpoint T2: a pass that fails at any call loses nothing: the next one has it', async () => {
  const calls = await failingEachCall(async (failing) => {
    const { cold } = await freshCold()
    let count = 0
    let failed = false
    const failOnce = (): void => {
      if (++count !== failing || failed) return
      failed = true
      throw Object.assign(new Error('away'), { code: 'cold_unavailable' })
    }
    const unreliable: ColdStore = {
      ...cold,
      put: async (name, body) => {
        failOnce()
        return cold.put(name, body)
      },
      get: async (name) => {
        failOnce()
        return cold.get(name)
      },
      list: async (prefix, options) => {
        failOnce()
        return cold.list(prefix, options)
      },
    }
    const { store, clock } = await backedUp({ cold: unreliable, fullBackupIntervalMs: 15_000 })
    const ids: string[] = []
    for (let pass = 0; pass < 4; pass++) {
      ids.push((await completedRun(store, `pass ${pass}`)).id)
      await store.backup().catch(() => {})
      clock.now += 5_000
    }
    const fired = failed
    failed = true
    await store.backup()
    const into = memoryCheckpointStore()
    await restore({ cold, into, now: () => start })
    for (const id of ids) expect((await into.outcome(id))?.status, `failing call ${failing}`).toBe(201)
    return fired
  })
  expect(calls).toBeGreaterThan(10)
})

test('checkpoint T2: a full backup comes again after its time, and then the last but one is the oldest that is kept', async () => {
  const { store, cold, clock } = await backedUp({ fullBackupIntervalMs: 10_000 })
  const generations = async () => new Set((await cold.list('backup/')).map((name) => name.split('/')[1])).size
  const ids: string[] = []
  for (let i = 0; i < 8; i++) {
    ids.push((await completedRun(store, `run ${i}`)).id)
    await store.backup()
    clock.now += 6_000
  }
  expect(await generations()).toBe(2)
  const into = memoryCheckpointStore()
  await restore({ cold, into, now: () => start })
  for (const id of ids) expect((await into.outcome(id))?.status).toBe(201)
})

test('checkpoint T2: what is past its time is not brought back', async () => {
  const { store, cold } = await backedUp()
  const over = await completedRun(store, 'over', { expiresAt: start + 50 })
  const kept = await completedRun(store, 'kept', { expiresAt: start + 5_000_000_000 })
  await store.backup()
  const into = memoryCheckpointStore()
  expect(await restore({ cold, into, now: () => start + 1_000_000 })).toMatchObject({ runs: 1 })
  expect([await into.get(over.id), (await into.get(kept.id))?.status]).toEqual([undefined, 'completed'])
})

test('checkpoint T2: a restore that is cut off can be repeated', async () => {
  const { store, cold } = await backedUp()
  const ids = await everyKind(store)
  await store.backup()
  const primary = memoryCheckpointStore()
  let units = 0
  const cut: CheckpointStore = {
    ...primary,
    unit() {
      if (++units > 3) throw new Error('cut')
      return primary.unit()
    },
  }
  await expect(restore({ cold, into: cut, now: () => start })).rejects.toThrow('cut')
  expect(await restore({ cold, into: primary, now: () => start })).toMatchObject({ runs: ids.length - 3, present: 3 })
})

test('checkpoint T3: a damaged segment or bundle stops the restore and names the object', async () => {
  const { store, cold } = await backedUp({ coldAfterMs: 0 })
  await completedRun(store, 'x')
  await store.backup()
  const [name] = await cold.list('backup/')
  const damaged: ColdStore = {
    ...cold,
    async get(wanted) {
      const object = await cold.get(wanted)
      if (wanted === name) object![object!.length >> 1]! ^= 1
      return object
    },
  }
  await expect(restore({ cold: damaged, into: memoryCheckpointStore() })).rejects.toMatchObject({ code: 'seal_broken' })
})

test('checkpoint T2: a last backup is made on `close`', async () => {
  const { store, cold } = await backedUp()
  await store.open()
  const run = await completedRun(store, 'x')
  await store.close()
  const into = memoryCheckpointStore()
  await restore({ cold, into, now: () => start })
  expect((await into.outcome(run.id))?.status).toBe(201)
})

test('checkpoint T2: on a shared store a pass has what other nodes ended, also where their clocks are behind', async () => {
  const primary = memoryCheckpointStore({ shared: true })
  const { store, cold, clock } = await backedUp({ primary })
  await store.backup()
  const ids: string[] = []
  for (const behindMs of [0, 30_000]) {
    clock.now += 100_000
    await store.backup()
    ids.push((await completedRun(primary, 'elsewhere', { updatedAt: clock.now - behindMs })).id)
  }
  await store.backup()
  const into = memoryCheckpointStore()
  await restore({ cold, into, now: () => start })
  for (const id of ids) expect((await into.outcome(id))?.status).toBe(201)
})

test('checkpoint T2: of a backup that goes, the mark that it is complete goes first', async () => {
  const { cold } = await freshCold()
  const removed: string[] = []
  const watched: ColdStore = {
    ...cold,
    remove(name) {
      removed.push(name)
      return cold.remove(name)
    },
  }
  const { store, clock } = await backedUp({ cold: watched })
  for (let day = 0; day < 4; day++) {
    await store.backup()
    clock.now += 25 * 3_600_000
  }
  expect(removed.filter((name) => name.startsWith('backup/')).map((name) => name.endsWith('/complete'))).toEqual([
    true,
    false,
    true,
    false,
  ])
})

test('checkpoint T2: a run that changes while it is read is read again, row and answer together', async () => {
  const store = memoryCheckpointStore()
  const run = await completedRun(store, 'x')
  const { outcome } = store
  let reads = 0
  store.outcome = async (id) => {
    if (++reads === 1) await commit(store, store.settle(id))
    return outcome(id)
  }
  const bundle = await readBundle(store, run.id)
  expect([bundle?.record.revision, reads]).toEqual([run.revision + 1, 2])
})
