import { redisBreakerStore } from '@gw/breaker/redis'
import type { DedupStore } from '@gw/dedup'
import { redisClientOptions, redisDedupStore } from '@gw/dedup/redis'
import { createClient, createCluster } from 'redis'
import type { Engine } from './engine.ts'

/**
 * An engine whose idempotency keys lie in Redis, with what nodes know together of their breakers, and all else where it was:
 * several nodes in the URL, separated by commas, or `?cluster` behind it, make it a Redis Cluster. Keys commit apart from runs
 * then; the outcome of a run drives its key.
 */
export async function withRedis(engine: Engine, redisUrl: string): Promise<Engine> {
  const { client, subscriber, close } = await connect(redisUrl)
  let store: DedupStore | undefined
  return {
    get kind() {
      return engine.kind
    },
    directory: engine.directory,
    get health() {
      return engine.health
    },
    checkpointStore: () => engine.checkpointStore(),
    dedupStore() {
      store ??= redisDedupStore({ client, ...(subscriber === undefined ? {} : { subscriber }) })
      return store
    },
    eventLog: () => engine.eventLog(),
    breakerStore: redisBreakerStore({ client, ...(subscriber === undefined ? {} : { subscriber }) }),
    onFailed: (listener) => engine.onFailed(listener),
    async close() {
      close()
      await engine.close()
    },
    ...('database' in engine ? { database: engine.database } : {}),
    ...('url' in engine ? { url: engine.url } : {}),
  }
}

async function connect(redisUrl: string) {
  const options = redisClientOptions()
  const [first = '', ...more] = redisUrl.split(',')
  const clustered = more.length > 0 || /[?&]cluster\b/.test(first)
  const plain = (url: string) => (/^rediss?:\/\//.test(url) ? url : `redis://${url}`).replace(/\?.*$/, '')
  if (clustered) {
    const client = createCluster({ rootNodes: [first, ...more].map((url) => ({ url: plain(url) })), defaults: options })
    // Without a listener a lost connection would end the process; each call says so itself.
    client.on('error', () => {})
    await client.connect()
    return { client, subscriber: undefined, close: () => client.destroy() }
  }
  const client = createClient({ url: first, ...options })
  const subscriber = client.duplicate()
  for (const each of [client, subscriber]) each.on('error', () => {})
  await Promise.all([client.connect(), subscriber.connect()])
  return {
    client,
    subscriber,
    close() {
      client.destroy()
      subscriber.destroy()
    },
  }
}
