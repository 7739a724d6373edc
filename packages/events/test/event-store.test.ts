import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Database } from '@gw/sqlite'
import { afterEach, expect, test } from 'vitest'
import { EventStore, type EventStoreOptions } from '../src/index.ts'
import { sqliteEventStore } from '../src/stores/sqlite.ts'
import { closeDatabases, openTestDatabase } from './test-database.ts'

afterEach(closeDatabases)

async function eventStore(options: Partial<EventStoreOptions> = {}): Promise<{ events: EventStore; db: Database }> {
  const db = await openTestDatabase()
  return { events: new EventStore({ store: sqliteEventStore({ db }), ...options }), db }
}

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'no error',
    (error: { code: string }) => error.code,
  )

test('V1: none twice conflicts, exact and exists are held to, and the error carries the actual version', async () => {
  const { events } = await eventStore()
  await events.append('a', {}, { stream: 's', expected: 'none' })
  expect(await code(events.append('a', {}, { stream: 's', expected: 'none' }))).toBe('version_conflict')
  await events.append('b', {}, { stream: 's', expected: 0 })
  await expect(events.append('c', {}, { stream: 's', expected: 0 })).rejects.toMatchObject({
    code: 'version_conflict',
    actualVersion: 1,
  })
  expect(await code(events.append('x', {}, { stream: 'other', expected: 'exists' }))).toBe('version_conflict')
  expect(await code(events.appendBatch('s', []))).toBe('empty_batch')
})

test('V1, O1: fifty parallel appends of any all succeed, with versions 0 to 49 and positions without gaps', async () => {
  const { events } = await eventStore()
  const appended = await Promise.all(Array.from({ length: 50 }, (_, i) => events.append('n', { i }, { stream: 's' })))
  expect(appended.map(({ version }) => version).sort((a, b) => a! - b!)).toEqual(
    Array.from({ length: 50 }, (_, i) => i),
  )
  expect(new Set(appended.map(({ position }) => position)).size).toBe(50)
  expect(appended.every(({ durability }) => durability === 'fsync')).toBe(true)
  expect((await events.verify()).ok).toBe(true)
})

test('V2: the same ids again answer with the first places; other content or a mixture conflicts', async () => {
  const { events } = await eventStore()
  const batch = [
    { type: 'a', data: 1, id: 'x' },
    { type: 'b', data: 2, id: 'y' },
  ]
  const first = await events.appendBatch('s', batch)
  expect(await events.appendBatch('s', batch)).toEqual(first)
  expect(await code(events.append('a', 9, { stream: 's', id: 'x' }))).toBe('id_conflict')
  expect(await code(events.appendBatch('s', [batch[0]!, { type: 'c', data: 3, id: 'z' }]))).toBe('id_conflict')
  expect((await events.query()).events).toHaveLength(2)
})

test('O2: times never decrease though the clock does', async () => {
  let now = 1_000
  const { events } = await eventStore({ now: () => now })
  await events.append('a', {})
  now = 10
  await events.append('b', {})
  expect((await events.query()).events.map(({ time }) => Date.parse(time))).toEqual([1_000, 1_000])
})

test('Q1: paging while appending neither repeats nor skips, and ends where the first page said', async () => {
  const { events } = await eventStore()
  for (let i = 0; i < 25; i++) await events.append(i % 2 === 0 ? 'even' : 'odd', { i }, { actor: 'ann' })
  const seen: string[] = []
  let cursor: string | undefined
  do {
    const page = await events.query({
      actor: 'ann',
      type: 'even',
      limit: 5,
      ...(cursor === undefined ? {} : { cursor }),
    })
    seen.push(...page.events.map(({ position }) => position))
    cursor = page.cursor
    await events.append('even', {}, { actor: 'ann' })
  } while (cursor !== undefined)
  expect(seen).toEqual(Array.from({ length: 13 }, (_, i) => String(1 + 2 * i)))
})

test('Q1: a cursor of another filter, a forged one, a limit over 1000 and an unknown filter are refused', async () => {
  const { events } = await eventStore()
  for (let i = 0; i < 3; i++) await events.append('a', {})
  const { cursor } = await events.query({ limit: 1 })
  expect(await code(events.query({ limit: 1, cursor: cursor! }))).toBe('no error')
  expect(await code(events.query({ limit: 1, cursor: cursor!, type: 'a' }))).toBe('invalid_cursor')
  expect(await code(events.query({ cursor: `2.3.${'0'.repeat(32)}` }))).toBe('invalid_cursor')
  expect(await code(events.query({ limit: 1_001 }))).toBe('invalid_query')
  expect(await code(events.query({ user: 'x' } as never))).toBe('invalid_query')
})

test('V1: an event that cannot be right is refused by what is wrong with it, and nothing is appended', async () => {
  const { events } = await eventStore({ maxDataBytes: 100 })
  for (const [type, data, options, about] of [
    ['1st', {}, {}, 'type'],
    ['x'.repeat(129), {}, {}, 'type'],
    ['x', {}, { schemaVersion: 0 }, 'schemaVersion'],
    ['x', {}, { schemaVersion: 1.5 }, 'schemaVersion'],
    ['x', {}, { occurredAt: 0.5 }, 'occurredAt'],
    ['x', {}, { actor: 7 }, 'actor'],
    ['x', {}, { subject: '' }, 'subject'],
    ['x', {}, { requestId: 'x'.repeat(513) }, 'requestId'],
    ['x', {}, { actor: 'a\0b' }, 'actor'],
    ['x', {}, { stream: '' }, 'stream'],
    ['x', {}, { when: 1 }, 'when'],
    ['x', {}, { expected: -2 }, 'expected'],
    ['x', {}, { durability: 'safe' }, 'durability'],
  ] as const)
    await expect(events.append(type, data, options as never), about).rejects.toMatchObject({
      code: 'invalid_option',
      message: expect.stringContaining(`\`${about}\``),
    })
  expect(await code(events.append('x', { text: 'y'.repeat(100) }))).toBe('event_too_large')
  expect((await events.query()).events).toEqual([])
})

test('appendIn: an event joins a unit, and is not there when the unit is refused', async () => {
  const { events, db } = await eventStore()
  await events.start()
  const unit = db.unit()
  events.appendIn(unit, 'joined', {})
  await unit.commit()
  const refused = db.unit()
  events.appendIn(refused, 'lost', {})
  events.appendIn(refused, 'lost', {}, { stream: 'x', expected: 'exists' })
  expect(await code(refused.commit())).toBe('refused')
  expect((await events.query()).events.map(({ type }) => type)).toEqual(['joined'])
})

test('D1: a secret in a header, a nested member, a query or an error is in no file', async () => {
  const { events, db } = await eventStore()
  const canary = 'canary-8d1f0c2b7a6e4f3d9c5b1a2e3f4d5c6b'
  await events.append('a', {
    headers: { Authorization: `Bearer ${canary}`, cookie: canary },
    nested: [{ password: canary, deeper: { 'X-Api-Key': canary } }],
    url: `https://user:${canary}@host/path?token=${canary}&x=1`,
    error: Object.assign(new Error('no'), { stack: canary }),
    stack_trace: canary,
  })
  expect(JSON.stringify((await events.query()).events)).toContain('[redacted]')
  await db.close()
  for (const name of readdirSync(db.directory))
    expect(readFileSync(join(db.directory, name), 'latin1')).not.toContain(canary)
})
