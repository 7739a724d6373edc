import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { sharedRedis, sharedRedisCluster } from '@gw/services'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RedisClient, redisDedupStore } from '../src/stores/redis.ts'
import { testDedupStore } from '../src/testing.ts'
import { appOf, deduplicatorOf, send } from './fixture.ts'
import { connected, forThisTest, libraries } from './redis-clients.ts'

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

function suite(client: () => RedisClient): void {
  testDedupStore(test.concurrent, async () => {
    const options = { client: client(), prefix: `test:${crypto.randomUUID()}:`, onRisk: () => {} }
    const [store, second] = [redisDedupStore(options), redisDedupStore(options)]
    await Promise.all([store.open(), second.open()])
    return { store, second, leaseMs: 600, advance: sleep, async close() {} }
  })
}

describe.each(libraries)('Redis through $name', (library) => {
  const client = connected(async () => library.single((await sharedRedis()).url))
  beforeAll(client.open)
  afterAll(client.close)
  suite(client.get)

  test('I2: with a subscriber the settlement of an awaited key reaches other processes', async () => {
    const subscriber = await forThisTest(library.single((await sharedRedis()).url))
    const prefix = `test:${crypto.randomUUID()}:`
    const one = redisDedupStore({ client: client.get(), prefix, onRisk: () => {} })
    const two = redisDedupStore({ client: client.get(), subscriber, prefix, onRisk: () => {} })
    const told: string[] = []
    const unwatch = await two.watch!({ settled: (key) => told.push(key) })
    for (const key of ['quiet', 'awaited', 'freed']) {
      const claim = {
        key,
        token: 't',
        fingerprint: '',
        principalHash: '',
        link: undefined,
        leaseMs: 9_000,
        windowMs: 9_000,
      }
      await one.tryClaim({ ...claim, replaces: undefined })
      if (key !== 'quiet') await two.get(key, { awaited: true })
      const unit = one.unit()
      const response = { status: 200, headers: [], body: undefined }
      unit.add(key === 'freed' ? one.release(claim) : one.complete(claim, response, undefined))
      await unit.commit()
    }
    await expect.poll(() => told).toEqual(['awaited', 'freed'])
    await unwatch()
  })

  test('scripts that the server forgot are sent again', async () => {
    const store = redisDedupStore({ client: client.get(), prefix: `test:${crypto.randomUUID()}:`, onRisk: () => {} })
    const claim = {
      fingerprint: '',
      principalHash: '',
      link: undefined,
      leaseMs: 9_000,
      windowMs: 9_000,
      replaces: undefined,
    }
    expect((await store.tryClaim({ ...claim, key: 'a', token: 'a' })).kind).toBe('claimed')
    await library.command(client.get(), 'SCRIPT', 'FLUSH')
    expect((await store.tryClaim({ ...claim, key: 'b', token: 'b' })).kind).toBe('claimed')
  })

  test('L1: SIGKILL in the handler: the retry works after the lease, not after the window', async () => {
    const { url } = await sharedRedis()
    const prefix = `test:${crypto.randomUUID()}:`
    const deduplicator = deduplicatorOf(
      redisDedupStore({ client: client.get(), prefix, onRisk: () => {} }),
      undefined,
      {
        monotonic: () => performance.now(),
      },
    )
    let calls = 0
    const app = appOf(deduplicator, (c) => c.json({ calls: ++calls }), { onUnknown: 'execute' })
    await send(app, 'warm')
    const scope = { principal: 'ann', method: 'POST', path: '/pay/:id' }
    const warm = (await deduplicator.keyStore.get(await deduplicator.storageKey(scope, 'warm')))!
    const { fingerprint, principalHash } = warm
    const identity = JSON.stringify({ key: await deduplicator.storageKey(scope, 'k'), fingerprint, principalHash })
    const child = spawn(process.execPath, [
      fileURLToPath(new URL('./dying-owner.ts', import.meta.url)),
      url,
      prefix,
      identity,
    ])
    const [said] = await once(child.stdout, 'data')
    expect(String(said).trim()).toBe('claimed')
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    expect((await send(app, 'k')).status).toBe(409)
    child.kill('SIGKILL')
    await once(child, 'exit')
    await expect.poll(async () => (await send(app, 'k')).status, { timeout: 3_000 }).toBe(200)
    expect(calls).toBe(2)
  })
})

describe.each(libraries)('Redis Cluster through $name', (library) => {
  const client = connected(async () => library.cluster((await sharedRedisCluster()).urls))
  beforeAll(client.open, 60_000)
  afterAll(client.close)
  suite(client.get)
})

test('a client of another package is refused by name', () => {
  const client = { get: async () => null } as unknown as RedisClient
  expect(() => redisDedupStore({ client })).toThrow(
    'Expected `client` to be a client or a Cluster client of redis or ioredis',
  )
})
