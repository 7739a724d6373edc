import { argumentsOf, type RedisCommands, scanNode } from './redis-commands.ts'

/** The parts of a node-redis client that are used. */
export interface NodeRedisClient {
  sendCommand(args: readonly unknown[], options?: object): Promise<unknown>
}

/** The parts of a node-redis Cluster client that are used. */
export interface NodeRedisCluster {
  readonly masters: readonly unknown[]
  nodeClient(node: never): NodeRedisClient | Promise<NodeRedisClient>
  sendCommand(
    firstKey: string | undefined,
    isReadonly: boolean | undefined,
    args: readonly unknown[],
    options?: object,
  ): Promise<unknown>
}

/** What a subscriber of node-redis does here; a client in use for commands cannot be one. */
export interface NodeRedisSubscriber {
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>
  unsubscribe(channel: string): Promise<unknown>
}

declare const Buffer: unknown

/** Bulk strings (`$`) as bytes. */
function binaryReplies(): object {
  return {
    // node-redis 6 gives each command an `AbortSignal.timeout` of 5 s by default, which costs more than the rest of the command
    // and leaves a timer behind for five seconds each. The deadline of the store is one timer for all.
    timeout: 0,
    typeMapping: { 36: Buffer },
  }
}

/** What the store sends, through a client of the `redis` package. */
export function nodeRedisCommands(client: NodeRedisClient | NodeRedisCluster): RedisCommands {
  let options: object | undefined
  const replies = () => {
    options ??= binaryReplies()
    return options
  }
  const single = (node: NodeRedisClient, args: readonly (string | Uint8Array)[]) =>
    node.sendCommand(argumentsOf(args), replies())
  if (!('masters' in client)) {
    const send = (_: string, args: readonly (string | Uint8Array)[]) => single(client, args)
    return {
      send,
      wait: (key, replicas, timeoutMs) => send(key, ['WAIT', String(replicas), String(timeoutMs)]),
      sendToMasters: async (args) => [await single(client, args)],
      scan: (pattern, each) => scanNode((args) => single(client, args), pattern, each),
    }
  }
  const nodes = () => Promise.all(client.masters.map((node) => client.nodeClient(node as never)))
  const send = (key: string, args: readonly (string | Uint8Array)[]) =>
    client.sendCommand(key, false, argumentsOf(args), replies())
  return {
    send,
    wait: (key, replicas, timeoutMs) => send(key, ['WAIT', String(replicas), String(timeoutMs)]),
    sendToMasters: async (args) => Promise.all((await nodes()).map((node) => single(node, args))),
    async scan(pattern, each) {
      for (const node of await nodes()) await scanNode((args) => single(node, args), pattern, each)
    },
  }
}
