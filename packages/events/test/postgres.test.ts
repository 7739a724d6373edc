import { connectPostgres, postgresDatabase } from '@gw/postgres'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import { afterEach, expect, test } from 'vitest'
import { memoryArchive, retain, segmentArchive } from '../src/archive.ts'
import { EventStore, memoryEventStore, subscribe } from '../src/index.ts'
import { postgresAppendOnlyGrants, postgresEventStore } from '../src/stores/postgres.ts'
import { openTestPostgres, type TestPostgres } from './test-postgres.ts'

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const each of opened.splice(0).reverse()) await each.close()
})

async function log(mode: 'strict' | 'concurrent', url?: string) {
  const server = await openTestPostgres(url)
  opened.push(server)
  const store = postgresEventStore({ db: server.db, mode })
  const events = new EventStore({ store })
  await events.start()
  opened.push({ close: () => events.stop() })
  return { server, store, events }
}

/** A transaction that stays open until it is told how to end. */
function openTransaction(
  { db }: TestPostgres,
  work: (tx: Parameters<Parameters<typeof db.transaction>[0]>[0]) => Promise<void>,
) {
  let end: (how: 'commit' | 'roll back') => void = () => {}
  const ended = new Promise<'commit' | 'roll back'>((resolve) => {
    end = resolve
  })
  let ready: () => void = () => {}
  const working = new Promise<void>((resolve) => {
    ready = resolve
  })
  const done = db
    .transaction(async (tx) => {
      await work(tx)
      ready()
      if ((await ended) === 'roll back') throw new Error('rolled back')
    })
    .catch(() => {})
  return {
    working,
    end(how: 'commit' | 'roll back') {
      end(how)
      return done
    },
  }
}

const typesOf = async (events: EventStore) => (await events.query()).events.map(({ type }) => type)

test('concurrent: A reserves, B commits, poll, A commits: A is delivered, and nothing twice', async () => {
  const { server, store, events } = await log('concurrent')
  const seen: string[] = []
  const batches = subscribe(events, { pollMs: 10 })
  const following = (async () => {
    for await (const batch of batches) {
      seen.push(...batch.events.map(({ type }) => type))
      if (seen.length === 2) return
    }
  })()
  const a = openTransaction(server, async (tx) => {
    const unit = store.unitIn(tx)
    events.appendIn(unit, 'a', {}, { stream: 'a' })
    await unit.commit()
  })
  await a.working
  await events.append('b', {}, { stream: 'b' })
  expect(await typesOf(events)).toEqual([])
  await a.end('commit')
  await following
  expect(seen).toEqual(['a', 'b'])
})

test('concurrent: a subscriber at "end" while a transaction is open gets its event', async () => {
  const { server, store, events } = await log('concurrent')
  await events.append('before', {})
  const a = openTransaction(server, async (tx) => {
    const unit = store.unitIn(tx)
    events.appendIn(unit, 'open', {})
    await unit.commit()
  })
  await a.working
  const batches = subscribe(events, { from: 'end', pollMs: 10 })
  expect((await batches.next()).value.events).toEqual([])
  await a.end('commit')
  expect((await batches.next()).value.events.map(({ type }: { type: string }) => type)).toEqual(['open'])
  await batches.return?.()
})

test('concurrent: a transaction older than the last event of a stream cannot append behind it; a new one can', async () => {
  const { server, store, events } = await log('concurrent')
  const old = openTransaction(server, async (tx) => {
    await tx.execute(sql`SELECT pg_current_xact_id()`)
    await events.append('young', {}, { stream: 's' })
    const unit = store.unitIn(tx)
    events.appendIn(unit, 'old', {}, { stream: 's' })
    await expect(unit.commit()).rejects.toMatchObject({ code: 'refused', reason: { conflict: 'order' } })
  })
  await old.working
  await old.end('commit')
  await events.append('next', {}, { stream: 's' })
  expect(await typesOf(events)).toEqual(['young', 'next'])
})

