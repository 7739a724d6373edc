import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { openDatabase } from '@gw/sqlite'
import { Hono } from 'hono'
import { expect, onTestFinished, test } from 'vitest'
import { CheckpointManager, durable } from '../src/index.ts'
import type { CheckpointStore } from '../src/store.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { type SealedCheckpointStoreOptions, sealedCheckpointStore } from '../src/stores/sealed.ts'
import { sqliteCheckpointStore } from '../src/stores/sqlite.ts'
import { tieredCheckpointStore } from '../src/stores/tiered.ts'
import { gate, processOn } from './fixture.ts'
import { memoryKeyring } from './fixture-keyring.ts'
import {
  commit,
  completedRun,
  freshCold,
  freshDirectory,
  inputOf,
  outcomeOf,
  recordOf,
  stepOf,
  wholeOf,
} from './fixture-runs.ts'

const keys = { current: 'a', keys: new Map([['a', new Uint8Array(randomBytes(32))]]) }
const canary = 'CANARY-9b1f73ce5a2d4480'

/** The canary as it could lie in bytes: plain, in base64 at each of its three offsets, in hex, and inside gzip. */
function isIn(bytes: Buffer): boolean {
  const forms = [canary, Buffer.from(canary).toString('hex')]
  for (const pad of ['', 'x', 'xx'])
    forms.push(
      Buffer.from(pad + canary)
        .toString('base64')
        .slice(4, -4),
    )
  if (forms.some((form) => bytes.includes(form))) return true
  for (let at = bytes.indexOf('1f8b08', 0, 'hex'); at !== -1; at = bytes.indexOf('1f8b08', at + 1, 'hex')) {
    try {
      if (isIn(gunzipSync(bytes.subarray(at), { finishFlush: 2 }))) return true
    } catch {
      // Not the beginning of a gzip.
    }
  }
  return false
}

function filesOf(directory: string): Buffer[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name)))
}

/** Drives a whole run whose every payload holds the canary. */
async function canaryRun(store: CheckpointStore, subject?: string): Promise<string> {
  const checkpoints = new CheckpointManager({ store, settleMs: 50 })
  onTestFinished(() => checkpoints.stop({ gracefulShutdownMs: 0 }))
  const app = new Hono()
  const options = { checkpoints, operation: 'job', headers: ['x-secret'], subject: () => subject }
  app.post('/jobs', durable(options), async (c) => {
    const { run } = c.var
    const body = await c.req.text()
    await run.step('one', () => ({ body }))
    await run.update({ stage: 's', note: body, list: [body] })
    c.header('x-answer', canary)
    return c.text(`got ${body}`)
  })
  checkpoints.serve(app)
  const response = await app.request(`/jobs?q=${canary}`, {
    method: 'POST',
    body: canary.repeat(20),
    headers: { 'x-secret': canary },
  })
  expect(response.status).toBe(200)
  expect(response.headers.get('x-answer')).toBe(canary)
  return response.headers.get('gw-run')!
}

test('checkpoint T3: the check for the canary finds it in an unsealed database and in a compressed object, so that its silence means something', async () => {
  const { cold } = await freshCold()
  const db = await openDatabase({ directory: freshDirectory() })
  const tiers = tieredCheckpointStore({ primary: sqliteCheckpointStore({ db }), cold, coldAfterMs: 0 })
  onTestFinished(async () => {
    await tiers.close()
    await db.close()
  })
  await canaryRun(tiers)
  expect(filesOf(db.directory).some(isIn)).toBe(true)
  await new Promise((resolve) => setTimeout(resolve, 5))
  await tiers.moveCold()
  const [name] = await cold.list('runs/')
  expect(isIn(Buffer.from((await cold.get(name!))!))).toBe(true)
})

