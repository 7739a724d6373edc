import { connectPostgres, type PostgresDatabase, postgresDatabase } from '@gw/postgres'
import { faultProxy, freshDatabase } from '@gw/services'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import { expect, test } from 'vitest'
import { CheckpointManager } from '../src/index.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { postgresCheckpointStore } from '../src/stores/postgres.ts'
import { migrations as postgresMigrations } from '../src/stores/postgres-schema.ts'
import { sqliteCheckpointStore } from '../src/stores/sqlite.ts'
import { atEnd, processOn, sqlite } from './fixture.ts'

async function database(url?: string): Promise<PostgresDatabase> {
  const client = connectPostgres(url ?? (await freshDatabase()))
  const db = postgresDatabase(drizzle(client))
  atEnd(async () => {
    await db.close()
    await client.end()
  })
  return db
}

test('checkpoint P1: the manager refuses a store that is less than was asked for, when it is made', async () => {
  const memory = memoryCheckpointStore()
  for (const capability of ['durable', 'shared', 'transactional'] as const)
    expect(() => new CheckpointManager({ store: memory, require: [capability] })).toThrow(
      expect.objectContaining({ code: 'store_too_weak', message: expect.stringContaining(capability) }),
    )
  const store = sqliteCheckpointStore({ db: await sqlite() })
  expect(() => new CheckpointManager({ store, require: ['durable', 'transactional'] })).not.toThrow()
  expect(() => new CheckpointManager({ store, require: ['shared'] })).toThrow(/shared/)
})

test("checkpoint S5, P1: a store that cannot keep the user's rows with a step refuses them", async () => {
  const { post } = processOn(undefined, (run) =>
    run.transaction('rows', [['INSERT INTO t VALUES (1)']]).catch((error: { code?: string }) => error.code),
  )
  expect(await (await post()).json()).toEqual({ result: 'not_transactional' })
})

test('checkpoint P1: the writes of many requests on PostgreSQL share transactions', async () => {
  const db = await database()
  const { checkpoints, post } = processOn(postgresCheckpointStore({ db }), async (run) => {
    for (const n of [1, 2, 3]) await run.step('s', () => n)
  })
  await checkpoints.start()
  const before = db.health
  const answers = await Promise.all(Array.from({ length: 100 }, () => post()))
  expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 100 }, () => 201))
  const [commits, writes] = [db.health.commits - before.commits, db.health.writes - before.writes]
  expect(writes).toBeGreaterThanOrEqual(500)
  expect(commits).toBeLessThan(writes / 5)
})

test('checkpoint P1: a commit whose answer is lost on the way ends at the deadline as not known, and the run goes on by itself', async () => {
  let armed = false
  const proxy = await faultProxy(await freshDatabase(), {
    onBytes(direction, bytes, set) {
      if (!armed || direction !== 'c2s' || !bytes.includes('commit\0')) return
      armed = false
      set('half-open-s2c')
    },
  })
  atEnd(() => proxy.close())
  const client = connectPostgres(proxy.url)
  const db = postgresDatabase(drizzle(client), { deadlineMs: 1_000 })
  atEnd(async () => {
    await db.close()
    await client.end({ timeout: 1 })
  })
  const { checkpoints, post, outcome } = processOn(postgresCheckpointStore({ db }), () => 'done')
  await checkpoints.start()
  armed = true
  const response = await post()
  expect(proxy.counts.lostBytes.s2c).toBeGreaterThan(0)
  expect([response.status, (await response.json()).code]).toEqual([503, 'outcome_unknown'])
  await proxy.set('pass')
  expect(await outcome(response.headers.get('gw-run')!)).toBe('201 {"result":"done"}')
})

test('checkpoint X1: several processes make the schema at once, and what an older version wrote is there for the newer', async () => {
  const url = await freshDatabase()
  const old = await database(url)
  await old.migrate('checkpoint', postgresMigrations.slice(0, 1))
  const { post } = processOn({ ...postgresCheckpointStore({ db: old }), open: async () => {} }, () => 'old')
  const id = (await post()).headers.get('gw-run')!
  const stores = await Promise.all([1, 2, 3].map(async () => postgresCheckpointStore({ db: await database(url) })))
  await Promise.all(stores.map((store) => store.open()))
  expect(await stores[0]!.get(id)).toMatchObject({ status: 'completed' })
  expect((await stores[1]!.list({ status: 'completed', limit: 9 })).map((run) => run.id)).toEqual([id])
})

test('checkpoint X1: a database that is newer than the code is refused, and left as it is', async () => {
  const db = await database()
  const future = [...postgresMigrations, 'CREATE TABLE gw_run_future (id text)']
  await db.migrate('checkpoint', future)
  await expect(postgresCheckpointStore({ db }).open()).rejects.toMatchObject({ code: 'schema_too_new' })
  expect(await db.query(sql`SELECT * FROM gw_run_future`)).toEqual([])
  const file = await sqlite()
  const store = sqliteCheckpointStore({ db: file })
  await store.open()
  const texts = Array.from({ length: 9 }, (_, i) => `CREATE TABLE gw_future_${i} (id TEXT)`)
  const { version } = file.reader.get<{ version: number }>("SELECT version FROM gw_schema WHERE owner = 'checkpoint'")!
  await file.migrate('checkpoint', [...texts.slice(0, version), ...texts])
  await expect(store.open()).rejects.toMatchObject({ code: 'schema_too_new' })
})
