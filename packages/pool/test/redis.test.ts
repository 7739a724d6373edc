import { ConnectionPool } from '@gw/pool'
import { redisFactory } from '@gw/pool/redis'
import { type Redis, redis, sharedRedis } from '@gw/services'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { failure } from './fake-server.ts'

describe('on Redis', () => {
  let url: string
  beforeAll(async () => {
    url = (await sharedRedis()).url
  })

  test('C10: a lease is one connection that nobody else has', async () => {
    const pool = new ConnectionPool({ name: 'redis', min: 0, max: 3 })
    const cache = pool.register('cache', redisFactory({ url }))
    await using first = await cache.acquire()
    await using second = await cache.acquire()
    const [one, two] = await Promise.all([first.connection.clientId(), second.connection.clientId()])
    expect(one).not.toBe(two)
    first.release()
    second.release()
    expect(await pool.drain()).toEqual({ forced: 0 })
  })

  test('C3: a connection that the server ends leaves the pool at once', async () => {
    const pool = new ConnectionPool({ name: 'redis', min: 0, max: 2 })
    const cache = pool.register('cache', redisFactory({ url }))
    const idle = await cache.acquire()
    const admin = await cache.acquire()
    const id = await idle.connection.clientId()
    idle.release()
    await admin.connection.sendCommand(['CLIENT', 'KILL', 'ID', String(id)])
    await expect.poll(() => pool.metrics().connectionsClosedTotal, { timeout: 5_000 }).toBe(1)
    admin.release()
    await pool.drain()
  })
})

describe('when Redis stops', () => {
  let server: Redis
  beforeAll(async () => {
    server = await redis()
  })
  afterAll(() => server.stop())

  test('C4: one that no longer answers is found by its test, a connect to it times out, and the pool works again when it goes on', async () => {
    const pool = new ConnectionPool({
      name: 'redis',
      min: 0,
      max: 2,
      validateAfterIdleMs: 0,
      validateTimeoutMs: 200,
      createTimeoutMs: 300,
      destroyTimeoutMs: 500,
    })
    const cache = pool.register('cache', redisFactory({ url: server.url }))
    ;(await cache.acquire()).release()
    server.pause()
    try {
      expect(await failure(cache.acquire())).toMatchObject({ code: 'pool_factory_failed' })
      expect(pool.metrics()).toMatchObject({ validationFailures: 1, totalConnections: 0 })
    } finally {
      server.resume()
    }
    const answer = () => cache.use((client) => client.ping()).catch(() => 'not yet')
    await expect.poll(answer, { timeout: 10_000 }).toBe('PONG')
    await pool.drain()
  })

  test('C1: an address where nobody listens is the cause that `start` gives', async () => {
    const pool = new ConnectionPool({ name: 'redis', min: 1, max: 2 })
    pool.register('cache', redisFactory({ url: 'redis://127.0.0.1:1' }))
    expect(await failure(pool.start({ failFast: true }))).toMatchObject({
      code: 'pool_factory_failed',
      cause: { code: 'ECONNREFUSED' },
    })
    await pool.drain()
  })
})
