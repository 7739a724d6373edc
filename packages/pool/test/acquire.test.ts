import { ConnectionPool, PoolError } from '@gw/pool'
import { describe, expect, test } from 'vitest'
import { deferred, failure, settled } from './fake-server.ts'
import { make } from './making.ts'

describe('C1: start', () => {
  test('C1: resolves when the minimum is there', async () => {
    const { pool, server } = make({ min: 2 })
    await pool.start()
    expect(server.made).toBe(2)
    expect(pool.metrics().idleConnections).toBe(2)
  })

  test('C1: with `failFast` rejects at the first failure, with the real cause', async () => {
    const { pool, server } = make({ min: 2 })
    const cause = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
    server.onCreate = () => Promise.reject(cause)
    const error = (await failure(pool.start({ failFast: true }))) as PoolError
    expect(error).toMatchObject({ code: 'pool_factory_failed', pool: 'main', factory: 'database' })
    expect(error.cause).toBe(cause)
  })

  test('C1: with `failFast` asks for one connection where the minimum is 0', async () => {
    const { pool, server } = make()
    server.onCreate = () => Promise.reject(new Error('no'))
    expect(await failure(pool.start({ failFast: true }))).toMatchObject({ code: 'pool_factory_failed' })
    expect(server.attempts).toBe(1)
  })

  test('C1: without it keeps trying, and rejects after `timeoutMs` with the last cause', async () => {
    const { pool, server, clock } = make({ min: 1 })
    const cause = new Error('still down')
    server.onCreate = () => Promise.reject(cause)
    const started = failure(pool.start({ timeoutMs: 2_000 }))
    await clock.advance(1_999)
    expect(await settled(started)).toBe(false)
    await clock.advance(1)
    expect(await started).toMatchObject({ code: 'pool_factory_failed', cause })
    expect(server.attempts).toBeGreaterThan(2)
  })

  test('C1: says so when the minimum is only slow in coming', async () => {
    const { pool, server, clock } = make({ min: 1 })
    server.onCreate = () => new Promise(() => {})
    const started = failure(pool.start({ timeoutMs: 100 }))
    await clock.advance(100)
    expect(await started).toMatchObject({ code: 'pool_start_timeout' })
  })

  test('C1: making a pool and registering a factory start nothing', () => {
    const { clock, server } = make({ min: 2 })
    expect(clock.timers.size).toBe(0)
    expect(server.attempts).toBe(0)
  })
})

