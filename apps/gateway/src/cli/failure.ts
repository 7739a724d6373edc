import { GatewayError } from '../errors.ts'

/** What the commands end with; each `--help` says which of them it can be. The numbers above 63 are those of sysexits(3). */
export const exit = {
  done: 0,
  /** It could not be done, or what was looked at is not in order. */
  failed: 1,
  /** The command line itself is wrong. */
  usage: 64,
  /** No gateway, or no store, answers. */
  unavailable: 69,
  storageFailed: 74,
  denied: 77,
  configuration: 78,
} as const

export type ExitCode = (typeof exit)[keyof typeof exit]

/** Ends a command with a sentence for whoever typed it. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly exitCode: ExitCode

  constructor(message: string, exitCode: ExitCode = exit.failed, options?: ErrorOptions) {
    super(message, options)
    this.exitCode = exitCode
  }
}

/** Errors of the configuration, for which starting again is no help. */
const refused: ReadonlySet<string> = new Set([
  'admin_token_missing',
  'admin_token_short',
  'invalid_configuration',
  'invalid_option',
  'unknown_option',
])

/** Of a data directory that cannot be written or read: of SQLite's files, and of any other. */
const storage: ReadonlySet<string> = new Set(['storage_failed', 'storage_full', 'ENOSPC', 'EDQUOT', 'EIO', 'EROFS'])

/** What a command ends with that threw `error`. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CommandError) return error.exitCode
  const code = codeOf(error)
  if (error instanceof GatewayError && refused.has(error.code)) return exit.configuration
  if (code !== undefined && storage.has(code)) return exit.storageFailed
  return code === 'unavailable' || code === 'cold_unavailable' ? exit.unavailable : exit.failed
}

/** What an error says, and what the one behind it says where that adds something. Passwords in URLs are left out. */
export function messageOf(error: unknown): string {
  const own = error instanceof Error ? error.message : String(error)
  const { cause } = error instanceof Error ? error : {}
  const behind = cause instanceof Error && !own.includes(cause.message) ? cause.message : ''
  const text = own === '' ? behind : behind === '' ? own : `${own} (${behind})`
  return (text === '' ? (codeOf(error) ?? 'It failed without saying why') : text).replaceAll(
    /(:\/\/[^:@/\s]*):[^@/\s]*@/g,
    '$1:••••••••@',
  )
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
