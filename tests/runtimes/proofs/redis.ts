import { CircuitBreaker } from '@gw/breaker'
import { redisBreakerStore } from '@gw/breaker/redis'
import { shareBreakers } from '@gw/breaker/sharing'
import { ioRedisClientOptions, type RedisClient, redisClientOptions, redisDedupStore } from '@gw/dedup/redis'
import { testDedupStore } from '@gw/dedup/testing'
import { ConnectionPool } from '@gw/pool'
import { redisFactory } from '@gw/pool/redis'
import { Cluster, Redis } from 'ioredis'
import { createClient, createCluster } from 'redis'
import { type Proof, proof, same } from '../proof.ts'

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

async function nodeRedis(url: string) {
  const client = createClient({ url, ...redisClientOptions() })
  await client.connect()
  return client
}

async function ioRedis(url: string) {
  const client = new Redis(url, ioRedisClientOptions())
  await client.connect()
  return client
}

/** The keys' suite on each client library, the pool and shared breakers, on a Redis server and a Cluster. */
export function redisProofs(url: string, nodes: readonly string[]): Record<string, Proof> {
  const keys = (connect: () => Promise<{ readonly client: RedisClient; close(): unknown }>) =>
    proof(
      (test) =>
        testDedupStore(test, async () => {
          const { client, close } = await connect()
          const options = { client, prefix: `test:${crypto.randomUUID()}:`, onRisk: () => {} }
          const [store, second] = [redisDedupStore(options), redisDedupStore(options)]
          await Promise.all([store.open(), second.open()])
          return {
            store,
            second,
            leaseMs: 1_500,
            advance: sleep,
            async close() {
              close()
            },
          }
        }),
      { atOnce: true },
    )
  return {
    dedup: keys(async () => {
      const client = await nodeRedis(url)
      return { client, close: () => client.destroy() }
    }),
    ioredis: keys(async () => {
      const client = await ioRedis(url)
      return { client, close: () => client.disconnect() }
    }),
    cluster: keys(async () => {
      const client = createCluster({ rootNodes: nodes.map((node) => ({ url: node })), defaults: redisClientOptions() })
      await client.connect()
      return { client, close: () => client.destroy() }
    }),
    'ioredis-cluster': keys(async () => {
      const { lazyConnect, retryStrategy, ...redisOptions } = ioRedisClientOptions()
      const at = nodes.map((node) => ({ host: new URL(node).hostname, port: Number(new URL(node).port) }))
      const client = new Cluster(at, { lazyConnect, redisOptions, clusterRetryStrategy: retryStrategy })
      await client.connect()
      return { client, close: () => client.disconnect() }
    }),
    breaker: proof((test) => {
      test('a breaker that has opened on two nodes opens on the third, and one reset closes it on all', async () => {
        const prefix = `test:${crypto.randomUUID()}:`
        const nodes = await Promise.all(
          ['a', 'b', 'c'].map(async (node) => {
            const [client, subscriber] = await Promise.all([nodeRedis(url), nodeRedis(url)])
            const breaker = new CircuitBreaker({ name: 'billing', failureThreshold: 1, openMs: 60_000 })
            const store = redisBreakerStore({ client, subscriber, prefix })
            const sharing = shareBreakers({ store, node, breakers: [['billing', breaker]] })
            await sharing.start()
            return { breaker, sharing, clients: [client, subscriber] }
          }),
        )
        const [a, b, c] = nodes.map(({ breaker }) => breaker)
        const until = async (state: string) => {
          for (let i = 0; i < 1_000 && nodes.some(({ breaker }) => breaker.state !== state); i++) await sleep(10)
          same(
            nodes.map(({ breaker }) => breaker.state),
            [state, state, state],
          )
        }
        for (const breaker of [a!, b!]) await breaker.run(() => Promise.reject(new Error('down'))).catch(() => {})
        await until('OPEN')
        c!.reset({ actor: 'ann' })
        await until('CLOSED')
        for (const { sharing, clients } of nodes) {
          await sharing.stop()
          for (const client of clients) client.destroy()
        }
      })
    }),
    pool: proof((test) => {
      test('twenty commands share two connections, and a drain closes both', async () => {
        const pool = new ConnectionPool({ name: 'main', min: 0, max: 2 })
        const cache = pool.register('cache', redisFactory({ url }))
        const answers = await Promise.all(
          Array.from({ length: 20 }, () => cache.use((connection) => connection.ping())),
        )
        same(new Set(answers).size, 1)
        same(pool.metrics().connectionsCreatedTotal <= 2, true)
        same(await pool.drain(), { forced: 0 })
      })
    }),
  }
}
