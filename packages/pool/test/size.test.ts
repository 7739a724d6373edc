import { describe, expect, test } from 'vitest'
import { deferred, failure } from './fake-server.ts'
import { make } from './making.ts'

describe('C3: size', () => {
  test('C3: a burst makes no more than `max`, those on the way included', async () => {
    const { database, pool, server, clock } = make({ max: 3, connectConcurrency: 10 })
    server.onCreate = () => new Promise((resolve) => clock.setTimeout(resolve, 5))
    const all = Array.from({ length: 20 }, () => database.acquire().then((lease) => lease.release()))
    expect(pool.metrics()).toMatchObject({ pendingConnections: 3, totalConnections: 3, maxConnections: 3 })
    await clock.advance(10)
    await Promise.all(all)
    expect(server.peak).toBe(3)
  })

  test('C3: a connection that is being closed keeps its place until it is gone', async () => {
    const { database, pool, server } = make({ max: 1 })
    const gate = deferred()
    server.onDestroy = () => gate.promise
    const lease = await database.acquire()
    lease.destroy()
    const next = database.acquire()
    expect(server.attempts).toBe(1)
    expect(pool.metrics()).toMatchObject({ totalConnections: 0, closingConnections: 1 })
    gate.resolve()
    await next
    expect(server.peak).toBe(1)
  })

  test('C3: a connect that timed out keeps its place until it has ended, and what it makes is closed', async () => {
    const { database, server, clock, pool } = make({ max: 1, createTimeoutMs: 100, destroyTimeoutMs: 1_000 })
    const gate = deferred()
    server.onCreate = (attempt) => (attempt === 1 ? gate.promise : undefined)
    expect(await Promise.all([failure(database.acquire()), clock.advance(100)])).toMatchObject([
      { code: 'pool_factory_failed' },
      undefined,
    ])
    await clock.advance(500)
    expect(await failure(database.acquire())).toMatchObject({ code: 'pool_factory_failed' })
    expect(server.attempts).toBe(1)
    expect(pool.metrics().closingConnections).toBe(1)
    gate.resolve()
    await clock.advance(0)
    await database.acquire()
    expect(server).toMatchObject({ attempts: 2, destroyed: 1, peak: 1 })
  })

  test('C3: `refresh` replaces idle connections now and those on loan when they come back, within `max`', async () => {
    const { database, server, pool, clock, transitions } = make({ min: 3, max: 3 })
    await pool.start()
    const lease = await database.acquire()
    pool.refresh()
    await clock.advance(1)
    expect(lease.connection.id).toBe(3)
    expect(pool.metrics()).toMatchObject({ activeConnections: 1, idleConnections: 2, totalConnections: 3 })
    lease.release()
    await clock.advance(1)
    const ids = await Promise.all([1, 2, 3].map(async () => (await database.acquire()).connection.id))
    expect(Math.min(...ids)).toBe(4)
    expect(server).toMatchObject({ peak: 3, destroyed: 3 })
    expect(transitions.map((event) => event.type)).toContain('refreshed')
  })

  test('C3: a smaller `max` closes idle ones at once and those on loan as they come back', async () => {
    const { database, server, pool, clock } = make({ min: 0, max: 4 })
    const leases = await Promise.all([1, 2, 3, 4].map(() => database.acquire()))
    leases[0]!.release()
    pool.resize({ max: 2 })
    await clock.advance(1)
    expect(pool.metrics()).toMatchObject({ activeConnections: 3, totalConnections: 3, maxConnections: 3 })
    leases[1]!.release()
    leases[2]!.release()
    leases[3]!.release()
    await clock.advance(1)
    expect(pool.metrics()).toMatchObject({ totalConnections: 2, maxConnections: 2 })
    expect(server.open).toBe(2)
  })

  test('C3: a larger `max` serves those who wait, and a larger `min` is kept', async () => {
    const { database, pool, clock } = make({ max: 1 })
    await database.acquire()
    const waiting = database.acquire()
    pool.resize({ max: 3, min: 3 })
    await waiting
    await clock.advance(1)
    expect(pool.metrics()).toMatchObject({ totalConnections: 3, minConnections: 3 })
  })

  test('C3: bounds that one factory cannot keep change none', () => {
    const { pool, server } = make({ min: 1, max: 8 })
    pool.register('other', server.factory({ min: 4, max: 8 }))
    expect(() => pool.resize({ max: 2 })).toThrow('Expected `min`')
    expect(pool.metrics().factories['database']).toMatchObject({ minConnections: 1, maxConnections: 8 })
  })

  test('C3: after an outage the minimum is back within one sweep', async () => {
    const { pool, server, clock } = make({ min: 4, max: 4, connectConcurrency: 1, sweepIntervalMs: 500 })
    let down = true
    server.onCreate = () => (down ? Promise.reject(new Error('down')) : undefined)
    const started = pool.start()
    await clock.advance(3_000)
    expect(pool.metrics().totalConnections).toBe(0)
    down = false
    // One back-off step at most until the probe; the rest follows at once.
    await clock.advance(5_000)
    await started
    expect(pool.metrics().idleConnections).toBe(4)
  })

  test('C3: a connection that dies while the minimum is kept is replaced', async () => {
    const { pool, server, clock } = make({ min: 2, max: 4 })
    await pool.start()
    server.connections[0]!.lost(new Error('reset'))
    await clock.advance(1)
    expect(pool.metrics()).toMatchObject({ idleConnections: 2, connectionsClosedTotal: 1 })
  })
})

