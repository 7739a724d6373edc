/** Why a call was refused, or what is known of one that was not answered. */
export type PostgresErrorCode =
  | 'refused'
  | 'constraint'
  | 'procedure_failed'
  | 'unavailable'
  | 'unknown'
  | 'write_queue_full'
  | 'schema_too_new'
  | 'invalid_option'
  | 'closed'

/** Every error that this package throws of its own. Branch on `code`. */
export class PostgresError extends Error {
  override readonly name = 'PostgresError'
  readonly code: PostgresErrorCode
  /** What the procedure gave as `refused`, with code `refused`. */
  readonly reason: unknown

  constructor(code: PostgresErrorCode, message: string, options: { cause?: unknown; reason?: unknown } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.reason = options.reason
  }
}

/**
 * What an error says about its transaction, which is rolled back in each case but `lost` while a COMMIT is on its way:
 * `again` when the same statements may succeed at the next try, `lost` when the connection is gone or no longer fit,
 * `exhausted` when the server lacks room, `constraint` and `failed` when one of the units is at fault.
 */
export type Failure = 'again' | 'lost' | 'exhausted' | 'constraint' | 'failed'

/** Serialization failure, deadlock, lock not available, statement timeout. */
const again = new Set(['40001', '40P01', '55P03', '57014'])
/** The server takes no writes here (a standby), or ended the session. */
const lost = new Set(['25006', '25P03', '25P04', '57P01', '57P02', '57P03', '57P05'])
/** Connection, and what postgres.js and sockets say; resources, system, corruption. */
const lostClass = /^(?:08...|CONNECTION_.*|CONNECT_TIMEOUT|E[A-Z]{3,})$/
const exhaustedClass = /^(?:53|58|XX)/

/** Sorts an error of a statement by its SQLSTATE, under whatever wraps it. */
export function failureOf(error: unknown): Failure {
  const code = codeOf(error)
  if (code === undefined) return 'failed'
  if (again.has(code)) return 'again'
  if (lost.has(code) || lostClass.test(code)) return 'lost'
  if (code.startsWith('23')) return 'constraint'
  return exhaustedClass.test(code) ? 'exhausted' : 'failed'
}

/** Whether PostgreSQL said it: the codes of another library's errors may look like its own. */
export function isOfServer(error: unknown): boolean {
  const root = rootOf(error)
  return root instanceof Error && 'severity' in root
}

/** The innermost error: drizzle's wrapper writes the parameters into its message, which must not reach a log. */
export function rootOf(error: unknown): unknown {
  let root = error
  for (let depth = 0; depth < 8 && root instanceof Error && root.cause instanceof Error; depth++) root = root.cause
  return root
}

/** The text of an error without parameters. */
export function textOf(error: unknown): string {
  const root = rootOf(error)
  return root instanceof Error ? root.message : String(root)
}

function codeOf(error: unknown): string | undefined {
  const root = rootOf(error)
  const code = root instanceof Error && 'code' in root ? root.code : undefined
  return typeof code === 'string' ? code : undefined
}

/** Says which option cannot be right. */
export function invalid(name: string, expected: string, value: unknown): PostgresError {
  return new PostgresError('invalid_option', `Expected \`${name}\` to be ${expected}, got \`${String(value)}\``)
}

/** Node fires a timer with a longer delay at once. */
const longestTimerMs = 2_147_483_647

/** Refuses a deadline that no timer keeps. */
export function checkDeadline(deadlineMs: unknown): void {
  if (!(typeof deadlineMs === 'number' && deadlineMs > 0 && deadlineMs <= longestTimerMs)) {
    throw invalid('deadlineMs', `a number above 0 and up to ${longestTimerMs}`, deadlineMs)
  }
}

/** The error of a database that has been closed. */
export function closedError(): PostgresError {
  return new PostgresError('closed', 'The database has been closed')
}