describe('C2: acquire', () => {
  test('C2: rejects after the timeout with the figures of the pool, a retry time and what went wrong last', async () => {
    const { database, clock } = make({ max: 1, acquireTimeoutMs: 300 })
    await database.acquire()
    const waiting = failure(database.acquire())
    await clock.advance(299)
    expect(await settled(waiting)).toBe(false)
    await clock.advance(1)
    const error = (await waiting) as PoolError
    expect(error.code).toBe('pool_exhausted')
    expect(error.figures).toEqual({ active: 1, idle: 0, pendingCreate: 0, total: 1, max: 1, waiting: 1 })
    expect(error.retryAfterMs).toBeGreaterThanOrEqual(100)
    expect(error.message).toContain('gave no connection in 300 ms')
  })

  test('C2: `timeoutMs` of one request counts before the deadline of an earlier one, and 0 does not wait', async () => {
    const { database, clock } = make({ max: 1 })
    const lease = await database.acquire()
    const long = database.acquire()
    const short = failure(database.acquire({ timeoutMs: 50 }))
    expect(await failure(database.acquire({ timeoutMs: 0 }))).toMatchObject({ code: 'pool_exhausted' })
    await clock.advance(50)
    expect(await short).toMatchObject({ code: 'pool_exhausted' })
    lease.release()
    expect((await long).released).toBe(false)
  })

  test('C2: aborting frees the place at once, and the connection goes to the next who waits', async () => {
    const { database, pool } = make({ max: 1 })
    const lease = await database.acquire()
    const controller = new AbortController()
    const aborted = failure(database.acquire({ signal: controller.signal }))
    const next = database.acquire()
    expect(pool.metrics().waitingRequests).toBe(2)
    controller.abort(new Error('the client left'))
    expect(pool.metrics().waitingRequests).toBe(1)
    expect(await aborted).toMatchObject({ code: 'pool_aborted', cause: new Error('the client left') })
    lease.release()
    expect((await next).connection.id).toBe(1)
  })

  test('C2: a signal that is aborted already is refused even where a connection is idle', async () => {
    const { database, pool } = make({ min: 1 })
    await pool.start()
    expect(await failure(database.acquire({ signal: AbortSignal.abort() }))).toMatchObject({ code: 'pool_aborted' })
    expect(pool.metrics().activeConnections).toBe(0)
  })

  test('C2: a connection that comes after its request was given up goes to the next who waits', async () => {
    const { database, server, clock } = make({ max: 1, acquireTimeoutMs: 100 })
    const gate = deferred()
    server.onCreate = () => gate.promise
    const late = failure(database.acquire())
    await clock.advance(100)
    expect(await late).toMatchObject({ code: 'pool_exhausted' })
    const next = database.acquire()
    gate.resolve()
    expect((await next).connection.id).toBe(1)
    expect(server.attempts).toBe(1)
  })

  test('C2: listeners of a signal are taken off when the request is served', async () => {
    const { database } = make({ max: 1 })
    const lease = await database.acquire()
    const controller = new AbortController()
    let listeners = 0
    const { signal } = controller
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = ((...args: Parameters<typeof add>) => {
      listeners++
      add(...args)
    }) as typeof add
    signal.removeEventListener = ((...args: Parameters<typeof remove>) => {
      listeners--
      remove(...args)
    }) as typeof remove
    const waiting = database.acquire({ signal })
    expect(listeners).toBe(1)
    lease.release()
    await waiting
    expect(listeners).toBe(0)
  })

  test('C2: requests are served in their order, and priorities move them', async () => {
    const { database } = make({ max: 1 })
    const lease = await database.acquire()
    const order: string[] = []
    const ask = (name: string, priority?: number) =>
      database.acquire({ priority }).then((got) => {
        order.push(name)
        got.release()
      })
    const asked = [ask('a'), ask('b'), ask('low', 1), ask('urgent', -1)]
    lease.release()
    await Promise.all(asked)
    expect(order).toEqual(['urgent', 'a', 'b', 'low'])
  })

  test('C2: waiting outweighs priority: one step is worth `agingMs`', async () => {
    const { database, clock } = make({ max: 1, agingMs: 1_000 })
    const lease = await database.acquire()
    const order: string[] = []
    const ask = (name: string, priority: number) =>
      database.acquire({ priority }).then((got) => {
        order.push(name)
        got.release()
      })
    const low = ask('low', 1)
    await clock.advance(999)
    const early = ask('normal within the step', 0)
    await clock.advance(2)
    const late = ask('normal after the step', 0)
    lease.release()
    await Promise.all([low, early, late])
    expect(order).toEqual(['normal within the step', 'low', 'normal after the step'])
  })

  test('C2: beyond `maxWaiting` a request is refused at once', async () => {
    const { database } = make({ max: 1, maxWaiting: 1 })
    await database.acquire()
    void database.acquire().catch(() => {})
    expect(await failure(database.acquire())).toMatchObject({ code: 'pool_exhausted' })
  })

  test('C2: the timer holds the process only while somebody waits, and until the next sweep', async () => {
    const { database, clock } = make({ max: 1 })
    const held = () => [...clock.timers].filter((timer) => timer.held).length
    const lease = await database.acquire()
    await clock.advance(500)
    expect(held()).toBe(0)
    const waiting = database.acquire()
    expect(held()).toBe(1)
    lease.release()
    const second = await waiting
    await clock.advance(500)
    expect(held()).toBe(0)
    const again = database.acquire()
    expect(held()).toBe(1)
    second.release()
    ;(await again).release()
  })

  test('C2: an unknown factory, option or member is an error that names it', async () => {
    const { pool } = make()
    expect(await failure(pool.acquire('cache'))).toMatchObject({ code: 'unknown_factory' })
    expect(() => new ConnectionPool({ name: 'x', maxx: 1 } as never)).toThrow('Unknown option `maxx`')
    expect(() => new ConnectionPool({ name: 'x', min: 3, max: 2 })).toThrow('Expected `min`')
    expect(() => new ConnectionPool({ name: 'x', acquireTimeoutMs: 2 ** 31 })).toThrow('Expected `acquireTimeoutMs`')
    expect(() => pool.register('database', { create: async () => ({}) })).toThrow('registered already')
    expect(() => pool.register('other', { create: async () => ({}), valdate: 1 } as never)).toThrow('`valdate`')
  })

  test('C2: options that mean nothing are refused, whatever their kind', () => {
    const refuse = (options: object) => expect(() => new ConnectionPool({ name: 'x', ...options }))
    refuse({ toString: 1 }).toThrow('Unknown option `toString`')
    refuse({ adaptive: 'false' }).toThrow('Expected `adaptive` to be a boolean')
    refuse({ onLeak: 'log' }).toThrow('Expected `onLeak` to be a function')
    refuse({ onTransition: {} }).toThrow('Expected `onTransition` to be a function')
    refuse({ now: 5 }).toThrow('Expected `now` to be a function')
    refuse({ random: 0.5 }).toThrow('Expected `random` to be a function')
    refuse({ clock: { now: () => 0 } }).toThrow('Expected `clock` to be a clock with timers')
    refuse({ preWarm: { hours: [8, 18], target: 20 } }).toThrow('Expected `preWarm` to be a list')
    refuse({ backoffMs: 100, maxBackoffMs: 50 }).toThrow('Expected `maxBackoffMs` to be no less than `backoffMs`')
    refuse({ leakThresholdMs: -1 }).toThrow('Expected `leakThresholdMs` to be a number from 0')
  })

  test.each([Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, 'soon'])(
    'C2: a `timeoutMs` of %s is refused, and nobody waits',
    async (timeoutMs) => {
      const { database, pool, clock } = make({ max: 1, min: 1 })
      await database.acquire()
      const timers = clock.timers.size
      expect(await failure(database.acquire({ timeoutMs: timeoutMs as number }))).toMatchObject({
        code: 'invalid_option',
        message: `Expected \`timeoutMs\` to be a number up to 2147483647, got \`${timeoutMs}\``,
      })
      expect(await failure(pool.start({ timeoutMs: timeoutMs as number }))).toMatchObject({ code: 'invalid_option' })
      expect([pool.metrics().waitingRequests, clock.timers.size]).toEqual([0, timers])
    },
  )

  test('C2: what a client sees is 503 as problem+json with Retry-After, without cause or host', async () => {
    const error = new PoolError('pool_exhausted', 'secret-host refused', { pool: 'main', retryAfterMs: 1_200 })
    const response = error.getResponse()
    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe('2')
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    expect(await response.json()).toEqual({
      type: 'urn:gw:problem:pool_exhausted',
      title: 'No connection became free in time',
      status: 503,
      code: 'pool_exhausted',
      retryable: true,
      pool: 'main',
    })
    expect(new PoolError('lease_released', 'x').getResponse().status).toBe(500)
  })
})

