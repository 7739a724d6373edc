/** The commands that a Redis store sends, whoever sends them: bulk strings come back as bytes. */
export interface RedisCommands {
  /** Sends a command that concerns `key` to the master that has it. */
  send(key: string, args: readonly (string | Uint8Array)[]): Promise<unknown>
  /** Asks the master that has `key`, on the connection that wrote it, how many replicas have what was written. */
  wait(key: string, replicas: number, timeoutMs: number): Promise<unknown>
  /** Sends a command to each master; resolves to each one's answer. */
  sendToMasters(args: readonly string[]): Promise<readonly unknown[]>
  /** Goes over all keys that match, on every master. */
  scan(pattern: string, each: (key: string) => Promise<void>): Promise<void>
}

/** In runtimes with Redis clients there is a `Buffer`, the only bytes that they take. */
declare const Buffer: { from(bytes: ArrayBufferLike, offset: number, length: number): Uint8Array }

/** Arguments as the clients take them. */
export function argumentsOf(args: readonly (string | Uint8Array)[]): (string | Uint8Array)[] {
  return args.map((arg) => (typeof arg === 'string' ? arg : Buffer.from(arg.buffer, arg.byteOffset, arg.byteLength)))
}

const decoder = new TextDecoder()

/** A bulk string's text. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : value instanceof Uint8Array ? decoder.decode(value) : String(value ?? '')
}

/** Goes over the keys of one server. */
export async function scanNode(
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
