import { DatabaseSync } from 'node:sqlite'
import { afterEach, expect, test } from 'vitest'
import { hexOf } from '../src/bytes.ts'
import { chainHash, crc32, frameOf } from '../src/event.ts'
import { EventStore } from '../src/index.ts'
import { sqliteEventStore } from '../src/stores/sqlite.ts'
import { closeDatabases, openTestDatabase } from './test-database.ts'

afterEach(closeDatabases)

async function filledLog(count = 10) {
  const db = await openTestDatabase()
  const events = new EventStore({ store: sqliteEventStore({ db }) })
  for (let i = 0; i < count; i++) await events.append('a', { i }, { actor: 'ann', stream: `s${i % 2}` })
  const { head } = await events.verify()
  const raw = new DatabaseSync(db.file)
  return { events, raw, expectedHead: { position: BigInt(head.position), hash: head.hash } }
}

test('T1: the chain of a whole log holds, and an outside head is found in it', async () => {
  const { events, raw, expectedHead } = await filledLog()
  raw.close()
  expect(await events.verify({ expectedHead })).toMatchObject({
    ok: true,
    events: 10,
    problems: [],
    retentionCut: '0',
    truncationChecked: true,
  })
})

const crcOf = (raw: DatabaseSync, position: number) => {
  const row = raw.prepare('SELECT * FROM gw_event WHERE position = ?').get(position) as Record<string, never>
  const framed = {
    ...(row as object),
    position: BigInt(position),
    requestId: row['request_id'],
    correlationId: row['correlation_id'],
    causationId: row['causation_id'],
    occurredAt: row['occurred_at'],
    schemaVersion: row['schema_version'],
  } as never
  return { frame: frameOf(framed), hash: row['hash'] as unknown as Uint8Array }
}

/** As a thorough forger does: an edit whose checksum was made anew. */
function edit(raw: DatabaseSync, position: number, change: string): void {
  raw.exec(`UPDATE gw_event SET ${change} WHERE position = ${position}`)
  const { frame, hash } = crcOf(raw, position)
  raw.prepare('UPDATE gw_event SET crc = ? WHERE position = ?').run(crc32(frame, hash), position)
}

/** Makes hashes and checksums anew from a position on. */
function rechain(raw: DatabaseSync, from: number): void {
  let before = crcOf(raw, from - 1).hash
  for (let position = from; position <= 10; position++) {
    const { frame } = crcOf(raw, position)
    before = chainHash(before, frame)
    raw.prepare('UPDATE gw_event SET hash = ?, crc = ? WHERE position = ?').run(before, crc32(frame, before), position)
  }
}

const damages: readonly (readonly [string, string, string, (raw: DatabaseSync) => void])[] = [
  [
    'a changed column of a row',
    'bit_rot',
    '5',
    (raw) => raw.exec('UPDATE gw_event SET data = \'{"i":9}\' WHERE position = 5'),
  ],
  ['a changed hash', 'bit_rot', '5', (raw) => raw.exec('UPDATE gw_event SET hash = zeroblob(32) WHERE position = 5')],
  ...[
    'data = \'{"i":9}\'',
    "type = 'b'",
    'actor = NULL',
    'time = time + 1',
    'redaction = 9',
    "id = 'x'",
    "stream = 's9'",
  ].map((change) => [`an edit of ${change}`, 'edit', '5', (raw: DatabaseSync) => edit(raw, 5, change)] as const),
  [
    'an edit that made its own hash anew',
    'edit',
    '6',
    (raw) => {
      raw.exec('UPDATE gw_event SET data = 1 WHERE position = 5')
      const { frame } = crcOf(raw, 5)
      const hash = chainHash(crcOf(raw, 4).hash, frame)
      raw.prepare('UPDATE gw_event SET hash = ?, crc = ? WHERE position = 5').run(hash, crc32(frame, hash))
    },
  ],
  ['a deleted row', 'deletion', '5', (raw) => raw.exec('DELETE FROM gw_event WHERE position = 5')],
  ['deleted rows in a line', 'deletion', '3', (raw) => raw.exec('DELETE FROM gw_event WHERE position BETWEEN 3 AND 6')],
  [
    'two rows that changed places',
    'reorder',
    '5',
    (raw) => {
      raw.exec('UPDATE gw_event SET position = 999 WHERE position = 5')
      raw.exec(
        'UPDATE gw_event SET position = 5 WHERE position = 7; UPDATE gw_event SET position = 7 WHERE position = 999',
      )
      for (const position of [5, 7]) edit(raw, position, 'crc = 0')
    },
  ],
  ['a cut-off end', 'truncation', '8', (raw) => raw.exec('DELETE FROM gw_event WHERE position > 8')],
  ['a cut-off front', 'retention_cut', '1', (raw) => raw.exec('DELETE FROM gw_event WHERE position < 4')],
  [
    'a history that was made anew',
    'fork',
    '10',
    (raw) => {
      raw.exec('UPDATE gw_event SET data = 1 WHERE position = 5')
      rechain(raw, 5)
    },
  ],
]

