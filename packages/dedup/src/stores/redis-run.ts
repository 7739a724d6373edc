import { hexOf } from '../crypto.ts'
import { codeOf, DedupError } from '../errors.ts'
import type { RedisCommands } from './redis-commands.ts'
import { Deadlines } from './redis-deadline.ts'
import { type ScriptName, scripts } from './redis-scripts.ts'

/** Runs scripts by their digest, each call under the deadline. */
export class Scripts {
  readonly commands: RedisCommands
  readonly #deadlines: Deadlines
  readonly #digests = new Map<ScriptName, string>()

  constructor(commands: RedisCommands, deadlineMs: number) {
    this.commands = commands
    this.#deadlines = new Deadlines(deadlineMs)
  }

  async bounded<Result>(call: Promise<Result>): Promise<Result> {
    try {
      return await this.#deadlines.bound(call)
    } catch (error) {
      throw failureOf(error)
    }
  }

  send(key: string, args: readonly (string | Uint8Array)[]): Promise<unknown> {
    return this.bounded(this.commands.send(key, args))
  }

  async run(script: ScriptName, key: string, args: readonly (string | Uint8Array)[]): Promise<unknown> {
    const digest = this.#digests.get(script) ?? (await this.#digest(script))
    try {
      return await this.#deadlines.bound(this.commands.send(key, ['EVALSHA', digest, '1', key, ...args]))
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw failureOf(error)
    }
    return this.send(key, ['EVAL', scripts[script], '1', key, ...args])
  }

  async #digest(script: ScriptName): Promise<string> {
    const bytes = new Uint8Array(await crypto.subtle.digest('SHA-1', new TextEncoder().encode(scripts[script])))
    const digest = hexOf(bytes)
    this.#digests.set(script, digest)
    return digest
  }
}

/** What a server answers that takes no write now: nothing was applied. */
const refusing =
  /^(LOADING|READONLY|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|NOREPLICAS|MISCONF|OOM|NOPERM|NOAUTH|WRONGPASS|BUSY|UNKILLABLE|MOVED|ASK|NOSCRIPT|UNBLOCKED)\b/
/** What the clients say when they have not sent a command. */
const unsent = new Set(['ClientClosedError', 'ClientOfflineError', 'ConnectionTimeoutError'])
const unsentMessages = new Set([
  'The queue is full',
  'The command was aborted',
  "Stream isn't writeable and enableOfflineQueue options is false",
  "Cluster isn't ready and enableOfflineQueue options is false",
])

/** Tells what certainly was not applied from what may have been. */
function failureOf(cause: unknown): unknown {
  if (cause instanceof DedupError) return cause
  const name = cause instanceof Error ? cause.constructor.name : ''
  const message = cause instanceof Error ? cause.message : String(cause)
  const code = codeOf(cause)
  const certain = unsent.has(name) || unsentMessages.has(message) || refusing.test(message) || code === 'ECONNREFUSED'
  return new DedupError(
    certain ? 'unavailable' : 'unknown',
    certain ? 'Redis takes no writes now' : 'The connection to Redis was lost before it answered',
    { cause },
  )
}
