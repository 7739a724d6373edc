import { createClient, type RedisClientOptions, type RedisClientType } from 'redis'
import type { ConnectionFactory } from '../factory.ts'

/** How connections to Redis are made. */
export interface RedisFactoryOptions {
  /** Where the server is: `redis://user:password@host:port/database`. */
  readonly url: string
  /** Options of node-redis; reconnecting is the pool's. */
  readonly client?: Omit<RedisClientOptions, 'url'>
}

/** Makes node-redis clients, tested with `PING`. One that has died stays dead, and its place goes to a new one. */
export function redisFactory({
  url,
  client: options = {},
}: RedisFactoryOptions): Required<Pick<ConnectionFactory<RedisClientType>, 'create' | 'validate' | 'destroy'>> {
  return {
    async create({ signal, lost }) {
      const client = createClient({
        ...options,
        url,
        disableOfflineQueue: true,
        socket: { ...options.socket, reconnectStrategy: false },
      } as RedisClientOptions) as unknown as RedisClientType
      const abort = (): void => close(client)
      signal.addEventListener('abort', abort)
      client.on('error', lost)
      client.on('end', () => lost(new Error('The connection was closed')))
      try {
        await client.connect()
        return client
      } catch (error) {
        close(client)
        throw error
      } finally {
        signal.removeEventListener('abort', abort)
      }
    },
    async validate(client) {
      await client.ping()
      return true
    },
    async destroy(client) {
      close(client)
    },
  }
}

/** Closes it whatever state it is in; one that is closed already says so by throwing. */
function close(client: RedisClientType): void {
  try {
    client.destroy()
  } catch {
    // It was closed.
  }
}
