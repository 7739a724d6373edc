import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { PoolError } from '@gw/pool'
import { describe, expect, test } from 'vitest'
import { deferred, failure, settled } from './fake-server.ts'
import { make } from './making.ts'

const child = fileURLToPath(new URL('./bare-generic-pool.ts', import.meta.url))

/** What the bare library did in a process of its own: its answer, `hung` after the deadline, or `died`. */
function bare(row: string, deadlineMs = 5_000): Promise<unknown> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', child, row],
      { timeout: deadlineMs, killSignal: 'SIGKILL' },
      (error, output) => {
        if (error === null) resolve(JSON.parse(output))
        else resolve(error.killed ? 'hung' : 'died')
      },
    )
  })
}

const refused = () => Promise.reject(new Error('refused'))

describe.concurrent('what generic-pool does that does not reach the user', () => {
  test('G1: a `create` that rejects at once spins without end there; here it is tried again after a pause', async () => {
    expect(await bare('G1', 2_000)).toBe('hung')
    const { database, server } = make({ max: 10 })
    server.onCreate = refused
    expect(await failure(database.acquire())).toMatchObject({ code: 'pool_factory_failed' })
    await sleep(20)
    expect(server.attempts).toBe(1)
  })

  test('G2: a refused connect is repeated hundreds of times a second there; here once in each pause', async () => {
    expect(await bare('G2')).toBeGreaterThan(500)
    const { database, server, clock } = make({ max: 10 })
    server.onCreate = refused
    for (let turn = 0; turn < 500; turn++) {
      void database.acquire().catch(() => {})
      await clock.advance(1)
    }
    expect(server.attempts).toBeLessThan(12)
  })

  test('G2: whoever waits never learns the cause there; here it is the cause of the error', async () => {
    expect(await bare('cause')).toEqual({ message: 'ResourceRequest timed out', cause: true })
    const { database, server } = make()
    server.onCreate = refused
    expect(((await failure(database.acquire())) as PoolError).cause).toEqual(new Error('refused'))
  })

  test('G3: `clear` on a live pool leads to dead connections and too many loans there; here `refresh` gives new ones within the bound', async () => {
    const { dead, borrowed } = (await bare('G3')) as { dead: number; borrowed: number }
    expect(dead).toBeGreaterThan(0)
    expect(borrowed).toBeGreaterThan(3)
    const { database, server, pool } = make({ max: 3, connectConcurrency: 3, acquireTimeoutMs: 100 })
    for (const lease of await Promise.all([1, 2, 3].map(() => database.acquire()))) lease.release()
    pool.refresh()
    const leases = await Promise.all([1, 2, 3].map(() => database.acquire()))
    expect(leases.map((lease) => lease.connection.id).sort()).toEqual([4, 5, 6])
    expect(server.peak).toBe(3)
  })

  test('G4: a `validate` that rejects is an unhandled rejection and a lost place there; here the connection is replaced', async () => {
    expect(await bare('G4')).toMatchObject({ unhandled: 1, outcomes: ['TimeoutError', 'TimeoutError'], size: 1 })
    const { database, server, clock } = make({ max: 1, validateAfterIdleMs: 0 })
    ;(await database.acquire()).release()
    server.onValidate = refused
    await clock.advance(1)
    expect((await database.acquire()).connection.id).toBe(2)
  })

  test('G4: a `validate` that never settles loses the place there; here it has a timeout', async () => {
    expect(await bare('G4b')).toEqual(['TimeoutError', 'TimeoutError'])
    const { database, server, clock } = make({ max: 1, validateAfterIdleMs: 0, validateTimeoutMs: 50 })
    ;(await database.acquire()).release()
    server.onValidate = () => new Promise(() => {})
    await clock.advance(1)
    const next = database.acquire()
    await clock.advance(50)
    expect((await next).connection.id).toBe(2)
  })

  test('G5: `use` with a plain value throws and keeps the loan there; here it answers it and gives the loan back', async () => {
    expect(await bare('G5')).toEqual({ error: 'TypeError', borrowed: 1 })
    const { pool } = make()
    expect(await pool.use('database', () => 42)).toBe(42)
    expect(pool.metrics().activeConnections).toBe(0)
  })

  test('G6: after the first connects failed the minimum is never reached there; here it is', async () => {
    expect(await bare('G6')).toBe(0)
    const { pool, server, clock } = make({ min: 3, max: 5 })
    server.onCreate = (attempt) => (attempt <= 3 ? refused() : undefined)
    const started = pool.start()
    await clock.advance(700)
    await started
    expect(pool.metrics().totalConnections).toBe(3)
  })

  test('G7: the idle timeout goes below the minimum there, and connections come and go; here it stops at the minimum', async () => {
    const { made, destroyed } = (await bare('G7')) as { made: number; destroyed: number }
    expect(made).toBeGreaterThan(6)
    expect(destroyed).toBeGreaterThan(4)
    const { pool, server, clock } = make({ min: 2, max: 5, idleTimeoutMs: 20, sweepIntervalMs: 10 })
    await pool.start()
    await clock.advance(500)
    expect(server).toMatchObject({ made: 2, destroyed: 0 })
  })

  test('G8: without further options nothing idle is ever closed there; here the sweep is always on', async () => {
    expect(await bare('G8')).toBe(10)
    const { database, pool, clock } = make({ max: 10, idleTimeoutMs: 20 })
    for (const lease of await Promise.all(Array.from({ length: 10 }, () => database.acquire()))) lease.release()
    await clock.advance(1_000)
    expect(pool.metrics().totalConnections).toBe(0)
  })

  test('G9: releasing twice ends the process there; here the second does nothing', async () => {
    expect(await bare('G9')).toBe('died')
    const { database, pool } = make()
    const lease = await database.acquire()
    lease.release()
    lease.release()
    await sleep(1)
    expect(pool.metrics().idleConnections).toBe(1)
  })

  test('G10: a request that is given up stays in the queue there, and the next one is not served; here its place is free', async () => {
    expect(await bare('G10')).toEqual({ pending: 1, next: 'pending', available: 1 })
    const { database, pool } = make({ max: 1 })
    const lease = await database.acquire()
    const controller = new AbortController()
    const aborted = failure(database.acquire({ signal: controller.signal }))
    controller.abort()
    await aborted
    expect(pool.metrics().waitingRequests).toBe(0)
    const next = database.acquire()
    lease.release()
    expect((await next).released).toBe(false)
  })

  test('G11: a `create` that throws at once makes `acquire` throw and leaves a ghost there; here it is a rejection', async () => {
    expect(await bare('G11')).toEqual({ threw: true, pending: 1 })
    const { database, pool } = make(
      {},
      {
        create() {
          throw new Error('at once')
        },
      },
    )
    expect(await failure(database.acquire())).toMatchObject({ code: 'pool_factory_failed' })
    expect(pool.metrics().waitingRequests).toBe(0)
  })

  test('G12: a `destroy` that throws at once is an uncaught exception and the end of all eviction there; here nobody notices', async () => {
    const { uncaught, size } = (await bare('G12')) as { uncaught: number; size: number }
    expect(uncaught).toBe(1)
    expect(size).toBeGreaterThan(0)
    const { database, pool, clock } = make(
      { max: 3, idleTimeoutMs: 20, sweepIntervalMs: 10 },
      {
        destroy() {
          throw new Error('at once')
        },
      },
    )
    for (const lease of await Promise.all([1, 2, 3].map(() => database.acquire()))) lease.release()
    await clock.advance(400)
    expect(pool.metrics()).toMatchObject({ totalConnections: 0, connectionsClosedTotal: 3 })
  })

  test('G13: a drain waits for ever for a forgotten loan there; here it has a deadline', async () => {
    expect(await bare('G13')).toBe('pending')
    const { database, pool, clock, server } = make()
    await database.acquire()
    const drained = pool.drain({ deadlineMs: 500 })
    await clock.advance(500)
    expect(await drained).toEqual({ forced: 1 })
    expect(server.open).toBe(0)
  })

  test('G23: with priorities a drain is over while a loan is out there; here it waits for every loan', async () => {
    expect(await bare('G23')).toEqual({ drained: 'settled', borrowed: 1 })
    const { database, pool, clock } = make({ max: 1, acquireTimeoutMs: 100 })
    const first = await database.acquire()
    const low = failure(database.acquire({ priority: 1 }))
    await clock.advance(50)
    const high = database.acquire({ priority: 0 })
    const drained = pool.drain()
    await clock.advance(70)
    await low
    first.release()
    const last = await high
    await clock.advance(100)
    expect(await settled(drained)).toBe(false)
    last.release()
    expect(await drained).toEqual({ forced: 0 })
  })

  test('G14: there is no resizing there; here there is', async () => {
    expect(await bare('G14')).toBe('read only')
    const { database, pool } = make({ max: 1 })
    await database.acquire()
    const waiting = database.acquire()
    pool.resize({ max: 2 })
    expect((await waiting).connection.id).toBe(2)
  })

  test('G16: taking turns keeps every connection alive there; here the last one returned is lent first', async () => {
    expect(await bare('G16')).toBe(10)
    const { database, pool, clock } = make({ max: 10, idleTimeoutMs: 150, sweepIntervalMs: 10 })
    for (const lease of await Promise.all(Array.from({ length: 10 }, () => database.acquire()))) lease.release()
    for (let request = 0; request < 120; request++) {
      ;(await database.acquire()).release()
      await clock.advance(5)
    }
    expect(pool.metrics().totalConnections).toBe(1)
  })

  test('G19: a `create` that never settles loses its place there; here it has a timeout', async () => {
    expect(await bare('G19')).toEqual({ tries: 1, outcomes: ['TimeoutError', 'TimeoutError'], size: 1 })
    const { database, server, clock } = make({ max: 1, createTimeoutMs: 50, destroyTimeoutMs: 50 })
    server.onCreate = (attempt) => (attempt === 1 ? deferred().promise : undefined)
    const first = failure(database.acquire())
    await clock.advance(100)
    await first
    expect((await database.acquire()).connection.id).toBe(1)
  })

  test('G21: a connection that dies while idle cannot be removed there and is lent; here it is gone at once', async () => {
    expect(await bare('G21')).toEqual({ removal: 'Resource not currently part of this pool', lentDead: true })
    const { database, server, pool } = make({ max: 1 })
    ;(await database.acquire()).release()
    server.connections[0]!.lost(new Error('reset'))
    expect(pool.metrics().idleConnections).toBe(0)
    expect((await database.acquire()).connection.id).toBe(2)
  })

  test('G22: a lower priority waits for all that come after it there; here waiting counts', async () => {
    expect(await bare('G22')).toBe(50)
    const { database, clock } = make({ max: 1, agingMs: 100 })
    const first = await database.acquire()
    const order: number[] = []
    const ask = (priority: number) =>
      database.acquire({ priority }).then((lease) => {
        order.push(priority)
        lease.release()
      })
    const asked = [ask(1)]
    await clock.advance(200)
    for (let index = 0; index < 50; index++) asked.push(ask(0))
    first.release()
    await Promise.all(asked)
    expect(order.indexOf(1)).toBe(0)
  })

  test('G25: a burst opens a connection for each request there; here connects are limited, and the first serve the rest', async () => {
    expect(await bare('G25')).toBe(50)
    const { database, server, clock } = make({ max: 50, connectConcurrency: 4 })
    server.onCreate = () => new Promise((resolve) => clock.setTimeout(resolve, 5))
    const all = Array.from({ length: 50 }, () => database.acquire().then((lease) => lease.release()))
    await clock.advance(20)
    await Promise.all(all)
    expect(server.connectingPeak).toBe(4)
    expect(server.made).toBeLessThanOrEqual(8)
  })

  test('G26: `ready` never rejects and holds the process there; here `start` rejects with the cause', async () => {
    expect(await bare('G26', 1_500)).toBe('hung')
    const { pool, server, clock } = make({ min: 1 })
    server.onCreate = refused
    const started = failure(pool.start({ timeoutMs: 300 }))
    await clock.advance(300)
    expect(await started).toMatchObject({ code: 'pool_factory_failed', cause: new Error('refused') })
  })
})
