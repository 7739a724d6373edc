import { ConnectionPool, PoolError, pool as poolMiddleware } from '@gw/pool'
import { Hono } from 'hono'
import { describe, expect, test } from 'vitest'
import { deferred, failure, settled } from './fake-server.ts'
import { make } from './making.ts'

describe('connections that die', () => {
  test('C3: one that dies on loan is closed when it comes back', async () => {
    const { database, server, pool, clock } = make()
    const lease = await database.acquire()
    lease.connection.lost()
    expect(lease.released).toBe(false)
    lease.release()
    await clock.advance(0)
    expect([pool.metrics().idleConnections, server.destroyed]).toEqual([0, 1])
  })

  test('C3: one that dies before it is ready is closed, and says why', async () => {
    const { database, server, clock } = make()
    const cause = new Error('reset')
    server.onCreate = () => server.contexts[0]!.lost(cause)
    expect(await failure(database.acquire())).toMatchObject({ code: 'pool_factory_failed', cause })
    await clock.advance(0)
    expect(server).toMatchObject({ made: 1, destroyed: 1, open: 0 })
  })

  test('C8: one that dies while it is tested is closed, though it passes', async () => {
    const { server, pool, clock } = make({ min: 1, healthCheckIntervalMs: 1_000 })
    await pool.start()
    const gate = deferred<boolean>()
    server.onValidate = () => gate.promise
    await clock.advance(1_000)
    server.connections[0]!.lost()
    gate.resolve(true)
    await clock.advance(0)
    expect([server.destroyed, pool.metrics().idleConnections]).toEqual([1, 1])
  })
})

describe('refresh', () => {
  test('C3: a connection that was on the way is replaced too', async () => {
    const { server, pool, clock } = make({ min: 1, max: 1 })
    const gate = deferred()
    server.onCreate = (attempt) => (attempt === 1 ? gate.promise : undefined)
    void pool.start()
    pool.refresh()
    gate.resolve()
    await clock.advance(0)
    expect(server).toMatchObject({ made: 2, destroyed: 1 })
  })

  test('C8: counts failed tests anew', async () => {
    const { server, pool, clock, transitions } = make({
      min: 5,
      max: 5,
      healthCheckIntervalMs: 1_000,
      maxFailuresBeforeRefresh: 3,
    })
    await pool.start()
    server.onValidate = ({ id }) => id !== 4 && id !== 5 && id !== 8
    await clock.advance(1_000)
    expect(server.destroyed).toBe(2)
    pool.refresh()
    await clock.advance(1_500)
    expect(server.validated).toContain(8)
    expect(transitions.filter(({ type }) => type === 'refreshed')).toHaveLength(1)
  })

  test('C3: `refresh` and `resize` of one factory leave the others alone', async () => {
    const { server, pool, clock } = make({ min: 1, max: 4 })
    pool.register('other', server.factory())
    await pool.start()
    pool.refresh('other')
    pool.resize({ factory: 'other', max: 2 })
    await clock.advance(0)
    const { database, other } = pool.metrics().factories
    expect([database!.connectionsClosedTotal, other!.connectionsClosedTotal]).toEqual([0, 1])
    expect([database!.maxConnections, other!.maxConnections]).toEqual([4, 2])
  })
})