for (const subject of [undefined, 'ann']) {
  const whose = subject === undefined ? 'with the store keys' : "with a subject's key"
  test(`checkpoint T3, T5: sealed ${whose}, no payload is readable in the database file, the cold objects or the backup`, async () => {
    const { cold } = await freshCold()
    const db = await openDatabase({ directory: freshDirectory() })
    const tiers = tieredCheckpointStore({
      primary: sqliteCheckpointStore({ db }),
      cold,
      coldAfterMs: 0,
      backupIntervalMs: 3_600_000,
      compressAboveBytes: 0,
    })
    onTestFinished(async () => {
      await tiers.close({ backup: false })
      await db.close()
    })
    const store = sealedCheckpointStore({ store: tiers, keys, keyring: memoryKeyring(), compressAboveBytes: 10 })
    const id = await canaryRun(store, subject)
    const before = await wholeOf(store, id)
    expect(before.record).toMatchObject({ status: 'completed', subject, data: expect.stringContaining(canary) })
    await tiers.backup()
    await new Promise((resolve) => setTimeout(resolve, 5))
    await tiers.moveCold()
    expect(tiers.tiers().cold.moved).toBe(1)
    const names = await cold.list('')
    expect(names.map((name) => name.split('/')[0])).toEqual(['backup', 'backup', 'runs'])
    for (const name of names) expect(isIn(Buffer.from((await cold.get(name))!)), name).toBe(false)
    for (const file of filesOf(db.directory)) expect(isIn(file)).toBe(false)
    expect(await wholeOf(store, id)).toEqual(before)
  })
}

test("checkpoint T5: with subjectsOnly a subject's payloads are sealed, and everyone else's lie as they would without", async () => {
  const db = await openDatabase({ directory: freshDirectory() })
  onTestFinished(() => db.close())
  const inner = sqliteCheckpointStore({ db })
  const keyring = memoryKeyring()
  const store = sealedCheckpointStore({ store: inner, keyring, subjectsOnly: true })
  const ofAnn = await canaryRun(store, 'ann')
  for (const file of filesOf(db.directory)) expect(isIn(file)).toBe(false)
  const ofNobody = await canaryRun(store)
  expect(filesOf(db.directory).some(isIn)).toBe(true)
  expect(await wholeOf(inner, ofNobody)).toEqual(await wholeOf(store, ofNobody))
  expect((await store.outcome(ofAnn))?.status).toBe(200)
  await keyring.erase('ann')
  expect((await store.outcome(ofAnn))?.status).toBe(410)
  expect((await store.outcome(ofNobody))?.status).toBe(200)
  expect(() => sealedCheckpointStore({ store: inner, subjectsOnly: true })).toThrow('`keyring`')
})

async function sealed(
  changes: Partial<SealedCheckpointStoreOptions> = {},
  inner = memoryCheckpointStore({ shared: true }),
) {
  const keyring = memoryKeyring()
  return { inner, keyring, store: sealedCheckpointStore({ store: inner, keys, keyring, ...changes }) }
}

test("checkpoint T5: after a subject's erasure its payloads are gone, its rows say so, and others are untouched", async () => {
  const { store, keyring } = await sealed()
  const ann = await completedRun(store, 'of ann', { subject: 'ann', data: '{"x":"of ann"}' })
  const silent = await completedRun(store, 'of ann too', { subject: 'ann' })
  const bob = await completedRun(store, 'of bob', { subject: 'bob' })
  const nobody = await completedRun(store, 'of nobody')
  const before = [await wholeOf(store, bob.id), await wholeOf(store, nobody.id)]
  await keyring.erase('ann')
  for (const { id } of [ann, silent]) {
    expect(await store.get(id)).toMatchObject({ status: 'completed', reason: 'payload_erased', data: undefined })
    await expect(store.input(id)).rejects.toMatchObject({ code: 'payload_erased' })
    expect((await store.steps(id)).map(({ name, value }) => [name, value])).toEqual([
      ['one', undefined],
      ['two', undefined],
    ])
    const outcome = (await store.outcome(id))!
    expect(outcome.status).toBe(410)
    expect(JSON.parse(new TextDecoder().decode(outcome.body))).toMatchObject({ code: 'payload_erased' })
  }
  expect([await wholeOf(store, bob.id), await wholeOf(store, nobody.id)]).toEqual(before)
  expect((await store.list({ limit: 10 })).map(({ id, reason }) => [id, reason])).toEqual([
    [nobody.id, undefined],
    [bob.id, undefined],
    [silent.id, 'payload_erased'],
    [ann.id, 'payload_erased'],
  ])
})

test('checkpoint T5: an erased subject that begins again is refused by the keyring, and the unit leaves nothing', async () => {
  const { store, keyring } = await sealed()
  const run = recordOf({ subject: 'ann' })
  await commit(store, store.accept(run, inputOf('x')))
  await keyring.erase('ann')
  const held = { id: run.id, fence: 1 }
  await expect(commit(store, store.keep(held, [stepOf('one')]))).rejects.toMatchObject({ code: 'subject_erased' })
  const other = recordOf()
  await expect(
    commit(store, store.accept(other, inputOf('y')), store.accept(recordOf({ subject: 'ann' }), inputOf('y'))),
  ).rejects.toMatchObject({ code: 'subject_erased' })
  expect(await store.get(other.id)).toBeUndefined()
})

