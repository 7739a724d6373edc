import type { AppendResult } from './store.ts'

/** What went wrong. Branch on this, never on the class. */
export type EventErrorCode =
  | 'invalid_option'
  | 'invalid_query'
  | 'invalid_cursor'
  | 'empty_batch'
  | 'event_too_large'
  | 'version_conflict'
  | 'id_conflict'
  | 'register_conflict'
  | 'stopped'
  | 'not_supported'
  | 'projection_stopped'
  | 'projection_failed'
  | 'consumer_lost'
  | 'archive_conflict'
  | 'archive_damaged'
  | 'archive_unavailable'
  | 'subject_erased'
  | 'invalid_proof'
  | 'publish_failed'

/** Every error that this package throws. */
export class EventError extends Error {
  override readonly name = 'EventError'
  readonly code: EventErrorCode
  /** The stream's version as it is, with `version_conflict`; -1 for a stream without events. */
  readonly actualVersion: number | undefined

  constructor(
    code: EventErrorCode,
    message: string,
    options: { readonly cause?: unknown; readonly actualVersion?: number } = {},
  ) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.actualVersion = options.actualVersion
  }
}

/** Throws `invalid_option` for a name that is left over. */
export function refuseUnknown(unknown: object): void {
  const [surplus] = Object.keys(unknown)
  if (surplus !== undefined) throw new EventError('invalid_option', `Unknown option \`${surplus}\``)
}

/** Throws `invalid_option` unless `value` is a whole number of at least `least`. */
export function requireWhole(name: string, value: unknown, least = 1): void {
  if (!Number.isSafeInteger(value) || (value as number) < least)
    throw new EventError(
      'invalid_option',
      `Expected \`${name}\` to be a whole number of at least ${least}, got \`${String(value)}\``,
    )
}

/** The longest that a timer can wait; a longer one would end at once. */
const longestTimerMs = 2_147_483_647

/** Throws `invalid_option` unless `value` is whole milliseconds that a timer can wait. */
export function requireTimer(name: string, value: unknown): void {
  requireWhole(name, value)
  if ((value as number) > longestTimerMs)
    throw new EventError('invalid_option', `Expected \`${name}\` to be at most ${longestTimerMs}, got \`${value}\``)
}

/** Calls a hook; its own failure changes nothing. */
export function tell(onError: ((error: unknown) => void) | undefined, error: unknown): void {
  try {
    onError?.(error)
  } catch {
    // The hook's matter.
  }
}

/** Why a store refused a unit, or undefined for any other failure. */
export function refusalOf(error: unknown): Refusal | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error) || error.code !== 'refused') return undefined
  const reason = 'reason' in error ? error.reason : undefined
  return typeof reason === 'object' && reason !== null && 'conflict' in reason ? (reason as Refusal) : undefined
}

/** What a write of this package's stores refuses with. */
export interface Refusal {
  readonly conflict: 'version' | 'id' | 'order' | 'register' | 'base' | 'repetition'
  readonly actual?: number
  readonly name?: string
  readonly places?: readonly AppendResult[]
}
