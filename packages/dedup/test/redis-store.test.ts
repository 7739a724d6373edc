import { sharedRedis, sharedRedisCluster } from '@gw/services'
import { createClient, createCluster } from 'redis'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { type RedisClient, redisClientOptions, redisDedupStore } from '../src/stores/redis.ts'
import { testDedupStore } from '../src/testing.ts'
import { connected } from './redis-clients.ts'

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

function suite(client: () => RedisClient): void {
  testDedupStore(test.concurrent, async () => {
    const options = { client: client(), prefix: `test:${crypto.randomUUID()}:`, onRisk: () => {} }
    const [store, second] = [redisDedupStore(options), redisDedupStore(options)]
    await Promise.all([store.open(), second.open()])
    return { store, second, leaseMs: 600, advance: sleep, async close() {} }
  })
}

describe('Redis', () => {
  const client = connected(async () => createClient({ url: (await sharedRedis()).url, ...redisClientOptions() }))
  beforeAll(client.open)
  afterAll(client.close)
  suite(client.get)
})

describe('Redis Cluster', () => {
  const client = connected(async () =>
    createCluster({
      rootNodes: (await sharedRedisCluster()).urls.map((url) => ({ url })),
      defaults: redisClientOptions(),
    }),
  )
  beforeAll(client.open, 60_000)
  afterAll(client.close)
  suite(client.get)
})
