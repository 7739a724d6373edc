import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterEach, expect, test } from 'vitest'
import { retain, segmentArchive } from '../src/archive.ts'
import { aggregate, EventStore, memoryEventStore } from '../src/index.ts'
import { folderArchive } from '../src/node/folder.ts'
import { sqliteKeyring } from '../src/node/keyring.ts'
import { eraseSubject, memoryKeyring, subjectPrivacy } from '../src/privacy.ts'
import { sqliteEventStore } from '../src/stores/sqlite.ts'
import { closeDatabases, openTestDatabase, temporaryFolder } from './test-database.ts'

afterEach(closeDatabases)

const canary = 'jane.canary@example.org'
const fields = { registered: ['/email', '/address/*'] }

test('G1: personal members are ciphertext at rest and plain for readers; another place or subject cannot be read as this one', async () => {
  const keyring = memoryKeyring()
  const store = memoryEventStore()
  const events = new EventStore({ store, privacy: subjectPrivacy({ keyring, fields }) })
  await events.append('registered', { email: canary, address: { city: 'Ulm', zip: 1 }, plan: 'a' }, { subject: 'u1' })
  const [stored] = await store.read({ after: 0n, asOf: 1n, limit: 1 })
  expect(stored!.data).not.toContain(canary)
  expect(JSON.parse(stored!.data)).toMatchObject({ email: { $encrypted: expect.any(String) }, plan: 'a' })
  expect((await events.query()).events[0]!.data).toEqual({ email: canary, address: { city: 'Ulm', zip: 1 }, plan: 'a' })
  const moved = { ...stored!, stream: 'other' }
  await expect(events.recordOf(moved)).rejects.toThrow()
})

test('G1, V2: the same id with the same content is a repetition although it is encrypted', async () => {
  const events = new EventStore({
    store: memoryEventStore(),
    privacy: subjectPrivacy({ keyring: memoryKeyring(), fields }),
  })
  const first = await events.append('registered', { email: canary }, { subject: 'u1', id: 'x' })
  expect(await events.append('registered', { email: canary }, { subject: 'u1', id: 'x' })).toEqual(first)
  await expect(events.append('registered', { email: 'b' }, { subject: 'u1', id: 'x' })).rejects.toMatchObject({
    code: 'id_conflict',
  })
})

test('G1: an event that joins a unit is encrypted ahead; one that was not is refused', async () => {
  const db = await openTestDatabase()
  const events = new EventStore({
    store: sqliteEventStore({ db }),
    privacy: subjectPrivacy({ keyring: memoryKeyring(), fields }),
  })
  await events.start()
  const unit = db.unit()
  expect(() => events.appendIn(unit, 'registered', { email: canary })).toThrow(
    expect.objectContaining({ code: 'invalid_option' }),
  )
  events.appendIn(unit, await events.prepare('registered', { email: canary }, { subject: 'u1' }))
  await unit.commit()
  expect((await events.query()).events[0]!.data).toEqual({ email: canary })
})

test('G1, G2, G3: after erasure the log, archive and backup verify, the plaintext is in no file, and the proof names nobody', async () => {
  const place = temporaryFolder()
  const db = await openTestDatabase(join(place, 'data'))
  const keyring = sqliteKeyring({ file: join(place, 'keys', 'keys.db') })
  const archive = segmentArchive({ target: folderArchive({ path: join(place, 'archive') }), maxSegmentBytes: 3_000 })
  const events = new EventStore({
    store: sqliteEventStore({ db }),
    archive,
    privacy: subjectPrivacy({ keyring, fields }),
  })
  for (let i = 0; i < 30; i++)
    await events.append(
      'registered',
      { email: `${i}${canary}` },
      { subject: i % 2 === 0 ? 'jane-doe' : 'other', stream: 's' },
    )
  const load = aggregate(events, {
    name: 'mails',
    initial: [] as unknown[],
    apply: (s, e) => [...s, e.data],
    snapshotEvery: 5,
  })
  await load('s')
  const kept = events.project({ name: 'kept', initial: [] as unknown[], apply: (s, e) => [...s, e.data] })
  await kept.whenProcessed('30')
  await retain(events, { archive, maxEvents: 5 })
  await db.backup(join(place, 'backup.db'))
  await eraseSubject(events, 'jane-doe', { keyring, actor: 'dpo' })
  expect((await events.verify()).ok).toBe(true)
  const shown = (await events.query({ type: 'registered' })).events
  expect(
    shown
      .filter(({ subject }) => subject === 'jane-doe')
      .every(({ data }) => JSON.stringify(data) === '{"email":"[erased]"}'),
  ).toBe(true)
  expect(shown.find(({ subject }) => subject === 'other')!.data).toMatchObject({ email: `1${canary}` })
  const [proof] = (await events.query({ type: 'subject.erased' })).events
  expect([proof!.actor, JSON.stringify(proof).includes('jane-doe')]).toEqual(['dpo', false])
  await expect(events.append('registered', { email: canary }, { subject: 'jane-doe' })).rejects.toMatchObject({
    code: 'subject_erased',
  })
  await events.stop()
  await db.close()
  keyring.close()
  for (const name of readdirSync(place, { recursive: true, encoding: 'utf8' })) {
    const file = join(place, name)
    if (!statSync(file).isFile()) continue
    const bytes = readFileSync(file)
    const text = (name.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('latin1')
    expect([name, text.includes(canary)]).toEqual([name, false])
  }
  expect(statSync(join(place, 'keys', 'keys.db')).mode & 0o777).toBe(0o600)
})

test('G3: an erased key is in no byte of the key file, and is erased after the file is opened anew', async () => {
  const file = join(temporaryFolder(), 'keys.db')
  const keyring = sqliteKeyring({ file })
  const aad = new Uint8Array([1])
  const sealed = await keyring.encrypt('u', new Uint8Array([9]), aad)
  const before = readFileSync(file)
  expect(await keyring.decrypt('u', sealed, aad)).toEqual(new Uint8Array([9]))
  await expect(keyring.decrypt('u', sealed, new Uint8Array([2]))).rejects.toThrow()
  expect(await keyring.erase('u')).toBe(true)
  expect(await keyring.erase('u')).toBe(false)
  keyring.close()
  const after = readFileSync(file)
  const kept = new Set<string>()
  for (let i = 0; i + 16 <= after.length; i++) kept.add(after.toString('hex', i, i + 16))
  const lost = Array.from({ length: before.length - 32 }, (_, i) => i).filter(
    (i) => !kept.has(before.toString('hex', i, i + 16)),
  )
  expect(lost.length).toBeGreaterThan(0)
  const again = sqliteKeyring({ file })
  expect(await again.decrypt('u', sealed, aad)).toBeUndefined()
  again.close()
})

test('G1: data that only looks encrypted is encrypted like any other, and read back as it was', async () => {
  const store = memoryEventStore()
  const paths = { registered: ['/email', '/address/*', '/address/city', '/note', '/note/*', '/deep/*', '/deep'] }
  const events = new EventStore({ store, privacy: subjectPrivacy({ keyring: memoryKeyring(), fields: paths }) })
  const data = {
    email: { $encrypted: canary },
    address: { $encrypted: canary, city: canary },
    note: { $encrypted: canary, text: canary },
    deep: { $encrypted: canary, text: canary },
  }
  await events.append('registered', data, { subject: 'u1' })
  const [stored] = await store.read({ after: 0n, asOf: 1n, limit: 1 })
  expect(stored!.data).not.toContain(canary)
  expect((await events.query()).events[0]!.data).toEqual(data)
})