test('checkpoint T5: a run whose subject is erased on the way ends, is counted, and does not keep its node busy', async () => {
  const { store, keyring, inner } = await sealed({}, memoryCheckpointStore())
  const checkpoints = new CheckpointManager({ store, settleMs: 20, leaseMs: 60, maxRecoveries: 2, onError: () => {} })
  onTestFinished(() => checkpoints.stop({ gracefulShutdownMs: 0 }))
  const waiting = recordOf({ subject: 'ann', status: 'queued', owner: undefined, fence: 0 })
  await commit(store, store.accept(waiting, inputOf('x')))
  const app = new Hono()
  app.post('/jobs', durable({ checkpoints, operation: 'job', subject: () => 'ann' }), async (c) => {
    await keyring.erase('ann')
    return c.text(await c.var.run.step('one', () => 'x'))
  })
  app.post('/other', durable({ checkpoints, operation: 'other' }), (c) => c.text('fine'))
  const running = await app.request('/jobs', { method: 'POST' })
  const ids = [waiting.id, running.headers.get('gw-run')!]
  expect(running.status).toBe(503)
  checkpoints.serve(app)
  await expect
    .poll(async () => Promise.all(ids.map(async (id) => (await inner.get(id))?.status)), { timeout: 10_000 })
    .toEqual(['dead', 'dead'])
  for (const id of ids) expect((await checkpoints.outcome(id))?.status).toBe(410)
  expect((await app.request('/other', { method: 'POST' })).status).toBe(200)
})

test('checkpoint T5: a store that has not met a run looks up whose data it is', async () => {
  const { store, inner, keyring } = await sealed()
  const run = recordOf({ subject: 'ann' })
  await commit(store, store.accept(run, inputOf('x')))
  const second = sealedCheckpointStore({ store: inner, keys, keyring })
  await commit(second, second.keep({ id: run.id, fence: 1 }, [stepOf('one')]))
  await commit(second, second.signal(run.id, 'go', '"now"', 5))
  expect((await store.steps(run.id)).map(({ value }) => value)).toEqual(['"one"', '"now"'])
  await keyring.erase('ann')
  expect((await store.steps(run.id)).map(({ value }) => value)).toEqual([undefined, undefined])
})

test('checkpoint T3: payloads of before sealing are refused, and read where that is allowed', async () => {
  const { store, inner } = await sealed()
  const run = await completedRun(inner, 'plain', { data: '{"a":1}' })
  for (const read of [
    () => store.get(run.id),
    () => store.input(run.id),
    () => store.steps(run.id),
    () => store.outcome(run.id),
  ])
    await expect(read()).rejects.toMatchObject({ code: 'not_sealed' })
  const lenient = sealedCheckpointStore({ store: inner, keys, allowUnsealed: true })
  expect(await wholeOf(lenient, run.id)).toEqual(await wholeOf(inner, run.id))
})

test('checkpoint T3: a payload that was put in the place of another, of the same run or another one, is found', async () => {
  const { store, inner } = await sealed()
  const [one, two] = [await completedRun(store, 'one'), await completedRun(store, 'two')]
  const moved = recordOf()
  const steps = await inner.steps(one.id)
  const swapped = [
    { ...steps[0]!, value: steps[1]!.value },
    { ...steps[1]!, value: steps[0]!.value },
  ]
  await commit(
    inner,
    inner.accept(moved, (await inner.input(two.id))!, { steps: swapped, outcome: (await inner.outcome(one.id))! }),
  )
  await expect(store.input(moved.id)).rejects.toMatchObject({ code: 'seal_broken' })
  await expect(store.outcome(moved.id)).rejects.toMatchObject({ code: 'seal_broken' })
  await expect(store.steps(moved.id)).rejects.toMatchObject({ code: 'seal_broken' })
  const same = recordOf({ id: one.id })
  const other = memoryCheckpointStore()
  await commit(other, other.accept(same, (await inner.input(one.id))!, { steps: swapped }))
  const view = sealedCheckpointStore({ store: other, keys })
  expect(Buffer.from((await view.input(one.id))!.body)).toEqual(Buffer.from(inputOf('one').body))
  await expect(view.steps(one.id)).rejects.toMatchObject({ code: 'seal_broken' })
})

