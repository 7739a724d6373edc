import { type PoolClock, systemClock } from './clock.ts'
import { PoolError } from './errors.ts'
import { checkPreWarm, type PreWarmWindow } from './pre-warm.ts'

/** How a `ConnectionPool` behaves. Every figure holds for each registered factory on its own. */
export interface PoolOptions {
  /** Names the pool in errors, metrics and hooks. */
  readonly name: string
  /** Connections to keep. 5 */
  readonly min?: number
  /** Connections at most, those being opened and closed included. 50 */
  readonly max?: number
  /** How long `acquire` waits. 30 s */
  readonly acquireTimeoutMs?: number
  /** How long a connection above `min` may lie idle. 5 min */
  readonly idleTimeoutMs?: number
  /** How old a connection becomes, less a random tenth at most; a loan is never cut short. 1 h */
  readonly maxLifetimeMs?: number
  /** How often each idle connection is tested while nobody waits; 0 never. 60 s */
  readonly healthCheckIntervalMs?: number
  /** Failed tests in a row after which every connection is replaced. 3 */
  readonly maxFailuresBeforeRefresh?: number
  /** Hours of the day in which more connections are kept. */
  readonly preWarm?: readonly PreWarmWindow[]
  /** How long before such hours the connections are opened, spread over that time. 5 min */
  readonly preWarmLeadMs?: number
  /** Keeps as many connections as the measured demand needs, between `min` and `max`. false */
  readonly adaptive?: boolean
  /** How long a connect may take. 5 s */
  readonly createTimeoutMs?: number
  /** How long a test may take. 1 s */
  readonly validateTimeoutMs?: number
  /** How long a close may take, after which its place is free. 5 s */
  readonly destroyTimeoutMs?: number
  /** A connection used within this time is lent without a test; 0 tests every time. 500 ms */
  readonly validateAfterIdleMs?: number
  /** Connects at once. 4 */
  readonly connectConcurrency?: number
  /** The first pause after a failed connect; it doubles with each further one. 50 ms */
  readonly backoffMs?: number
  /** The longest such pause. 5 s */
  readonly maxBackoffMs?: number
  /** Requests that may wait; one more is refused at once. 10,000 */
  readonly maxWaiting?: number
  /** How much waiting outweighs one step of priority. 1 s */
  readonly agingMs?: number
  /** A loan longer than this is reported with the stack that took it; 0 reports none and records no stacks. 0 */
  readonly leakThresholdMs?: number
  /** Period of the one timer behind lifetimes, idleness, tests, schedules and the minimum. 500 ms */
  readonly sweepIntervalMs?: number
  readonly clock?: PoolClock
  /** The wall clock, for the hours of `preWarm` only. `Date.now` */
  readonly now?: () => number
  /** `Math.random` */
  readonly random?: () => number
  /** Told what happens to the pool as a whole. What it throws is dropped. */
  readonly onTransition?: (event: PoolTransition) => void
  /** Told of loans that are too long or were forgotten. What it throws is dropped. */
  readonly onLeak?: (event: PoolLeak) => void
}

/** What happened to the pool of one factory. */
export interface PoolTransition {
  readonly pool: string
  readonly factory: string
  readonly type: 'started' | 'failing' | 'recovered' | 'breaker_open' | 'refreshed' | 'resized' | 'draining' | 'drained'
  readonly cause?: unknown
}

/** A loan that is too long, or whose lease nobody has any more. */
export interface PoolLeak {
  readonly pool: string
  readonly factory: string
  readonly heldMs: number
  /** Whether the lease was garbage and the connection has been closed. */
  readonly reclaimed: boolean
  /** Where the lease was taken; only with `leakThresholdMs`. */
  readonly stack: string | undefined
}

/** Options with nothing left out. */
export type ResolvedOptions = { readonly [Name in keyof PoolOptions]-?: Exclude<PoolOptions[Name], undefined> }

