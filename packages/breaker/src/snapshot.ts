import { type BreakerSettings, checkOptions, type Rule, rule } from './options.ts'
import type { CircuitState, ForcedMode } from './transition.ts'

/**
 * A breaker's state as JSON. Times are ages and remainders in milliseconds, never the reading of a clock, so that one node's
 * snapshot means the same on another.
 */
export interface BreakerSnapshot {
  readonly version: 1
  readonly state: CircuitState
  readonly forced: ForcedMode | null
  /** How long it would have stayed open, up to `openMs`. */
  readonly openRemainingMs: number
  /** The ages of the failures in the window, oldest first. */
  readonly failureAgesMs: readonly number[]
  /** Failures since the last good call. */
  readonly streak: number
  readonly lastFailureAgeMs: number | null
}

const age = rule('a finite number from 0 up', isAge)
const rules: Readonly<Record<keyof BreakerSnapshot, Rule>> = {
  version: rule('1', (value) => value === 1),
  state: rule('CLOSED, OPEN or HALF_OPEN', (value) => value === 'CLOSED' || value === 'OPEN' || value === 'HALF_OPEN'),
  forced: rule(
    'null, open, closed or disabled',
    (value) => value === null || value === 'open' || value === 'closed' || value === 'disabled',
  ),
  openRemainingMs: age,
  failureAgesMs: rule('a list of finite numbers from 0 up', (value) => Array.isArray(value) && value.every(isAge)),
  streak: rule('a whole number from 0 up', (value) => Number.isSafeInteger(value) && (value as number) >= 0),
  lastFailureAgeMs: rule('null or a finite number from 0 up', (value) => value === null || isAge(value)),
}

/** The snapshot that `value` is, or in words why it is none. */
export function parseSnapshot(value: unknown, { openMs, openJitterRatio }: BreakerSettings): BreakerSnapshot | string {
  if (typeof value !== 'object' || value === null) return 'Expected an object'
  const snapshot = value as BreakerSnapshot
  try {
    checkOptions(snapshot, rules, Object.keys(rules) as (keyof BreakerSnapshot)[])
  } catch (error) {
    return (error as Error).message
  }
  const { state, forced, openRemainingMs } = snapshot
  if (forced !== null && state !== (forced === 'open' ? 'OPEN' : 'CLOSED'))
    return `Expected \`forced\` and \`state\` to agree, got \`${forced}\` and \`${state}\``
  if (openRemainingMs > openMs * (1 + openJitterRatio))
    return `Expected \`openRemainingMs\` to be at most \`openMs\`, got \`${openRemainingMs}\``
  return snapshot
}

function isAge(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value < Number.POSITIVE_INFINITY
}