describe('time limits', () => {
  test('C2: the listener of a signal is taken off when the request times out', async () => {
    const { database, clock } = make({ max: 1 })
    await database.acquire()
    const { signal } = new AbortController()
    const taken: unknown[] = []
    signal.removeEventListener = (_type: string, listener: unknown) => taken.push(listener)
    const waiting = failure(database.acquire({ signal, timeoutMs: 50 }))
    await clock.advance(50)
    await waiting
    expect(taken).toHaveLength(1)
  })

  test('C4: a `create` that failed in time is not given up afterwards', async () => {
    const { database, server, pool, clock } = make({ createTimeoutMs: 100 })
    server.onCreate = () => Promise.reject(new Error('no'))
    await failure(database.acquire())
    await clock.advance(100)
    expect([pool.metrics().closingConnections, server.attempts]).toEqual([0, 1])
  })

  test('C4: of two tests that never end each has its own time', async () => {
    const { database, server, pool, clock } = make({ max: 2, validateAfterIdleMs: 0, validateTimeoutMs: 100 })
    const leases = await Promise.all([database.acquire(), database.acquire()])
    for (const lease of leases) lease.release()
    server.onValidate = () => new Promise(() => {})
    await clock.advance(10)
    const first = database.acquire()
    await clock.advance(50)
    const second = database.acquire()
    await clock.advance(50)
    expect([await settled(first), await settled(second)]).toEqual([true, false])
    await clock.advance(50)
    expect(await settled(second)).toBe(true)
    expect(pool.metrics()).toMatchObject({ validationFailures: 2, activeConnections: 2 })
  })

  test('C5: nothing holds the process while a factory fails and nobody waits', async () => {
    const { database, server, clock } = make({ min: 1 })
    server.onCreate = () => Promise.reject(new Error('no'))
    await failure(database.acquire())
    // The pause is longer than a sweep by then, so that its timer is one of these.
    await clock.advance(10_000)
    expect(clock.timers.size).toBeGreaterThan(1)
    expect([...clock.timers].filter((timer) => timer.held)).toEqual([])
  })

  test('C9: with `adaptive` a pause in the demand is not the end of it', async () => {
    const { database, pool, clock } = make({ max: 20, connectConcurrency: 20, adaptive: true })
    for (let second = 0; second < 60; second++) {
      const leases = await Promise.all(Array.from({ length: 4 }, () => database.acquire()))
      await clock.advance(1_000)
      for (const lease of leases) lease.release()
    }
    await clock.advance(2_000)
    expect(pool.metrics().keptConnections).toBeGreaterThanOrEqual(4)
    await clock.advance(600_000)
    expect(pool.metrics().keptConnections).toBe(0)
  })

  test('C6: a replacement that failed is tried again before the lifetime is over', async () => {
    const { server, pool, clock } = make({ min: 1, max: 2, maxLifetimeMs: 100_000, healthCheckIntervalMs: 0 })
    await pool.start()
    server.onCreate = (attempt) => (attempt === 2 ? Promise.reject(new Error('no')) : undefined)
    await clock.advance(97_000)
    expect(server).toMatchObject({ attempts: 3, made: 2, destroyed: 1 })
  })
})

describe('drain', () => {
  test('C11: a `start` that waits is refused', async () => {
    const { server, pool } = make({ min: 1 })
    server.onCreate = () => new Promise(() => {})
    const started = failure(pool.start())
    void pool.drain()
    expect(await started).toMatchObject({ code: 'pool_draining' })
  })

  test('C11: is over when the last who waits has given up', async () => {
    const { database, server, pool, clock } = make({ max: 1, destroyTimeoutMs: 10 })
    server.onCreate = () => new Promise(() => {})
    const controller = new AbortController()
    const waiting = failure(database.acquire({ signal: controller.signal }))
    const drained = pool.drain({ deadlineMs: 30_000 })
    controller.abort()
    await waiting
    await clock.advance(10)
    expect(await settled(drained)).toBe(true)
  })

  test('C11: a test that never ends does not outlive the deadline', async () => {
    const { database, server, pool, clock } = make({ max: 1, validateAfterIdleMs: 0, validateTimeoutMs: 60_000 })
    ;(await database.acquire()).release()
    server.onValidate = () => new Promise(() => {})
    await clock.advance(1)
    const waiting = failure(database.acquire())
    const drained = pool.drain({ deadlineMs: 1_000 })
    await clock.advance(1_000)
    expect(await waiting).toMatchObject({ code: 'pool_draining' })
    expect([await settled(drained), server.open]).toEqual([true, 0])
  })

  test('C11: afterwards nothing can be registered', async () => {
    const { server, pool } = make()
    await pool.drain()
    expect(() => pool.register('late', server.factory())).toThrow(expect.objectContaining({ code: 'pool_draining' }))
  })
})

describe('factories', () => {
  test('C1: one that is registered after `start` is begun, and `start` opens nothing above a minimum of 0', async () => {
    const { server, pool, clock } = make()
    await pool.start()
    expect(server.attempts).toBe(0)
    pool.register('late', server.factory({ min: 2 }))
    await clock.advance(0)
    expect(pool.metrics().factories['late']).toMatchObject({ idleConnections: 2 })
  })

  test('C2: members that are no functions are refused', () => {
    const { pool } = make()
    for (const member of ['validate', 'destroy']) {
      expect(() => pool.register('x', { create: () => ({}), [member]: 1 } as never)).toThrow(
        `Expected \`${member}\` to be a function`,
      )
    }
  })

  test('C4: an object that was closed may be given again', async () => {
    const same = {}
    const { pool } = make()
    const other = pool.register('same', { create: () => same })
    ;(await other.acquire()).destroy()
    expect((await other.acquire()).connection).toBe(same)
  })
})

