import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { liftHold, memoryArchive, placeHold, retain, segmentArchive } from '../src/archive.ts'
import type { ArchiveTarget } from '../src/archive-target.ts'
import { consume, EventStore, memoryEventStore } from '../src/index.ts'
import { folderArchive } from '../src/node/folder.ts'
import {
  exportBundle,
  newNoteKey,
  noteSigner,
  openNote,
  prove,
  signCheckpoint,
  verifyBundle,
  verifyProof,
} from '../src/proofs.ts'
import { sqliteEventStore } from '../src/stores/sqlite.ts'
import { closeDatabases, openTestDatabase, temporaryFolder } from './test-database.ts'

const stores: EventStore[] = []
afterEach(async () => {
  for (const events of stores.splice(0)) await events.stop()
  await closeDatabases()
})

async function archived(count = 100, target: ArchiveTarget = memoryArchive(), more = {}) {
  const archive = segmentArchive({ target, maxSegmentBytes: 4_000, ...more })
  const store = memoryEventStore()
  let now = 1_000
  const events = new EventStore({ store, archive, now: () => now++ })
  stores.push(events)
  for (let i = 0; i < count; i++)
    await events.append(i % 2 === 0 ? 'even' : 'odd', { i }, { stream: `s${i % 3}`, actor: `a${i % 5}` })
  return { archive, store, events, target }
}

async function allPositions(events: EventStore, filter = {}): Promise<string[]> {
  const seen: string[] = []
  for (let cursor: string | undefined; ; ) {
    const page = await events.query({ ...filter, limit: 7, ...(cursor === undefined ? {} : { cursor }) })
    seen.push(...page.events.map(({ position }) => position))
    cursor = page.cursor
    if (cursor === undefined) return seen
  }
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => String(from + i))