for (const [name, kind, position, damage] of damages) {
  test(`T3: ${name} is called ${kind}, and nothing else is called anything`, async () => {
    const { events, raw, expectedHead } = await filledLog()
    damage(raw)
    raw.close()
    const { ok, problems } = await events.verify({ expectedHead })
    expect({ ok, problems: problems.map((problem) => [problem.kind, problem.position]) }).toEqual({
      ok: false,
      problems: [[kind, position]],
    })
  })
}

test('T2: without an outside head a truncation cannot be seen, and the answer says that it was not looked for', async () => {
  const { events, raw } = await filledLog()
  raw.exec('DELETE FROM gw_event WHERE position > 8')
  raw.close()
  expect(await events.verify()).toMatchObject({ ok: true, truncationChecked: false })
})

test('T3: a time that goes back and a version that skips are named when the chain itself was written so', async () => {
  const { events, raw } = await filledLog()
  raw.exec(
    "UPDATE gw_event SET time = 5 WHERE position = 6; UPDATE gw_event SET version = 77, stream = 'v' WHERE position = 8",
  )
  rechain(raw, 5)
  raw.close()
  const { problems } = await events.verify()
  expect(problems.map(({ kind, position }) => [kind, position])).toContainEqual(['time_decreased', '6'])
})

test('T1: the root of the tree is that of RFC 6962 over the chain hashes', async () => {
  const { events, raw } = await filledLog(1)
  raw.close()
  const { root } = await events.verify()
  const [first] = await events.store.read({ after: 0n, asOf: 1n, limit: 1 })
  expect(root).toBe(hexOf(first!.hash))
})

test('T2: a log that was made anew behind its own cut is a fork, and what lies before a cut is not called compared', async () => {
  const { events, raw, expectedHead } = await filledLog()
  const { root } = await events.verify()
  const rootOf = [{ size: 10n, root: Uint8Array.from(root!.match(/../g)!, (hex) => Number.parseInt(hex, 16)) }]
  raw.exec('INSERT INTO gw_event_base SELECT 1, position, time, hash FROM gw_event WHERE position = 10')
  raw.exec('DELETE FROM gw_event')
  expect(await events.verify({ expectedHead })).toMatchObject({ ok: true, truncationChecked: true })
  const before = { ...expectedHead, position: 9n }
  expect(await events.verify({ expectedHead: before })).toMatchObject({ ok: true, truncationChecked: false })
  raw.exec("UPDATE gw_event_base SET hash = x'00'")
  raw
    .prepare('INSERT INTO gw_event_register VALUES (?, 1, ?)')
    .run('log/frontier', JSON.stringify({ size: '10', roots: ['00'.repeat(32), '11'.repeat(32)] }))
  raw.close()
  const fork = { ok: false, problems: [{ kind: 'fork', position: '10' }], truncationChecked: true }
  expect(await events.verify({ expectedHead })).toMatchObject(fork)
  expect(await events.verify({ expectedRoots: rootOf })).toMatchObject(fork)
})