describe('C4: create, validate and destroy', () => {
  const boom = () => {
    throw new Error('at once')
  }

  test('C4: a `create` that throws at once is a rejection, and nobody is left behind', async () => {
    const { database, pool } = make({}, { create: boom })
    expect(await failure(database.acquire())).toMatchObject({
      code: 'pool_factory_failed',
      cause: new Error('at once'),
    })
    expect(pool.metrics()).toMatchObject({ waitingRequests: 0, totalConnections: 0, connectionErrors: 1 })
  })

  test('C4: a `create` that never settles is given up, its signal aborted, and its place is free in time', async () => {
    const { database, server, clock } = make({
      max: 1,
      createTimeoutMs: 100,
      destroyTimeoutMs: 200,
      acquireTimeoutMs: 5_000,
    })
    server.onCreate = (attempt) => (attempt === 1 ? new Promise(() => {}) : undefined)
    const first = failure(database.acquire())
    await clock.advance(100)
    expect(await first).toMatchObject({ code: 'pool_factory_failed', cause: { code: 'ETIMEDOUT' } })
    expect(server.contexts[0]!.signal.aborted).toBe(true)
    await clock.advance(200)
    expect((await database.acquire()).connection.id).toBe(1)
  })

  test('C4: a `create` that gives the same object again, or none, has failed', async () => {
    const same = { id: 1, alive: true, lost() {} }
    const { database, pool } = make({ backoffMs: 1 }, { create: async () => same })
    const lease = await database.acquire()
    void database.acquire().catch(() => {})
    await new Promise((resolve) => setImmediate(resolve))
    expect(pool.metrics()).toMatchObject({ connectionErrors: 1, totalConnections: 1 })
    lease.release()
    const other = make({}, { create: async () => 42 as never })
    expect(await failure(other.database.acquire())).toMatchObject({ cause: { message: '`create` gave no object' } })
  })

  test.each([
    ['throws at once', boom],
    ['rejects', () => Promise.reject(new Error('later'))],
    ['says false', () => false],
    ['never settles', () => new Promise<boolean>(() => {})],
  ])('C4: a `validate` that %s closes the connection and the request gets another', async (_, validate) => {
    const { database, server, clock, pool } = make({ validateAfterIdleMs: 0, validateTimeoutMs: 100 })
    const lease = await database.acquire()
    lease.release()
    server.onValidate = validate
    await clock.advance(10)
    const next = database.acquire()
    await clock.advance(100)
    expect((await next).connection.id).toBe(2)
    expect(pool.metrics()).toMatchObject({ validationFailures: 1, activeConnections: 1, totalConnections: 1 })
  })

  test.each([
    ['throws at once', boom],
    ['rejects', () => Promise.reject(new Error('later'))],
    ['never settles', () => new Promise<void>(() => {})],
  ])('C4: after a `destroy` that %s the place is free', async (_, destroy) => {
    const { database, clock, pool } = make({ max: 1, destroyTimeoutMs: 100 }, { destroy })
    const lease = await database.acquire()
    lease.destroy()
    const next = database.acquire()
    await clock.advance(100)
    expect((await next).connection.id).toBe(2)
    expect(pool.metrics()).toMatchObject({ closingConnections: 0, connectionsClosedTotal: 1 })
  })

  test('C4: a connection used a moment ago is lent without a test, one idle for longer is tested', async () => {
    const { database, server, clock } = make({ validateAfterIdleMs: 500 })
    ;(await database.acquire()).release()
    await clock.advance(499)
    ;(await database.acquire()).release()
    expect(server.validated).toEqual([])
    await clock.advance(500)
    ;(await database.acquire()).release()
    expect(server.validated).toEqual([1])
  })

  test('C4: a request that gives up during the test takes no connection with it', async () => {
    const { database, server, clock, pool } = make({ max: 1, validateAfterIdleMs: 0 })
    ;(await database.acquire()).release()
    const gate = deferred<boolean>()
    server.onValidate = () => gate.promise
    await clock.advance(1)
    const controller = new AbortController()
    const given = failure(database.acquire({ signal: controller.signal }))
    controller.abort()
    expect(await given).toMatchObject({ code: 'pool_aborted' })
    gate.resolve(true)
    await clock.advance(0)
    expect(pool.metrics()).toMatchObject({ idleConnections: 1, activeConnections: 0, totalConnections: 1 })
  })
})