test('concurrent: an open write transaction in another database delays readers, shows in xminAge, and loses nothing', async () => {
  const { store, events } = await log('concurrent')
  const elsewhere = await openTestPostgres()
  opened.push(elsewhere)
  const blocking = openTransaction(elsewhere, async (tx) => {
    await tx.execute(sql`SELECT pg_current_xact_id()`)
  })
  await blocking.working
  for (let i = 0; i < 5; i++) await events.append('a', {})
  expect(await typesOf(events)).toEqual([])
  expect(await store.xminAge()).toBeGreaterThanOrEqual(5)
  await blocking.end('commit')
  expect(await typesOf(events)).toEqual(['a', 'a', 'a', 'a', 'a'])
})

for (const mode of ['strict', 'concurrent'] as const) {
  test(`${mode}: an append that is rolled back stalls nobody and leaves nothing`, async () => {
    const { server, store, events } = await log(mode)
    await events.append('a', {})
    const lost = openTransaction(server, async (tx) => {
      const unit = store.unitIn(tx)
      events.appendIn(unit, 'lost', {})
      await unit.commit()
    })
    await lost.working
    await lost.end('roll back')
    await events.append('b', {})
    expect(await typesOf(events)).toEqual(['a', 'b'])
    if (mode === 'strict') expect((await events.query()).events.map(({ position }) => position)).toEqual(['1', '2'])
  })
}

test('strict, T1: 16 writers with connections of their own append 800 events on 800 distinct predecessors', async () => {
  const { server, store, events } = await log('strict')
  const writers = await Promise.all(
    Array.from({ length: 16 }, async () => {
      const own = await openTestPostgres(server.url)
      opened.push(own)
      return new EventStore({ store: postgresEventStore({ db: own.db }) })
    }),
  )
  await Promise.all(
    writers.map(async (writer, w) => {
      for (let i = 0; i < 50; i++) await writer.append('a', { i }, { stream: `s${w % 4}` })
    }),
  )
  const found = await store.read({ after: 0n, asOf: 800n, limit: 1_000 })
  expect(new Set(found.map(({ hash }) => hash.join())).size).toBe(800)
  expect(found.map(({ position }) => position)).toEqual(Array.from({ length: 800 }, (_, i) => BigInt(i + 1)))
  expect(await events.verify()).toMatchObject({ ok: true, events: 800 })
})

