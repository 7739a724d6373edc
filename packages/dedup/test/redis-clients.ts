import { Cluster, Redis } from 'ioredis'
import { createClient, createCluster } from 'redis'
import {
  type IoRedisClient,
  ioRedisClientOptions,
  type NodeRedisClient,
  type RedisClient,
  type RedisSubscriber,
  redisClientOptions,
} from '../src/stores/redis.ts'
import { afterwards } from './fixture.ts'

interface Opened<Client> {
  readonly client: Client
  close(): void
}

/** One of the packages that the Redis store is used with. Its clients are connected; whoever opens one closes it. */
export interface ClientLibrary {
  readonly name: string
  single(url: string, options?: { readonly deadlineMs?: number }): Promise<Opened<RedisClient & RedisSubscriber>>
  cluster(urls: readonly string[], options?: { readonly deadlineMs?: number }): Promise<Opened<RedisClient>>
  command(client: RedisClient, ...args: string[]): Promise<unknown>
  /** A client that is, at each call, the one that is current. */
  moving(current: () => RedisClient): RedisClient
}

const nodeRedis: ClientLibrary = {
  name: 'redis',
  async single(url, options) {
    const client = createClient({ url, ...redisClientOptions(options) })
    client.on('error', () => {})
    await client.connect()
    return { client, close: () => client.destroy() }
  },
  async cluster(urls, options) {
    const client = createCluster({ rootNodes: urls.map((url) => ({ url })), defaults: redisClientOptions(options) })
    client.on('error', () => {})
    await client.connect()
    return { client, close: () => client.destroy() }
  },
  command: (client, ...args) => (client as NodeRedisClient).sendCommand(args),
  moving: (current): NodeRedisClient => ({
    sendCommand: (args, options) => (current() as NodeRedisClient).sendCommand(args, options),
  }),
}

const ioRedis: ClientLibrary = {
  name: 'ioredis',
  async single(url, options) {
    const client = new Redis(url, ioRedisClientOptions(options))
    client.on('error', () => {})
    await client.connect()
    return { client, close: () => client.disconnect() }
  },
  async cluster(urls, options) {
    const nodes = urls.map((url) => ({ host: new URL(url).hostname, port: Number(new URL(url).port) }))
    const { lazyConnect, retryStrategy, ...redisOptions } = ioRedisClientOptions(options)
    const client = new Cluster(nodes, { lazyConnect, redisOptions, clusterRetryStrategy: retryStrategy })
    client.on('error', () => {})
    await client.connect()
    return { client, close: () => client.disconnect() }
  },
  command: (client, ...[command = '', ...args]) => (client as IoRedisClient).callBuffer(command, ...(args as never[])),
  moving: (current) => ({
    callBuffer: (command, ...args) => (current() as IoRedisClient).callBuffer(command, ...args),
  }),
}

export const libraries: readonly ClientLibrary[] = [nodeRedis, ioRedis]

/** Closes what was opened when the test that opened it is over. */
export async function forThisTest<Client>(opening: Promise<Opened<Client>>): Promise<Client> {
  const { client, close } = await opening
  afterwards(async () => close())
  return client
}

/** A client that is opened before a file's tests and closed after them. */
export function connected(open: () => Promise<Opened<RedisClient>>) {
  let opened: Opened<RedisClient> | undefined
  return {
    get: () => opened!.client,
    async open() {
      opened = await open()
    },
    async close() {
      opened?.close()
    },
  }
}
