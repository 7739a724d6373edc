import { setTimeout as sleep } from 'node:timers/promises'
import { ConnectionPool, type PoolError } from '@gw/pool'
import { postgresFactory } from '@gw/pool/postgres'
import { freshDatabase, type Postgres, postgres as startPostgres } from '@gw/services'
import { Hono } from 'hono'
import postgres, { type Sql } from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { failure } from './fake-server.ts'

const long = process.env['GW_TEST_LONG'] === '1'

describe('on PostgreSQL', () => {
  let url: string
  let admin: Sql

  beforeAll(async () => {
    url = await freshDatabase()
    admin = postgres(url, { max: 2, connection: { application_name: 'admin' } })
  })
  afterAll(() => admin.end())

  const make = (name: string, options: Partial<ConstructorParameters<typeof ConnectionPool>[0]> = {}) => {
    const pool = new ConnectionPool({ name, min: 0, max: 5, ...options })
    const database = pool.register(
      'database',
      postgresFactory({ url, client: { connection: { application_name: name } } }),
    )
    return { pool, database }
  }
  const backends = async (name: string) => {
    const rows = await admin<{ pid: number }[]>`SELECT pid FROM pg_stat_activity WHERE application_name = ${name}`
    return rows.map((row) => row.pid)
  }

  test('C10: a lease is one session that nobody else has', async () => {
    const { pool, database } = make('sessions')
    await using first = await database.acquire()
    await using second = await database.acquire()
    const pid = async (sql: Sql) => (await sql<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`)[0]!.pid
    const [one, two] = await Promise.all([pid(first.connection), pid(second.connection)])
    expect(one).not.toBe(two)
    expect(await pid(first.connection)).toBe(one)
    first.release()
    second.release()
    await pool.drain()
    expect(await backends('sessions')).toEqual([])
  })

  test('C1: a wrong password, database or address is the cause that `start` gives', async () => {
    const pool = new ConnectionPool({ name: 'wrong', min: 1, max: 2 })
    pool.register('database', postgresFactory({ url: url.replace(/\/[^/]+$/, '/no_such_database') }))
    const error = (await failure(pool.start({ failFast: true }))) as PoolError
    expect(error).toMatchObject({ code: 'pool_factory_failed', cause: { code: '3D000' } })
    await pool.drain()
    const nowhere = new ConnectionPool({ name: 'nowhere', min: 1, max: 2 })
    nowhere.register('database', postgresFactory({ url: 'postgres://postgres@127.0.0.1:1/postgres' }))
    expect(await failure(nowhere.start({ failFast: true }))).toMatchObject({ cause: { code: 'ECONNREFUSED' } })
    await nowhere.drain()
  })

  test('C3: a backend that is terminated leaves the pool at once, idle or on loan, and is not connected anew behind its back', async () => {
    const { pool, database } = make('terminated', { min: 2, max: 2 })
    await pool.start()
    const lease = await database.acquire()
    const before = await backends('terminated')
    expect(before).toHaveLength(2)
    await admin`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'terminated'`
    await expect.poll(() => pool.metrics().connectionsClosedTotal, { timeout: 5_000 }).toBe(1)
    await expect(lease.connection`SELECT 1`).rejects.toThrow()
    await expect(lease.connection`SELECT 1`).rejects.toThrow()
    lease.release()
    await expect.poll(() => pool.metrics().idleConnections, { timeout: 5_000 }).toBe(2)
    const after = await backends('terminated')
    expect(after).toHaveLength(2)
    expect(after.some((pid) => before.includes(pid))).toBe(false)
    await pool.drain()
  })

  test('C4: one that no longer answers is found by its test, and its socket destroyed', async () => {
    const { pool, database } = make('stopped', { max: 1, validateAfterIdleMs: 0, validateTimeoutMs: 200 })
    const lease = await database.acquire()
    // The session is busy behind the pool's back: a test would wait for as long.
    lease.connection`SELECT pg_sleep(30)`.catch(() => {})
    lease.release()
    await sleep(5)
    const [old] = await backends('stopped')
    await using next = await database.acquire()
    expect((await next.connection`SELECT pg_backend_pid() AS pid`)[0]!['pid']).not.toBe(old)
    expect(pool.metrics()).toMatchObject({ validationFailures: 1, totalConnections: 1 })
    next.release()
    await pool.drain({ deadlineMs: 100 })
  })

  test('C11: a drain at its deadline closes a session that is busy', async () => {
    const { pool, database } = make('drained', { max: 1 })
    const lease = await database.acquire()
    const busy = failure(lease.connection`SELECT pg_sleep(30)`)
    await sleep(20)
    expect(await pool.drain({ deadlineMs: 50 })).toEqual({ forced: 1 })
    await busy
    await expect.poll(() => pool.metrics().totalConnections).toBe(0)
  })

  test(`P8: 500 requests at once on 10 connections while backends are terminated every 200 ms, for ${long ? 60 : 8} s`, async () => {
    const acquireTimeoutMs = 2_000
    const { pool, database } = make('storm', { min: 2, max: 10, acquireTimeoutMs, validateAfterIdleMs: 100 })
    const app = new Hono()
    let longestWaitMs = 0
    app.get('/', async (c) => {
      const startedMs = performance.now()
      try {
        await using lease = await database.acquire({ signal: c.req.raw.signal })
        longestWaitMs = Math.max(longestWaitMs, performance.now() - startedMs)
        await lease.connection`SELECT pg_sleep(0.002)`
        return c.text('ok')
      } catch (error) {
        longestWaitMs = Math.max(
          longestWaitMs,
          (error as PoolError).code === 'pool_exhausted' ? performance.now() - startedMs : 0,
        )
        return c.text('failed', 503)
      }
    })
    await pool.start()
    let running = true
    let mostOnServer = 0
    let terminated = 0
    let lagMs = 0
    const kill = postgres(url, { max: 1, connection: { application_name: 'killer' } })
    const killing = (async () => {
      while (running) {
        const rows = await kill`
          SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'storm' ORDER BY random() LIMIT 3`
        terminated += rows.length
        await sleep(200)
      }
    })()
    const counting = (async () => {
      while (running) {
        mostOnServer = Math.max(mostOnServer, (await backends('storm')).length)
        const { activeConnections, idleConnections, pendingConnections, totalConnections } = pool.metrics()
        expect(activeConnections + idleConnections + pendingConnections).toBe(totalConnections)
        expect(totalConnections).toBeLessThanOrEqual(10)
        const beforeMs = performance.now()
        await sleep(5)
        lagMs = Math.max(lagMs, performance.now() - beforeMs - 5)
      }
    })()
    const answers = { ok: 0, failed: 0 }
    const untilMs = performance.now() + (long ? 60_000 : 8_000)
    await Promise.all(
      Array.from({ length: 500 }, async () => {
        while (performance.now() < untilMs) {
          const response = await app.request('/')
          if (response.ok) answers.ok++
          else answers.failed++
        }
      }),
    )
    running = false
    await Promise.all([killing, counting])
    console.log(
      JSON.stringify({
        answers,
        terminated,
        mostOnServer,
        longestWaitMs: Math.round(longestWaitMs),
        lagMs: Math.round(lagMs),
      }),
    )
    expect(terminated).toBeGreaterThan(long ? 500 : 50)
    expect(mostOnServer).toBeGreaterThan(5)
    expect(mostOnServer).toBeLessThanOrEqual(10)
    // The event loop's own delay on a busy machine is not the pool's.
    expect(longestWaitMs).toBeLessThanOrEqual(acquireTimeoutMs + 50 + lagMs)
    expect(answers.ok / (answers.ok + answers.failed)).toBeGreaterThan(0.2)
    expect(pool.metrics()).toMatchObject({ activeConnections: 0, waitingRequests: 0 })
    const last = await Promise.all(Array.from({ length: 100 }, () => app.request('/')))
    expect(last.filter((response) => response.ok)).toHaveLength(100)
    expect(pool.metrics().activeConnections).toBe(0)
    await kill.end()
    await pool.drain()
    expect(await backends('storm')).toEqual([])
  }, 120_000)
})

describe('when PostgreSQL stops', () => {
  let server: Postgres

  beforeAll(async () => {
    server = await startPostgres({ fsync: false, maxConnections: 30 })
  })
  afterAll(() => server.stop())

  test(`C5: stopped for ${long ? 10 : 3} s: requests fail at once with a retry time, one probe finds it again, then the pool grows`, async () => {
    const transitions: string[] = []
    let connecting = 0
    let mostConnecting = 0
    let recovered = false
    const factory = postgresFactory({ url: server.url, client: { connection: { application_name: 'outage' } } })
    const pool = new ConnectionPool({
      name: 'outage',
      min: 6,
      max: 10,
      onTransition: ({ type }) => {
        transitions.push(type)
        recovered ||= type === 'recovered'
      },
    })
    const database = pool.register('database', {
      ...factory,
      async create(context) {
        connecting++
        if (transitions.includes('failing') && !recovered) mostConnecting = Math.max(mostConnecting, connecting)
        try {
          return await factory.create(context)
        } finally {
          connecting--
        }
      },
    })
    await pool.start()
    const restarted = server.restart({ downMs: long ? 10_000 : 3_000 })
    await expect.poll(() => transitions, { timeout: 10_000 }).toContain('failing')
    await expect
      .poll(() => pool.metrics().totalConnections - pool.metrics().pendingConnections, { timeout: 10_000 })
      .toBe(0)
    let failures = 0
    let slowestMs = 0
    while (!recovered) {
      const startedMs = performance.now()
      try {
        ;(await database.acquire()).release()
      } catch (error) {
        failures++
        slowestMs = Math.max(slowestMs, performance.now() - startedMs)
        expect(error).toMatchObject({ code: 'pool_factory_failed', retryAfterMs: expect.any(Number) })
        expect((error as PoolError).retryAfterMs).toBeLessThanOrEqual(5_000)
      }
      await sleep(10)
    }
    await restarted
    console.log(JSON.stringify({ failures, slowestMs: Math.round(slowestMs), mostConnecting }))
    expect(failures).toBeGreaterThan(20)
    // One probe at a time, and a request that came with it waits for its answer.
    expect(mostConnecting).toBe(1)
    expect(slowestMs).toBeLessThan(1_000)
    await expect.poll(() => pool.metrics().idleConnections, { timeout: 10_000 }).toBe(6)
    ;(await database.acquire()).release()
    await pool.drain()
  })

  test('C4: with its processes stopped a connect times out, and the pool works again when they go on', async () => {
    const pool = new ConnectionPool({
      name: 'frozen',
      min: 0,
      max: 2,
      createTimeoutMs: 300,
      destroyTimeoutMs: 500,
      acquireTimeoutMs: 5_000,
    })
    const database = pool.register('database', postgresFactory({ url: server.url }))
    server.pause()
    try {
      expect(await failure(database.acquire())).toMatchObject({
        code: 'pool_factory_failed',
        cause: { code: 'ETIMEDOUT' },
      })
    } finally {
      server.resume()
    }
    await expect
      .poll(
        () =>
          database.acquire().then(
            (lease) => lease.release(),
            () => 'not yet',
          ),
        { timeout: 10_000 },
      )
      .toBeUndefined()
    await pool.drain()
  })
})

test('C1: arrays go to the server and come back, without the fetching of types that a broken connection would not survive', async () => {
  const pool = new ConnectionPool({ name: 'arrays', min: 0, max: 1 })
  const database = pool.register('database', postgresFactory({ url: await freshDatabase() }))
  const lists = [[1, 2], ['a', 'b "quoted" \\ , {c}', null], []]
  const [row] = await database.use(
    (sql) =>
      sql`SELECT ${lists[0] as number[]}::int[] AS numbers, ${lists[1] as string[]}::text[] AS texts, ${lists[2] as string[]}::text[] AS none`,
  )
  expect([row!['numbers'], row!['texts'], row!['none']]).toEqual(lists)
  await pool.drain({ deadlineMs: 1_000 })
})