test('R2: sealed, uploaded, verified and dropped segments are read as if nothing had left, across the seam, and verify', async () => {
  const { archive, store, events, target } = await archived()
  const before = await events.verify()
  const { dropped, blocked } = await retain(events, { archive, maxEvents: 20 })
  expect([dropped >= 3, blocked]).toEqual([true, undefined])
  expect((await store.base()).position > 50n).toBe(true)
  expect(await allPositions(events)).toEqual(range(1, 101))
  expect(await allPositions(events, { type: 'odd', actor: 'a0', from: 1_000, to: 999_999 })).toEqual(
    range(1, 101).filter((p) => Number(p) % 2 === 0 && Number(p) % 5 === 1),
  )
  expect(await events.verify()).toMatchObject({ ok: true, events: 100, root: before.root, retentionCut: '0' })
  const manifests = (await target.list('segments/')).filter((name) => name.endsWith('.manifest.json'))
  expect(JSON.parse(new TextDecoder().decode(await target.get(manifests[0]!)))).toMatchObject({
    format: 'gw-segment-1',
    first: '1',
    hash: expect.stringMatching(/^[0-9a-f]{64}$/),
    root: expect.stringMatching(/^[0-9a-f]{64}$/),
    stored: { sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
  })
})

test('R1: without the archive at hand the rest verifies, names its cut, and an outside checkpoint still holds', async () => {
  const { archive, store, events } = await archived()
  const signer = await noteSigner('n', await newNoteKey())
  const note = await signCheckpoint(events, signer)
  await retain(events, { archive, maxEvents: 20 })
  const alone = new EventStore({ store })
  const { size, root } = await openNote(note, [signer.verifier])
  const verification = await alone.verify({ expectedRoots: [{ size, root }] })
  expect([verification.ok, verification.truncationChecked, Number(verification.retentionCut) > 50]).toEqual([
    true,
    true,
    true,
  ])
  const lines: string[] = []
  for await (const line of exportBundle(alone)) lines.push(line)
  const trust = { verifiers: [signer.verifier], notes: [note] }
  expect(await verifyBundle(lines, trust)).toMatchObject({ ok: true, retentionCut: verification.retentionCut })
  const proof = await prove(alone, 100n, signer)
  expect(await verifyProof(proof, [signer.verifier])).toMatchObject({ size: 100n })
  const firstKept = (await store.base()).position + 1n
  await verifyProof(await prove(alone, firstKept, signer), [signer.verifier])
})

test('R1: retention by age, by count and by bytes takes whole segments only', async () => {
  for (const bound of [{ retentionMs: 40 }, { maxEvents: 40 }, { maxBytes: 9_000 }]) {
    const { archive, store, events } = await archived()
    const { dropped } = await retain(events, { archive, ...bound })
    expect([bound, dropped > 0]).toEqual([bound, true])
    const base = (await store.base()).position
    const segments = (await store.registers('segment/')).map(({ value }) => JSON.parse(value) as { last: string })
    expect(segments.map(({ last }) => last)).toContain(base.toString())
    expect(base < 100n).toBe(true)
  }
})

test('R1: a slow consumer holds retention back and is named; `force` goes past it', async () => {
  const { archive, store, events } = await archived()
  const consumer = consume(events, { name: 'slow', from: { after: 10n }, handle: () => new Promise(() => {}) })
  while ((await store.registers('consumer/')).length === 0) await new Promise((resolve) => setImmediate(resolve))
  expect(await retain(events, { archive, maxEvents: 0 })).toMatchObject({
    dropped: 0,
    blocked: { by: 'consumer slow', first: '1' },
  })
  expect((await retain(events, { archive, maxEvents: 0, force: true })).dropped).toBeGreaterThan(3)
  expect(consumer.state).toBe('working')
  stores.splice(0)
})

test('R1: a legal hold keeps the segments that hold what it names, forced or not, until it is lifted', async () => {
  const { archive, store, events } = await archived()
  await events.append('even', {}, { subject: 'case-7' })
  for (let i = 0; i < 30; i++) await events.append('even', {})
  await placeHold(events, { name: 'case', reason: 'court', filter: { subject: 'case-7' } }, 'ann')
  const { blocked } = await retain(events, { archive, maxEvents: 0, force: true })
  expect(blocked).toMatchObject({ by: 'hold case' })
  expect((await store.base()).position < 101n).toBe(true)
  expect(await liftHold(events, 'case', 'ann')).toBe(true)
  expect((await retain(events, { archive, maxEvents: 0 })).blocked).toBeUndefined()
  expect((await events.query({ stream: 'log' })).events.map(({ type }) => type)).toEqual([
    'log.hold_placed',
    'log.hold_lifted',
  ])
})

test('R2: an object that is there with other content stops the archive, and nothing is dropped', async () => {
  const target = memoryArchive()
  const lying: ArchiveTarget = {
    ...target,
    put: (name, bytes) => target.put(name, name.endsWith('.gz') ? new Uint8Array([1, 2]) : bytes),
  }
  const { archive, store, events } = await archived(100, lying)
  await expect(retain(events, { archive, maxEvents: 0 })).rejects.toMatchObject({
    code: expect.stringMatching(/^(archive_damaged)$/),
  })
  expect((await store.base()).position).toBe(0n)
})

test('R2: damage in an archived segment is an error with its name, not an absence', async () => {
  const path = temporaryFolder()
  const { archive, events } = await archived(100, folderArchive({ path: join(path, 'archive') }))
  await retain(events, { archive, maxEvents: 0 })
  const name = (await folderArchive({ path: join(path, 'archive') }).list('segments/')).find((each) =>
    each.endsWith('.gz'),
  )!
  const file = join(path, 'archive', name)
  const bytes = readFileSync(file)
  bytes[40]! ^= 1
  writeFileSync(file, bytes)
  await expect(events.query()).rejects.toMatchObject({ code: 'archive_damaged' })
})

test('R2, 3.5: a folder takes no name that leads out of it, and writes no name twice', async () => {
  const path = temporaryFolder()
  const folder = folderArchive({ path })
  for (const name of ['../x', '/x', 'a/../../x', 'a//b', '.hidden', 'a\\b', 'a\0b', ''])
    await expect(folder.put(name, new Uint8Array())).rejects.toMatchObject({ code: 'invalid_option' })
  const puts = await Promise.all(Array.from({ length: 8 }, (_, i) => folder.put('a/b', new Uint8Array([i]))))
  expect(puts.filter((put) => put === 'created')).toHaveLength(1)
  expect(await folder.list('')).toEqual(['a/b'])
  expect(readdirSync(join(path, 'a'))).toEqual(['b'])
})

function child(...args: readonly string[]): Promise<{ readonly signal: string | null; readonly output: string }> {
  return new Promise((resolve) => {
    const file = fileURLToPath(new URL('./archiving-child.ts', import.meta.url))
    const started = spawn(process.execPath, ['--conditions=@gw/source', file, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let output = ''
    started.stdout.on('data', (chunk) => {
      output += chunk
    })
    started.on('close', (_, signal) => resolve({ signal, output: output.trim() }))
  })
}

for (const step of ['sealed', 'uploaded', 'described', 'verified', 'archived', 'dropped']) {
  test(`R2: killed when a segment was ${step}: every event is readable, none twice, and the next run finishes`, async () => {
    const place = temporaryFolder()
    const directory = join(place, 'data')
    const folder = join(place, 'archive')
    const fill = await openTestDatabase(directory)
    const filling = new EventStore({ store: sqliteEventStore({ db: fill }) })
    await filling.appendBatch(
      's',
      Array.from({ length: 100 }, (_, i) => ({ type: 'a', data: { i } })),
    )
    await fill.close()
    expect((await child('archive', directory, folder, step)).signal).toBe('SIGKILL')
    const db = await openTestDatabase(directory)
    const archive = segmentArchive({ target: folderArchive({ path: folder }), maxSegmentBytes: 4_000 })
    const events = new EventStore({ store: sqliteEventStore({ db }), archive })
    expect(await allPositions(events)).toEqual(range(1, 101))
    expect((await retain(events, { archive, maxEvents: 0 })).blocked).toBeUndefined()
    expect(await allPositions(events)).toEqual(range(1, 101))
    expect(await events.verify()).toMatchObject({ ok: true, events: 100 })
    expect((await events.store.base()).position > 50n).toBe(true)
  })
}

for (const killAt of ['1', '7', '8', 'effect7', '20']) {
  test(`P1: killed at ${killAt} between read model and place: the counter is exact`, async () => {
    const place = temporaryFolder()
    const directory = join(place, 'data')
    const fill = await openTestDatabase(directory)
    const filling = new EventStore({ store: sqliteEventStore({ db: fill }) })
    await filling.appendBatch(
      's',
      Array.from({ length: 30 }, (_, i) => ({ type: 'a', data: { i } })),
    )
    await fill.close()
    expect((await child('project', directory, place, killAt)).signal).toBe('SIGKILL')
    expect(await child('project', directory, place, '0')).toEqual({ signal: null, output: '30' })
  })
}

test('R2: events that leave for the archive while they are read are neither skipped nor repeated', async () => {
  const { archive, store, events } = await archived()
  const read = store.read.bind(store)
  let left = false
  store.read = async (query) => {
    if (!left && query.limit === 7) {
      left = true
      await retain(events, { archive, maxEvents: 0 })
    }
    return read(query)
  }
  expect(await allPositions(events)).toEqual(range(1, 101))
  expect(left).toBe(true)
})

test('R2: a folder that cannot be read is an error, not an empty archive; a write that fails leaves nothing behind', async () => {
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'file'), '')
  const blocked = folderArchive({ path: join(folder, 'file') })
  await expect(blocked.list('')).rejects.toMatchObject({ code: 'ENOTDIR' })
  await expect(blocked.get('name')).rejects.toMatchObject({ code: 'ENOTDIR' })
  const target = folderArchive({ path: join(folder, 'archive') })
  expect(await target.list('')).toEqual([])
  await expect(target.put('name', Symbol('no bytes') as never)).rejects.toThrow()
  expect(readdirSync(join(folder, 'archive'))).toEqual([])
})

test('Q1: a range of time finds in the archive what it finds in the store, wherever it begins and ends', async () => {
  const { archive, events } = await archived()
  const bounds = [1_000, 1_001, 1_013, 1_050, 1_099]
  const ranges = bounds.flatMap((from) => bounds.map((to) => ({ from, to })))
  const before = await Promise.all(ranges.map((filter) => allPositions(events, filter)))
  await retain(events, { archive, maxEvents: 0 })
  expect(await Promise.all(ranges.map((filter) => allPositions(events, filter)))).toEqual(before)
})

test('R2: events that were changed after they were sealed stay where they are', async () => {
  const { archive, store, events, target } = await archived()
  await archive.seal(events)
  const read = store.read.bind(store)
  store.read = async (query) => (await read(query)).map((event) => ({ ...event, data: '{"forged":1}' }))
  await expect(retain(events, { archive, maxEvents: 0 })).rejects.toMatchObject({ code: 'archive_conflict' })
  expect([(await store.base()).position, await target.list('')]).toEqual([0n, []])
})
