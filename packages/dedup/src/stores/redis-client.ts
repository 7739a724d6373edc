import { DedupError } from '../errors.ts'
import {
  type IoRedisClient,
  type IoRedisCluster,
  type IoRedisSubscriber,
  ioRedisCommands,
  listenOnIoRedis,
} from './ioredis-client.ts'
import {
  type NodeRedisClient,
  type NodeRedisCluster,
  type NodeRedisSubscriber,
  nodeRedisCommands,
} from './node-redis-client.ts'
import type { RedisCommands } from './redis-commands.ts'

/** A client of the `redis` or the `ioredis` package, single or Cluster. */
export type RedisClient = NodeRedisClient | NodeRedisCluster | IoRedisClient | IoRedisCluster

/** A client of either package that is used for nothing else. */
export type RedisSubscriber = NodeRedisSubscriber | IoRedisSubscriber

/** What the store sends, through whichever client it is given. Throws `invalid_option` for anything else. */
export function commandsOf(client: RedisClient): RedisCommands {
  if (typeof client === 'object' && client !== null) {
    if ('callBuffer' in client) return ioRedisCommands(client)
    if ('sendCommand' in client) return nodeRedisCommands(client)
  }
  throw new DedupError('invalid_option', 'Expected `client` to be a client or a Cluster client of redis or ioredis')
}

/** Listens on a channel until the function it resolves to is called. */
export async function listenOn(
  subscriber: RedisSubscriber,
  channel: string,
  listener: (message: string) => void,
): Promise<() => Promise<void>> {
  if ('callBuffer' in subscriber) return listenOnIoRedis(subscriber, channel, listener)
  await subscriber.subscribe(channel, listener)
  return async () => {
    await subscriber.unsubscribe(channel)
  }
}
