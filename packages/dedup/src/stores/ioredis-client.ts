import { argumentsOf, type RedisCommands, scanNode } from './redis-commands.ts'

/** The parts of an ioredis client that are used. */
export interface IoRedisClient {
  callBuffer(command: string, ...args: never[]): Promise<unknown>
}

/** The parts of an ioredis Cluster client that are used. */
export interface IoRedisCluster extends IoRedisClient {
  nodes(role: 'master'): readonly IoRedisClient[]
  pipeline(commands: unknown[][]): { exec(): Promise<[error: Error | null, result: unknown][] | null> }
}

/** What a subscriber of ioredis does here; a client in use for commands cannot be one. */
export interface IoRedisSubscriber extends IoRedisClient {
  subscribe(channel: string): Promise<unknown>
  unsubscribe(channel: string): Promise<unknown>
  on(event: 'message', listener: (channel: string, message: string) => void): unknown
  off(event: 'message', listener: (channel: string, message: string) => void): unknown
}

function single(client: IoRedisClient, [command, ...args]: readonly (string | Uint8Array)[]): Promise<unknown> {
  return client.callBuffer(command as string, ...(argumentsOf(args) as never[]))
}

/** What the store sends, through a client of the `ioredis` package. */
export function ioRedisCommands(client: IoRedisClient | IoRedisCluster): RedisCommands {
  const send = (_: string, args: readonly (string | Uint8Array)[]) => single(client, args)
  if (!('nodes' in client)) {
    return {
      send,
      wait: (key, replicas, timeoutMs) => send(key, ['WAIT', String(replicas), String(timeoutMs)]),
      sendToMasters: async (args) => [await single(client, args)],
      scan: (pattern, each) => scanNode((args) => single(client, args), pattern, each),
    }
  }
  return {
    send,
    // WAIT names no key, so ioredis would send it anywhere. A script that does nothing with the key takes it along.
    async wait(key, replicas, timeoutMs) {
      const answers = await client
        .pipeline([
          ['eval', 'return 0', '1', key],
          ['wait', String(replicas), String(timeoutMs)],
        ])
        .exec()
      for (const [error] of answers ?? []) if (error !== null) throw error
      return answers?.[1]?.[1]
    },
    sendToMasters: (args) => Promise.all(client.nodes('master').map((node) => single(node, args))),
    async scan(pattern, each) {
      for (const node of client.nodes('master')) await scanNode((args) => single(node, args), pattern, each)
    },
  }
}

/** Listens on a channel until the function it resolves to is called. */
export async function listenOnIoRedis(
  subscriber: IoRedisSubscriber,
  channel: string,
  listener: (message: string) => void,
): Promise<() => Promise<void>> {
  const heard = (on: string, message: string) => {
    if (on === channel) listener(message)
  }
  subscriber.on('message', heard)
  await subscriber.subscribe(channel)
  return async () => {
    subscriber.off('message', heard)
    await subscriber.unsubscribe(channel)
  }
}
