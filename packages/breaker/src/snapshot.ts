import type { BreakerSettings } from './options.ts'
import type { CircuitState, ForcedMode } from './transition.ts'

/**
 * A breaker's state as JSON. Times are ages and remainders in milliseconds, never the reading of a clock, so that one node's
 * snapshot means the same on another.
 */
export interface BreakerSnapshot {
  readonly version: 1
  readonly state: CircuitState
  readonly forced: ForcedMode | null
  /** How long it would have stayed open. */
  readonly openRemainingMs: number
  /** The ages of the failures in the window, oldest first. */
  readonly failureAgesMs: readonly number[]
  /** Failures since the last good call. */
  readonly streak: number
  readonly lastFailureAgeMs: number | null
}

const states: ReadonlySet<unknown> = new Set(['CLOSED', 'OPEN', 'HALF_OPEN'])
const modes: ReadonlySet<unknown> = new Set([null, 'open', 'closed', 'disabled'])
const known: ReadonlySet<string> = new Set([
  'version',
  'state',
  'forced',
  'openRemainingMs',
  'failureAgesMs',
  'streak',
  'lastFailureAgeMs',
])

/** The snapshot that `value` is, or in words why it is none. */
export function parseSnapshot(value: unknown, settings: BreakerSettings): BreakerSnapshot | string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'not an object'
  const fields = value as Partial<Record<keyof BreakerSnapshot, unknown>>
  for (const name of Object.keys(fields)) if (!known.has(name)) return `unknown field \`${name}\``
  const { version, state, forced, openRemainingMs, failureAgesMs, streak, lastFailureAgeMs } = fields
  if (version !== 1) return '`version` is not 1'
  if (!states.has(state)) return '`state` is none of CLOSED, OPEN, HALF_OPEN'
  if (!modes.has(forced)) return '`forced` is none of null, open, closed, disabled'
  if ((forced === 'open' && state !== 'OPEN') || ((forced === 'closed' || forced === 'disabled') && state !== 'CLOSED'))
    return '`state` and `forced` contradict each other'
  if (!isAge(openRemainingMs)) return '`openRemainingMs` is not a number from 0 up'
  if (openRemainingMs > settings.openMs * (1 + settings.openJitterRatio))
    return '`openRemainingMs` is longer than `openMs`'
  if (!Array.isArray(failureAgesMs) || !failureAgesMs.every(isAge))
    return '`failureAgesMs` is not a list of numbers from 0 up'
  if (!Number.isSafeInteger(streak) || (streak as number) < 0) return '`streak` is not a whole number from 0 up'
  if (lastFailureAgeMs !== null && !isAge(lastFailureAgeMs))
    return '`lastFailureAgeMs` is not null or a number from 0 up'
  return {
    version,
    state: state as CircuitState,
    forced: forced as ForcedMode | null,
    openRemainingMs,
    failureAgesMs: failureAgesMs as readonly number[],
    streak: streak as number,
    lastFailureAgeMs,
  }
}

function isAge(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value < Number.POSITIVE_INFINITY
}