test("X1: events are there when the other statements of the caller's transaction are, and are told of then", async () => {
  const { server, store, events } = await log('strict')
  await server.client.unsafe('CREATE TABLE orders (id text)')
  let told = 0
  const end = await store.listen!(() => told++)
  const place = (id: string, fail: boolean) =>
    server.db.transaction(async (tx) => {
      await tx.execute(sql`INSERT INTO orders VALUES (${id})`)
      const unit = store.unitIn(tx)
      events.appendIn(unit, 'order.placed', { id })
      await unit.commit()
      if (fail) throw new Error('no')
    })
  await expect(place('o1', true)).rejects.toThrow('no')
  expect([told, await typesOf(events)]).toEqual([0, []])
  await place('o2', false)
  while (told === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  expect(await server.client.unsafe('SELECT id FROM orders')).toEqual([{ id: 'o2' }])
  expect(await typesOf(events)).toEqual(['order.placed'])
  await end()
})

test('the role of the gateway may append and read, and neither change nor delete; the owner is stopped by the trigger', async () => {
  const { server, events } = await log('strict')
  await events.append('a', { n: 1 })
  const role = `gw_${crypto.randomUUID().replaceAll('-', '').slice(0, 12)}`
  await server.client.unsafe(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`)
  await server.client.unsafe(postgresAppendOnlyGrants(role))
  const change = ["UPDATE gw_event SET data = ''", 'DELETE FROM gw_event', 'TRUNCATE gw_event']
  for (const statement of change)
    await expect(server.client.unsafe(statement)).rejects.toMatchObject({
      code: '42501',
      message: 'gw_event takes appends only',
    })
  const url = new URL(server.url)
  url.username = role
  url.password = 'x'
  const client = connectPostgres(url.href)
  const db = postgresDatabase(drizzle(client))
  opened.push({
    async close() {
      await db.close()
      await client.end()
    },
  })
  const asRole = new EventStore({ store: postgresEventStore({ db, migrate: false }) })
  await asRole.append('b', {})
  expect(await typesOf(asRole)).toEqual(['a', 'b'])
  for (const statement of [...change, "SELECT set_config('gw.retention', 'on', false); DELETE FROM gw_event"])
    await expect(client.unsafe(statement)).rejects.toMatchObject({ code: '42501' })
  expect(() => postgresAppendOnlyGrants('x; DROP TABLE gw_event')).toThrow(TypeError)
})

test('concurrent: retention is refused before anything is sealed', async () => {
  const { store, events } = await log('concurrent')
  for (let i = 0; i < 5; i++) await events.append('a', { i })
  const archive = segmentArchive({ target: memoryArchive(), maxSegmentBytes: 1 })
  await expect(retain(events, { archive, maxEvents: 0 })).rejects.toMatchObject({ code: 'not_supported' })
  expect(await store.registers('segment/')).toEqual([])
})

test('a log keeps the mode it was made with', async () => {
  const { server } = await log('strict')
  const other = new EventStore({ store: postgresEventStore({ db: server.db, mode: 'concurrent' }) })
  await expect(other.start()).rejects.toMatchObject({ code: 'invalid_option' })
})

test('O1: a position above 2^53 survives JSON and paging', async () => {
  const { events } = await log('concurrent')
  for (let i = 0; i < 3; i++) await events.append('a', { i })
  const page = await events.query({ limit: 2 })
  expect(BigInt(page.events[0]!.position) > 2n ** 64n).toBe(true)
  const again = JSON.parse(JSON.stringify(page)) as typeof page
  const rest = await events.query({ limit: 2, cursor: again.cursor! })
  expect([...again.events, ...rest.events].map(({ data }) => data)).toEqual([{ i: 0 }, { i: 1 }, { i: 2 }])
  await expect(events.verify()).rejects.toMatchObject({ code: 'not_supported' })
})

test('T3: damage in PostgreSQL is named as elsewhere, and retention goes through the trigger', async () => {
  const { server, store, events } = await log('strict')
  for (let i = 0; i < 30; i++) await events.append('a', { i })
  const archive = segmentArchive({ target: memoryArchive(), maxSegmentBytes: 3_000 })
  const withArchive = new EventStore({ store, archive })
  expect((await retain(withArchive, { archive, maxEvents: 10 })).dropped).toBeGreaterThan(0)
  expect(await withArchive.verify()).toMatchObject({ ok: true, events: 30 })
  await server.client.unsafe(`ALTER TABLE gw_event DISABLE TRIGGER ALL; UPDATE gw_event SET data = '{}' WHERE position = 28;
    DELETE FROM gw_event WHERE position = 25`)
  const { problems } = await withArchive.verify()
  expect(problems.map(({ kind, position }) => [kind, position])).toEqual([
    ['deletion', '25'],
    ['bit_rot', '28'],
  ])
})

test('P1, R2, S1: projections, consumers and paging work on PostgreSQL as in memory', async () => {
  const { events } = await log('strict')
  const plain = new EventStore({ store: memoryEventStore() })
  for (const each of [events, plain]) {
    const counted = each.project({ name: 'n', initial: 0, apply: (n: number) => n + 1 })
    const inline = each.project({ name: 'i', mode: 'inline', initial: 0, apply: (n: number) => n + 1 })
    await Promise.all(Array.from({ length: 20 }, (_, i) => each.append('a', { i })))
    await counted.whenProcessed('20')
    expect([await counted.state(), await inline.state()]).toEqual([20, 20])
    expect(await counted.rebuild()).toMatchObject({ equal: true })
  }
  await plain.stop()
})
