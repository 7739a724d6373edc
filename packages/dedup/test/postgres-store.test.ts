import { connectPostgres, type PostgresDatabase, postgresDatabase } from '@gw/postgres'
import { freshDatabase } from '@gw/services'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { postgresDedupStore } from '../src/stores/postgres.ts'
import { testDedupStore } from '../src/testing.ts'
import { appOf, deduplicatorOf, send } from './fixture.ts'

const closing: (() => Promise<unknown>)[] = []
let url = ''

function open(at: string): PostgresDatabase {
  const client = connectPostgres(at)
  const db = postgresDatabase(drizzle(client))
  closing.push(async () => {
    await db.close()
    await client.end()
  })
  return db
}

let databases: readonly [PostgresDatabase, PostgresDatabase]

beforeAll(async () => {
  url = await freshDatabase()
  databases = [open(url), open(url)]
})

afterAll(async () => {
  for (const close of closing) await close()
})

testDedupStore(test.concurrent, async () => {
  const [store, second] = databases.map((db) => postgresDedupStore({ db })) as [
    ReturnType<typeof postgresDedupStore>,
    ReturnType<typeof postgresDedupStore>,
  ]
  await Promise.all([store.open(), second.open()])
  return {
    store,
    second,
    leaseMs: 600,
    advance: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    async close() {},
  }
})

test('P2: sweeping skips what others have locked, and waits for nobody', async () => {
  const db = open(await freshDatabase())
  const store = postgresDedupStore({ db })
  await store.open()
  for (const key of ['a', 'b']) {
    const claim = { key, token: key, fingerprint: '', principalHash: '', link: undefined, leaseMs: 1, windowMs: 1 }
    await store.tryClaim({ ...claim, replaces: undefined })
  }
  await new Promise((resolve) => setTimeout(resolve, 20))
  await db.transaction(async (tx) => {
    await tx.execute(sql`SELECT * FROM gw_key WHERE key = 'a' FOR UPDATE`)
    expect(await store.sweep(10)).toBe(1)
  })
  expect(await store.sweep(10)).toBe(1)
})

test('P2: a claim of a key that is held locks nothing and waits for nobody, so that nodes do not wait in a circle', async () => {
  const [one, two] = databases
  const [store, other] = [postgresDedupStore({ db: one }), postgresDedupStore({ db: two })]
  const key = crypto.randomUUID()
  const claim = { key, fingerprint: '', principalHash: '', link: undefined, leaseMs: 60_000, windowMs: 60_000 }
  await store.tryClaim({ ...claim, token: 'holder', replaces: undefined })
  await one.transaction(async (tx) => {
    await tx.execute(sql`SELECT * FROM gw_key WHERE key = ${key} FOR UPDATE`)
    expect((await other.tryClaim({ ...claim, token: 'late', replaces: undefined })).kind).toBe('held')
  })
  await two.transaction(async (tx) => {
    const unit = two.unitIn(tx)
    const answers: unknown[] = []
    unit.add({ procedure: 'dedup.tryClaim', args: { ...claim, token: 'late' } }, (answer) => answers.push(answer))
    await unit.commit()
    expect(answers).toMatchObject([{ kind: 'held' }])
    const locked = sql`SELECT * FROM gw_key WHERE key = ${key} FOR UPDATE NOWAIT`
    expect(await one.query(locked)).toHaveLength(1)
  })
})

test('withTx: the answer of a key and the rows of its request commit together, or not at all', async () => {
  const db = open(await freshDatabase())
  await db.query(sql`CREATE TABLE ledger (amount int)`)
  const deduplicator = deduplicatorOf(postgresDedupStore({ db }), undefined, { monotonic: () => performance.now() })
  let fail = true
  const app = appOf(deduplicator, async (c) => {
    const { idempotency } = c.var
    const response = c.json({ paid: true }, 201)
    await db.transaction(async (tx) => {
      await tx.execute(sql`INSERT INTO ledger VALUES (1)`)
      const unit = db.unitIn(tx)
      await idempotency.completeIn(unit, response.clone())
      await unit.commit()
      if (fail) throw new Error('the business said no')
    })
    return response
  })
  app.onError((_, c) => c.text('failed', 500))
  const paid = async () => (await db.query(sql`SELECT * FROM ledger`)).length
  expect([(await send(app, 'k')).status, await paid()]).toEqual([500, 0])
  fail = false
  expect([(await send(app, 'k')).status, await paid()]).toEqual([201, 1])
  const replay = await send(app, 'k')
  expect([replay.headers.get('idempotent-replayed'), await replay.json(), await paid()]).toEqual([
    'true',
    { paid: true },
    1,
  ])
})

test('C5: a claim of one process loses to the claim of another within units, and takes nothing with it', async () => {
  const at = await freshDatabase()
  const [one, two] = [open(at), open(at)]
  const stores = [postgresDedupStore({ db: one }), postgresDedupStore({ db: two })] as const
  await Promise.all(stores.map((store) => store.open()))
  await one.query(sql`CREATE TABLE runs (id text)`)
  for (const db of [one, two]) {
    db.define<string>('test.run', {
      locks: (id) => [{ name: id, shared: false }],
      async run(tx, batch) {
        for (const id of batch) await tx.execute(sql`INSERT INTO runs VALUES (${id})`)
        return batch.map(() => ({ result: undefined }))
      },
    })
  }
  const claim = { key: 'k', fingerprint: '', principalHash: '', leaseMs: 60_000, windowMs: 60_000, replaces: undefined }
  const outcomes = await Promise.all(
    Array.from({ length: 20 }, (_, i) => {
      const unit = [one, two][i % 2]!.unit()
      unit.add({ procedure: 'test.run', args: `run-${i}` })
      unit.add(stores[i % 2]!.claim({ ...claim, token: `t${i}`, link: `run-${i}` }))
      return unit.commit().then(
        () => 'committed',
        (error: { code: string }) => error.code,
      )
    }),
  )
  expect(outcomes.filter((outcome) => outcome === 'committed')).toHaveLength(1)
  expect(outcomes.filter((outcome) => outcome === 'refused')).toHaveLength(19)
  const runs = await one.query<{ id: string }>(sql`SELECT id FROM runs`)
  expect(runs.map(({ id }) => id)).toEqual([(await stores[0].get('k'))?.link])
})

test('I2: the settlement of a key that is awaited reaches other processes', async () => {
  const at = await freshDatabase()
  const [one, two] = [postgresDedupStore({ db: open(at) }), postgresDedupStore({ db: open(at) })]
  await Promise.all([one.open(), two.open()])
  const told: string[] = []
  const unwatch = await two.watch!({ settled: (key) => told.push(key) })
  for (const key of ['quiet', 'awaited']) {
    const claim = {
      key,
      token: 't',
      fingerprint: '',
      principalHash: '',
      link: undefined,
      leaseMs: 60_000,
      windowMs: 60_000,
    }
    await one.tryClaim({ ...claim, replaces: undefined })
    if (key === 'awaited') await two.get(key, { awaited: true })
    const unit = one.unit()
    unit.add(one.complete({ key, token: 't' }, { status: 200, headers: [], body: undefined }, undefined))
    await unit.commit()
  }
  await expect.poll(() => told).toEqual(['awaited'])
  await unwatch()
})