test('checkpoint T3: data merges field by field though it is sealed, and comes back as it would unsealed', async () => {
  const { store, inner } = await sealed()
  const run = recordOf({ data: '{"a":{"$gw":"Date","v":5},"b":"x"}' })
  const held = { id: run.id, fence: 1 }
  await commit(store, store.accept(run, inputOf('x')))
  await Promise.all([
    commit(store, store.patch(held, { merge: '{"b":"y"}', updatedAt: 5 })),
    commit(store, store.patch(held, { merge: '{"c":[null]}', updatedAt: 5 })),
  ])
  expect(JSON.parse((await store.get(run.id))!.data!)).toEqual({ a: { $gw: 'Date', v: 5 }, b: 'y', c: [null] })
  expect((await inner.get(run.id))!.data).not.toMatch(/"x"|"y"|null/)
  for (const data of ['[1,"x"]', '{"$gw":"Map","v":[]}', '"text"', 'null']) {
    await commit(store, store.patch(held, { data, updatedAt: 6 }))
    expect((await store.get(run.id))?.data).toBe(data)
  }
})

test('checkpoint T3: after a rotation old payloads open and new ones take the new key; without the old key the error names it', async () => {
  const inner = memoryCheckpointStore()
  const before = sealedCheckpointStore({ store: inner, keys })
  const old = await completedRun(before, 'old')
  const rotated = { current: 'b', keys: new Map([...keys.keys, ['b', new Uint8Array(randomBytes(32))]]) }
  const after = sealedCheckpointStore({ store: inner, keys: rotated })
  const fresh = await completedRun(after, 'fresh')
  expect(Buffer.from((await after.outcome(old.id))!.body)).toEqual(Buffer.from(outcomeOf('old').body))
  const late = sealedCheckpointStore({
    store: inner,
    keys: { current: 'b', keys: new Map([['b', rotated.keys.get('b')!]]) },
  })
  expect((await late.outcome(fresh.id))?.status).toBe(201)
  await expect(late.outcome(old.id)).rejects.toMatchObject({
    code: 'key_unknown',
    message: expect.stringContaining('`a`'),
  })
  await expect(before.outcome(fresh.id)).rejects.toMatchObject({ code: 'key_unknown' })
})

test('checkpoint T3: options that cannot be right are refused when the store is made', () => {
  const store = memoryCheckpointStore()
  for (const options of [
    {},
    { store: {} },
    { store, allowUnsealed: 1 },
    { store, key: 'x' },
    { store, compressAboveBytes: Number.NaN },
  ])
    expect(() => sealedCheckpointStore(options as never)).toThrow(/Expected|Unknown/)
})

test('checkpoint T3, R2: a run whose key is missing is reported, and does not keep others from being taken up, nor itself from being cancelled', async () => {
  const memory = memoryCheckpointStore()
  const [older, newer] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)]
  const sealedWith = (current: string, ...keys: [string, Uint8Array][]) =>
    sealedCheckpointStore({ store: memory, keys: { current, keys: new Map(keys) } })
  const ids: string[] = []
  for (const [name, key] of [
    ['older', older],
    ['newer', newer],
  ] as const) {
    const updated = gate()
    const left = processOn(sealedWith(name, [name, key]), async (run) => {
      await run.update({ seen: true })
      updated.open()
      await new Promise(() => {})
    })
    const byHand = await left.checkpoints.create({ operation: 'by-hand', data: { name } })
    ids.push((await left.post({}, { prefer: 'wait=0' })).headers.get('gw-run')!, byHand)
    await updated.passed
  }
  const errors: unknown[] = []
  const { checkpoints, outcome } = processOn(sealedWith('newer', ['newer', newer]), () => 'done', {
    onError: (error) => errors.push(error),
  })
  const resumed: unknown[] = []
  checkpoints.onResume('by-hand', ({ data }) => void resumed.push(data))
  await checkpoints.start()
  expect(await outcome(ids[2]!)).toBe('201 {"result":"done"}')
  expect(resumed).toEqual([{ name: 'newer' }])
  expect(errors).toMatchObject([{ code: 'key_unknown' }, { code: 'key_unknown' }])
  await checkpoints.cancel(ids[1]!, { actor: 'me' }).catch(() => {})
  expect((await memory.get(ids[1]!))?.status).toBe('cancelled')
})