describe('C10: leases', () => {
  test('C10: releasing twice, or after somebody else has the connection, does nothing', async () => {
    const { database, pool } = make({ max: 1 })
    const first = await database.acquire()
    first.release()
    const second = await database.acquire()
    first.release()
    first.destroy()
    expect(second.released).toBe(false)
    expect(pool.metrics().activeConnections).toBe(1)
    second.release()
    second.release()
    expect(pool.metrics()).toMatchObject({ activeConnections: 0, idleConnections: 1 })
  })

  test('C10: a lease that was given back gives its connection to nobody', async () => {
    const { database } = make()
    const lease = await database.acquire()
    lease.release()
    expect(() => lease.connection).toThrow(expect.objectContaining({ code: 'lease_released' }))
  })

  test('C10: `await using` gives it back however the block ends', async () => {
    const { database, pool } = make()
    const run = async () => {
      await using lease = await database.acquire()
      expect(lease.connection.id).toBe(1)
      throw new Error('in the block')
    }
    await expect(run()).rejects.toThrow('in the block')
    expect(pool.metrics().activeConnections).toBe(0)
  })

  test('C10: `use` gives it back after a value, an error and a synchronous throw', async () => {
    const { pool } = make({ max: 1 })
    expect(await pool.use('database', () => 42)).toBe(42)
    await expect(
      pool.use('database', () => {
        throw new Error('at once')
      }),
    ).rejects.toThrow('at once')
    await expect(pool.use('database', async () => Promise.reject(new Error('later')))).rejects.toThrow('later')
    expect(pool.metrics()).toMatchObject({ activeConnections: 0, idleConnections: 1, successfulAcquisitions: 3 })
  })

  test('C10: `destroy` closes the connection instead of keeping it', async () => {
    const { database, server } = make({ max: 1 })
    const lease = await database.acquire()
    lease.destroy()
    expect((await database.acquire()).connection.id).toBe(2)
    expect(server.destroyed).toBe(1)
  })
})
