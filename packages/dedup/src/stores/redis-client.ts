import { DedupError } from '../errors.ts'

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

/** A client of the `redis` package, single or Cluster. */
export type RedisClient = NodeRedisClient | NodeRedisCluster

/** The commands that a Redis store sends, whoever sends them: bulk strings come back as bytes. */
export interface RedisCommands {
  /** Sends a command that concerns `key` to the master that has it. */
  send(key: string, args: readonly (string | Uint8Array)[]): Promise<unknown>
  /** Sends a command to each master; resolves to each one's answer. */
  sendToMasters(args: readonly string[]): Promise<readonly unknown[]>
  /** Goes over all keys that match, on every master. */
  scan(pattern: string, each: (key: string) => Promise<void>): Promise<void>
}

/** In runtimes with Redis clients there is a `Buffer`, the only bytes that node-redis takes. */
declare const Buffer: { from(bytes: ArrayBufferLike, offset: number, length: number): Uint8Array }

/** Bulk strings (`$`) as bytes. */
function binaryReplies(): object {
  return {
    // node-redis 6 gives each command an `AbortSignal.timeout` of 5 s by default, which costs more than the rest of the command
    // and leaves a timer behind for five seconds each. The deadline of the store is one timer for all.
    timeout: 0,
    typeMapping: { 36: Buffer },
  }
}

const decoder = new TextDecoder()

/** A bulk string's text. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : value instanceof Uint8Array ? decoder.decode(value) : String(value ?? '')
}

/** What the store sends, through a node-redis client. Throws `invalid_option` for anything else. */
export function commandsOf(client: RedisClient): RedisCommands {
  if (typeof client?.sendCommand !== 'function')
    throw new DedupError('invalid_option', 'Expected `client` to be a client or a Cluster client of the redis package')
  let options: object | undefined
  const replies = () => {
    options ??= binaryReplies()
    return options
  }
  const bytes = (args: readonly (string | Uint8Array)[]) =>
    args.map((arg) => (typeof arg === 'string' ? arg : Buffer.from(arg.buffer, arg.byteOffset, arg.byteLength)))
  const single = (node: NodeRedisClient, args: readonly (string | Uint8Array)[]) =>
    node.sendCommand(bytes(args), replies())
  if (!('masters' in client)) {
    return {
      send: (_, args) => single(client, args),
      sendToMasters: async (args) => [await single(client, args)],
      scan: (pattern, each) => scanNode((args) => single(client, args), pattern, each),
    }
  }
  const nodes = () => Promise.all(client.masters.map((node) => client.nodeClient(node as never)))
  return {
    send: (key, args) => client.sendCommand(key, false, bytes(args), replies()),
    sendToMasters: async (args) => Promise.all((await nodes()).map((node) => single(node, args))),
    async scan(pattern, each) {
      for (const node of await nodes()) await scanNode((args) => single(node, args), pattern, each)
    },
  }
}

async function scanNode(
  send: (args: readonly string[]) => Promise<unknown>,
  pattern: string,
  each: (key: string) => Promise<void>,
): Promise<void> {
  let cursor = '0'
  do {
    const [next, keys] = (await send(['SCAN', cursor, 'MATCH', pattern, 'COUNT', '1000'])) as [unknown, unknown[]]
    cursor = textOf(next)
    for (const key of keys) await each(textOf(key))
  } while (cursor !== '0')
}