describe('C7: idleness', () => {
  test('C7: idle connections are closed down to `min` and never below', async () => {
    const { database, server, clock, pool } = make({ min: 2, max: 6, idleTimeoutMs: 1_000, sweepIntervalMs: 100 })
    await pool.start()
    const leases = await Promise.all(Array.from({ length: 6 }, () => database.acquire()))
    for (const lease of leases) lease.release()
    await clock.advance(900)
    expect(pool.metrics().totalConnections).toBe(6)
    await clock.advance(300)
    expect(pool.metrics().totalConnections).toBe(2)
    await clock.advance(60_000)
    expect(server).toMatchObject({ made: 6, destroyed: 4 })
  })

  test('C7: the one returned last is lent first, so that the others can go', async () => {
    const { database, clock, pool } = make({ max: 5, idleTimeoutMs: 1_000, sweepIntervalMs: 100 })
    const leases = await Promise.all(Array.from({ length: 5 }, () => database.acquire()))
    for (const lease of leases) lease.release()
    for (let round = 0; round < 40; round++) {
      ;(await database.acquire()).release()
      await clock.advance(50)
    }
    expect(pool.metrics().totalConnections).toBe(1)
  })
})

describe('C8: health checks', () => {
  test('C8: each idle connection is tested once an interval, one at a time, the one tested longest ago first', async () => {
    const { server, clock, pool } = make({ min: 3, max: 3, healthCheckIntervalMs: 10_000, sweepIntervalMs: 500 })
    let running = 0
    let most = 0
    server.onValidate = async () => {
      most = Math.max(most, ++running)
      await new Promise<void>((resolve) => clock.setTimeout(resolve, 100))
      running--
      return true
    }
    await pool.start()
    await clock.advance(9_000)
    expect(server.validated).toEqual([])
    await clock.advance(2_000)
    expect(server.validated).toEqual([1, 2, 3])
    expect(most).toBe(1)
    await clock.advance(10_000)
    expect(server.validated).toEqual([1, 2, 3, 1, 2, 3])
  })

  test('C8: nothing is tested while somebody waits, nor what is on loan', async () => {
    const { database, server, clock, pool } = make({ min: 1, max: 1, healthCheckIntervalMs: 1_000 })
    await pool.start()
    const lease = await database.acquire()
    const waiting = database.acquire()
    await clock.advance(5_000)
    expect(server.validated).toEqual([])
    lease.release()
    ;(await waiting).release()
  })

  test('C8: a test makes a connection neither younger nor the next to go', async () => {
    const { database, server, clock, pool } = make({
      min: 2,
      max: 2,
      healthCheckIntervalMs: 1_000,
      sweepIntervalMs: 100,
    })
    await pool.start()
    await clock.advance(5)
    const lease = await database.acquire()
    const used = lease.connection.id
    await clock.advance(1)
    lease.release()
    await clock.advance(1_300)
    expect(server.validated).toHaveLength(2)
    expect((await database.acquire()).connection.id).toBe(used)
  })

  test('C8: as many failures in a row as `maxFailuresBeforeRefresh` replace every connection, also those that would pass', async () => {
    const { server, clock, pool, transitions } = make({
      min: 5,
      max: 5,
      healthCheckIntervalMs: 1_000,
      maxFailuresBeforeRefresh: 3,
    })
    await pool.start()
    server.onValidate = (connection) => connection.id > 3
    await clock.advance(2_000)
    expect(transitions.filter((event) => event.type === 'refreshed')).toHaveLength(1)
    expect(server.destroyed).toBe(5)
    expect(pool.metrics().idleConnections).toBe(5)
    expect(server.peak).toBe(5)
  })

  test('C8: a success in between starts the count anew', async () => {
    const { server, clock, pool, transitions } = make({
      min: 5,
      max: 5,
      healthCheckIntervalMs: 1_000,
      maxFailuresBeforeRefresh: 3,
    })
    await pool.start()
    server.onValidate = (connection) => connection.id === 3 || connection.id > 5
    await clock.advance(2_000)
    expect(transitions.map((event) => event.type)).not.toContain('refreshed')
    expect(server.destroyed).toBe(4)
  })
})
