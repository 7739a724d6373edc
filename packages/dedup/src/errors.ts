/**
 * What went wrong. Branch on this, never on the class.
 *
 * A store that cannot answer says `unavailable` when certainly nothing was applied, and `unknown` when it may have been.
 */
export type DedupErrorCode =
  | 'invalid_option'
  | 'secret_mismatch'
  | 'corrupt_record'
  | 'store_full'
  | 'store_unsafe'
  | 'unavailable'
  | 'unknown'
  | 'refused'
  | 'closed'

/** Every error that this package throws; what a client can cause is a response instead. */
export class DedupError extends Error {
  override readonly name = 'DedupError'
  readonly code: DedupErrorCode
  /** Why a unit was refused, with code `refused`. */
  readonly reason: unknown

  constructor(code: DedupErrorCode, message: string, options: { cause?: unknown; reason?: unknown } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.reason = options.reason
  }
}

/** The `code` that an error of any package carries. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/** Refuses an option that is not known, by its name. */
export function onlyKnown(options: object, known: ReadonlySet<string>): void {
  for (const name of Object.keys(options))
    if (!known.has(name)) throw new DedupError('invalid_option', `Unknown option \`${name}\``)
}

/** Refuses a number that is not finite and above 0. */
export function onlyPositive(options: Readonly<Record<string, number | undefined>>): void {
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && !(Number.isFinite(value) && value > 0))
      throw new DedupError('invalid_option', `Expected \`${name}\` to be a finite number above 0, got \`${value}\``)
  }
}
