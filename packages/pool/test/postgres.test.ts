import { setTimeout as delay } from 'node:timers/promises'
import { ConnectionPool, type PoolError } from '@gw/pool'
import { postgresFactory } from '@gw/pool/postgres'
import { freshDatabase, postgres } from '@gw/services'
import client, { type Sql } from 'postgres'
import { afterEach, expect, test } from 'vitest'

const long = process.env['GW_TEST_LONG'] === '1'
const closers: (() => unknown)[] = []

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

const applicationName = 'pool-under-test'

function poolOn(url: string, options: Partial<ConstructorParameters<typeof ConnectionPool>[0]> = {}) {
  const pool = new ConnectionPool({
    name: 'main',
    min: 0,
    max: 10,
    acquireTimeoutMs: 3_000,
    connectConcurrency: 10,
    ...options,
  })
  const database = pool.register<Sql>(
    'database',
    postgresFactory({ url, client: { connection: { application_name: applicationName }, onnotice: () => {} } }),
  )
  closers.push(() => pool.drain({ deadlineMs: 1_000 }))
  return { pool, database }
}

function operatorOn(url: string): Sql {
  const sql = client(url, { max: 2, onnotice: () => {} })
  closers.push(() => sql.end({ timeout: 1 }))
  return sql
}

test('C3, C4: 500 concurrent requests on a pool of 10 while backends are terminated every 200 ms: never more than 10 connections, nobody waits past the time, and all is well afterwards', {
  timeout: 180_000,
}, async () => {
  const url = await freshDatabase()
  const operator = operatorOn(url)
  const { pool, database } = poolOn(url)
  const until = performance.now() + (long ? 60_000 : 8_000)
  let terminated = 0
  let most = 0
  let latest = 0
  let answered = 0
  let failed = 0

  const terminate = async () => {
    while (performance.now() < until) {
      const [row] = await operator<{ total: number; ended: number }[]>`
        WITH mine AS (SELECT pid FROM pg_stat_activity WHERE application_name = ${applicationName} AND datname = current_database())
        SELECT (SELECT count(*)::int FROM mine) AS total,
          (SELECT count(*)::int FROM (SELECT pg_terminate_backend(pid) FROM mine ORDER BY random() LIMIT 3) AS t) AS ended`
      most = Math.max(most, row!.total)
      terminated += row!.ended
      await delay(200)
    }
  }
  const request = async () => {
    while (performance.now() < until) {
      const asked = performance.now()
      try {
        const lease = await database.acquire()
        latest = Math.max(latest, performance.now() - asked)
        try {
          await lease.connection`SELECT pg_sleep(0.002)`
          answered++
        } catch {
          failed++
        } finally {
          lease.release()
        }
      } catch (error) {
        latest = Math.max(latest, performance.now() - asked)
        expect((error as PoolError).code).toMatch(/^pool_/)
        failed++
        await delay(20)
      }
    }
  }
  await Promise.all([terminate(), ...Array.from({ length: 500 }, request)])

  expect(terminated).toBeGreaterThan(20)
  expect(most).toBeLessThanOrEqual(10)
  expect(answered).toBeGreaterThan(failed)
  // The timer may be late by what a busy event loop holds it up.
  expect(latest).toBeLessThan(3_000 + (long ? 50 : 500))
  const well = await Promise.all(Array.from({ length: 100 }, () => database.use((sql) => sql`SELECT 1 AS one`)))
  expect(well.map(([row]) => row!['one'])).toEqual(Array(100).fill(1))
  expect(pool.metrics()).toMatchObject({ activeConnections: 0, waitingRequests: 0 })
})

test('C5: while PostgreSQL is down acquires fail at once with a retry time; one probe finds it back, and then all connect', {
  timeout: 120_000,
}, async () => {
  const server = await postgres({ fsync: false })
  closers.push(() => server.stop())
  const { pool, database } = poolOn(server.url, { acquireTimeoutMs: 5_000, maxBackoffMs: 1_000 })
  await Promise.all(Array.from({ length: 10 }, () => database.use((sql) => sql`SELECT 1`)))
  await server.kill()
  await expect.poll(() => pool.metrics().totalConnections, { timeout: 10_000 }).toBe(0)
  await database.acquire({ timeoutMs: 1_000 }).catch(() => {})
  const down = performance.now() + (long ? 10_000 : 2_000)
  let slowest = 0
  let refused = 0
  let created = pool.metrics().connectionsCreatedTotal
  while (performance.now() < down) {
    const asked = performance.now()
    const error = await database.acquire().then(
      () => undefined,
      (each: PoolError) => each,
    )
    // The one request that waits for the probe hears of its failure; all others are answered at once.
    if (error?.code === 'pool_factory_failed') {
      refused++
      slowest = Math.max(slowest, performance.now() - asked)
      expect(error.retryAfterMs).toBeGreaterThanOrEqual(0)
    }
    await delay(20)
  }
  expect(refused).toBeGreaterThan(10)
  expect(slowest).toBeLessThan(1_000)
  expect(pool.metrics().connectionsCreatedTotal).toBe(created)
  created = pool.metrics().connectionsCreatedTotal
  await server.restart()
  await expect
    .poll(
      () =>
        database
          .use((sql) => sql`SELECT 1`)
          .then(
            () => true,
            () => false,
          ),
      { timeout: 10_000, interval: 50 },
    )
    .toBe(true)
  const all = await Promise.all(Array.from({ length: 10 }, () => database.acquire()))
  expect(pool.metrics().connectionsCreatedTotal - created).toBe(10)
  for (const lease of all) lease.release()
})

test('C4, C8: a connection that the server has ended is not lent; one that does not answer is closed in time', async () => {
  const url = await freshDatabase()
  const operator = operatorOn(url)
  const { pool, database } = poolOn(url)
  const pidOf = (sql: Sql) => sql<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`.then(([row]) => row!.pid)
  const first = await database.use(pidOf)
  await operator`SELECT pg_terminate_backend(${first})`
  await expect.poll(() => pool.metrics().idleConnections).toBe(0)
  expect(await database.use(pidOf)).not.toBe(first)
})

test('C1: arrays go to the server and come back, without the fetching of types that a broken connection would not survive', async () => {
  const { database } = poolOn(await freshDatabase())
  const lists = [[1, 2], ['a', 'b "quoted" \\ , {c}', null], []]
  const [row] = await database.use(
    (sql) =>
      sql`SELECT ${lists[0] as number[]}::int[] AS numbers, ${lists[1] as string[]}::text[] AS texts, ${lists[2] as string[]}::text[] AS none`,
  )
  expect([row!['numbers'], row!['texts'], row!['none']]).toEqual(lists)
})