const defaults: Omit<ResolvedOptions, 'name'> = {
  min: 5,
  max: 50,
  acquireTimeoutMs: 30_000,
  idleTimeoutMs: 300_000,
  maxLifetimeMs: 3_600_000,
  healthCheckIntervalMs: 60_000,
  maxFailuresBeforeRefresh: 3,
  preWarm: [],
  preWarmLeadMs: 300_000,
  adaptive: false,
  createTimeoutMs: 5_000,
  validateTimeoutMs: 1_000,
  destroyTimeoutMs: 5_000,
  validateAfterIdleMs: 500,
  connectConcurrency: 4,
  backoffMs: 50,
  maxBackoffMs: 5_000,
  maxWaiting: 10_000,
  agingMs: 1_000,
  leakThresholdMs: 0,
  sweepIntervalMs: 500,
  clock: systemClock,
  now: () => Date.now(),
  random: () => Math.random(),
  onTransition: () => {},
  onLeak: () => {},
}

const counts = ['max', 'maxFailuresBeforeRefresh', 'connectConcurrency', 'maxWaiting'] as const
const times = [
  'acquireTimeoutMs',
  'idleTimeoutMs',
  'maxLifetimeMs',
  'createTimeoutMs',
  'validateTimeoutMs',
  'destroyTimeoutMs',
  'backoffMs',
  'maxBackoffMs',
  'agingMs',
  'sweepIntervalMs',
] as const
const hooks = ['onTransition', 'onLeak', 'now', 'random'] as const
const clockMembers = ['now', 'setTimeout', 'clearTimeout'] as const
const timesOrZero = ['healthCheckIntervalMs', 'preWarmLeadMs', 'validateAfterIdleMs', 'leakThresholdMs'] as const
/** Node fires a timer with a longer delay at once. */
const longestTimerMs = 2_147_483_647

/** Fills in the defaults and refuses what cannot be right. */
export function resolveOptions(given: PoolOptions): ResolvedOptions {
  const options: Record<string, unknown> = { ...defaults }
  for (const [name, value] of Object.entries(given)) {
    if (name !== 'name' && !Object.hasOwn(defaults, name))
      throw new PoolError('invalid_option', `Unknown option \`${name}\``)
    if (value !== undefined) options[name] = value
  }
  const resolved = options as unknown as ResolvedOptions
  if (typeof resolved.name !== 'string' || resolved.name === '') expected('name', 'a name', resolved.name)
  for (const name of counts) checkCount(name, resolved[name])
  checkBounds(resolved.min, resolved.max)
  for (const name of times) {
    const value = resolved[name]
    if (!(typeof value === 'number' && value > 0 && value <= longestTimerMs)) {
      expected(name, `a number above 0 and up to ${longestTimerMs}`, value)
    }
  }
  for (const name of timesOrZero) {
    const value = resolved[name]
    if (!(typeof value === 'number' && value >= 0 && value <= longestTimerMs)) {
      expected(name, `a number from 0 to ${longestTimerMs}`, value)
    }
  }
  if (resolved.maxBackoffMs < resolved.backoffMs)
    expected('maxBackoffMs', 'no less than `backoffMs`', resolved.maxBackoffMs)
  for (const name of hooks) if (typeof resolved[name] !== 'function') expected(name, 'a function', resolved[name])
  if (clockMembers.some((member) => typeof resolved.clock?.[member] !== 'function'))
    expected('clock', 'a clock with timers', resolved.clock)
  if (typeof resolved.adaptive !== 'boolean') expected('adaptive', 'a boolean', resolved.adaptive)
  checkPreWarm(resolved.preWarm)
  return resolved
}

/** Refuses a time that no timer can wait; below 0 none is waited. */
export function checkWait(name: string, value: unknown): void {
  if (!(typeof value === 'number' && value <= longestTimerMs)) expected(name, `a number up to ${longestTimerMs}`, value)
}

/** Refuses bounds that no pool can keep. */
export function checkBounds(min: unknown, max: unknown): void {
  checkCount('max', max)
  if (!(Number.isSafeInteger(min) && (min as number) >= 0 && (min as number) <= (max as number))) {
    expected('min', 'a whole number from 0 to `max`', min)
  }
}

/** Throws `invalid_option`. */
export function expected(name: string, what: string, got: unknown): never {
  throw new PoolError('invalid_option', `Expected \`${name}\` to be ${what}, got \`${String(got)}\``)
}

function checkCount(name: string, value: unknown): void {
  if (!(Number.isSafeInteger(value) && (value as number) > 0)) expected(name, 'a whole number above 0', value)
}