describe('loans and errors', () => {
  test('C2: `use` with a signal that has aborted runs nothing, though a connection is idle', async () => {
    const { database, pool } = make({ min: 1 })
    await pool.start()
    let runs = 0
    const used = database.use(() => runs++, { signal: AbortSignal.abort() })
    expect(await failure(used)).toMatchObject({ code: 'pool_aborted' })
    expect(runs).toBe(0)
  })

  test('C10: the newest 20 leaks are kept', async () => {
    const { database, pool, clock } = make({ max: 25, connectConcurrency: 25, leakThresholdMs: 1_000 })
    const leases = await Promise.all(Array.from({ length: 25 }, () => database.acquire()))
    await clock.advance(1_500)
    expect([pool.leaks.length, pool.metrics().leaksTotal]).toEqual([20, 25])
    for (const lease of leases) lease.release()
  })

  test('C2: the retry time is when the last who waits would have its turn', async () => {
    const { database, clock } = make({ max: 1 })
    for (let loan = 0; loan < 3; loan++) {
      const lease = await database.acquire()
      await clock.advance(300)
      lease.release()
    }
    await database.acquire()
    expect(await failure(database.acquire({ timeoutMs: 0 }))).toMatchObject({ retryAfterMs: 600 })
  })

  test('C2: a mistake of the program tells a client nothing, and without a retry time it is a second', async () => {
    const response = new PoolError('lease_released', 'x', { pool: 'main' }).getResponse()
    expect([response.status, response.headers.get('retry-after')]).toEqual([500, null])
    expect(await response.json()).toEqual({
      type: 'urn:gw:problem:internal_error',
      title: 'Internal error',
      status: 500,
      code: 'internal_error',
      retryable: false,
    })
    expect(new PoolError('pool_draining', 'x').getResponse().headers.get('retry-after')).toBe('1')
  })

  test('C12: who waited for nothing is in the histogram too', async () => {
    const { database, pool } = make()
    for (let loan = 0; loan < 3; loan++) (await database.acquire()).release()
    const { waitTime } = pool.metrics().factories['database']!
    expect([waitTime.count, waitTime.counts.reduce((sum, count) => sum + count)]).toEqual([3, 3])
  })
})

describe('the middleware', () => {
  test('C10: giving a body up reaches whoever writes it, and leaves no listener', async () => {
    const { pool } = make({ max: 1 })
    let cancelled: unknown
    const app = new Hono()
    app.use(poolMiddleware({ pool, factory: 'database' }))
    const body = new ReadableStream({
      cancel(reason) {
        cancelled = reason
      },
    })
    app.get('/', () => new Response(body))
    const { signal } = new AbortController()
    const request = new Request('http://127.0.0.1/', { signal })
    const added: unknown[] = []
    const taken: unknown[] = []
    const own = request.signal
    own.addEventListener = (_type: string, listener: unknown) => added.push(listener)
    own.removeEventListener = (_type: string, listener: unknown) => taken.push(listener)
    await (await app.request(request)).body!.cancel('enough')
    expect(cancelled).toBe('enough')
    expect(new Set(taken)).toEqual(new Set(added))
    expect(pool.metrics().activeConnections).toBe(0)
  })

  test('C2: a request waits by its own `timeoutMs`, and `priority` says who is served sooner', async () => {
    const { pool, database, clock } = make({ max: 1 })
    const app = new Hono()
    const order: string[] = []
    const urgency = {
      pool,
      factory: 'database',
      priority: (c: { req: { path: string } }) => Number(c.req.path.slice(1)),
    }
    app.get('/late', poolMiddleware({ pool, factory: 'database', timeoutMs: 50 }), (c) => c.text('x'))
    app.get('/:urgency', poolMiddleware({ ...urgency, hold: 'handler' }), (c) => {
      order.push(c.req.path)
      return c.text('x')
    })
    const lease = await database.acquire()
    const late = app.request('/late')
    await clock.advance(50)
    expect((await late).status).toBe(503)
    const asked = ['/2', '/1'].map(async (path) => app.request(path))
    await clock.advance(0)
    lease.release()
    await Promise.all(asked)
    expect(order).toEqual(['/1', '/2'])
  })
})

test('C2: a pool has a name', () => {
  expect(() => new ConnectionPool({ name: '' })).toThrow('Expected `name`')
})
