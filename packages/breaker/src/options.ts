import { BreakerError } from './errors.ts'
import type { BreakerTransition, BreakerWarning } from './transition.ts'
import { type ErrorMatcher, matching, type Verdict } from './verdict.ts'
import type { WindowRules } from './window.ts'

/** One call as it went, for metrics and for `dryRun`. */
export interface CallOutcome {
  /** When it started, on the breaker's monotonic clock. */
  readonly startedAtMs: number
  readonly durationMs: number
  readonly verdict: Verdict
}

/** How a breaker counts, opens and tries again. */
export interface CircuitBreakerOptions {
  readonly name: string
  /** Counted failures inside the window at which it opens. `Infinity` leaves opening to the ratios. */
  readonly failureThreshold?: number
  readonly rollingWindowMs?: number
  /** How long it stays open before the first trial. */
  readonly openMs?: number
  /** Up to this part of `openMs` is added by chance, so that many nodes do not try at once. */
  readonly openJitterRatio?: number
  /** Trials at once while half-open, and the good ones that close it. */
  readonly halfOpenMaxCalls?: number
  /** A trial that takes longer counts as a failure; the same time without any trial and half-open begins anew. */
  readonly maxHalfOpenMs?: number
  /** `failureThreshold` counts failures in a row, whatever their age. */
  readonly consecutive?: boolean
  /** Opens also when this part of the calls in the window failed. */
  readonly failureRatio?: number
  /** Opens also when this part of the calls in the window took `slowCallMs` or longer. */
  readonly slowCallRatio?: number
  readonly slowCallMs?: number
  /** Ratios are not looked at below so many calls in the window. */
  readonly minimumCalls?: number
  /** A call that takes longer is rejected with `call_timeout` and counts as a failure. */
  readonly callTimeoutMs?: number
  /** The errors that count; all by default. */
  readonly expectedErrors?: readonly ErrorMatcher[]
  /** The errors that say nothing, even when they are expected. */
  readonly ignoreErrors?: readonly ErrorMatcher[]
  readonly onTransition?: (transition: BreakerTransition) => unknown
  readonly onWarning?: (warning: BreakerWarning) => unknown
  /** Told of every call that was made. Takes time on each call. */
  readonly onOutcome?: (outcome: CallOutcome) => unknown
  /** A monotonic clock in milliseconds: every period is measured on it. */
  readonly now?: () => number
  /** The clock on the wall, for times that people read. */
  readonly wallNow?: () => number
  readonly random?: () => number
  /** Runs `task` after `delayMs` and returns what calls it off. */
  readonly delay?: (task: () => void, delayMs: number) => () => void
}

/** The options with their defaults. */
export interface BreakerSettings extends WindowRules {
  readonly name: string
  readonly openMs: number
  readonly openJitterRatio: number
  readonly halfOpenMaxCalls: number
  readonly maxHalfOpenMs: number
  readonly slowCallMs: number | undefined
  readonly callTimeoutMs: number | undefined
  readonly classify: (error: unknown) => Verdict
  readonly onTransition: ((transition: BreakerTransition) => unknown) | undefined
  readonly onWarning: ((warning: BreakerWarning) => unknown) | undefined
  readonly onOutcome: ((outcome: CallOutcome) => unknown) | undefined
  readonly now: () => number
  readonly wallNow: () => number
  readonly random: () => number
  readonly delay: (task: () => void, delayMs: number) => () => void
}

/** Rules that more than one set of options has. */
export const period: Rule = rule(
  'a finite number above 0',
  (value) => typeof value === 'number' && value > 0 && value < Infinity,
)
/** A period that a timer waits for: the runtimes fire one with a longer delay at once. */
export const timer: Rule = rule(
  'a number above 0 and up to 2147483647',
  (value) => typeof value === 'number' && value > 0 && value <= 2_147_483_647,
)
export const count: Rule = rule(
  'a whole number above 0',
  (value) => Number.isSafeInteger(value) && (value as number) > 0,
)
export const object: Rule = rule('an object', (value) => typeof value === 'object' && value !== null)
const ratio = rule('a number above 0 and at most 1', (value) => typeof value === 'number' && value > 0 && value <= 1)
export const callable: Rule = rule('a function', (value) => typeof value === 'function')
const matchers = rule(
  'a list of strings, error classes and functions',
  (value) =>
    Array.isArray(value) &&
    value.every((item) => (typeof item === 'string' && item !== '') || typeof item === 'function'),
)

const rules: Readonly<Record<keyof CircuitBreakerOptions, Rule>> = {
  name: rule('a string that is not empty', (value) => typeof value === 'string' && value !== ''),
  failureThreshold: rule(
    'a whole number above 0 or `Infinity`',
    (value) => value === Infinity || (Number.isSafeInteger(value) && (value as number) > 0),
  ),
  rollingWindowMs: period,
  openMs: period,
  openJitterRatio: rule('a number from 0 to 1', (value) => typeof value === 'number' && value >= 0 && value <= 1),
  halfOpenMaxCalls: count,
  maxHalfOpenMs: period,
  consecutive: rule('a boolean', (value) => typeof value === 'boolean'),
  failureRatio: ratio,
  slowCallRatio: ratio,
  slowCallMs: period,
  minimumCalls: count,
  callTimeoutMs: timer,
  expectedErrors: matchers,
  ignoreErrors: matchers,
  onTransition: callable,
  onWarning: callable,
  onOutcome: callable,
  now: callable,
  wallNow: callable,
  random: callable,
  delay: callable,
}

/** Fills in the defaults, or throws at the first option that cannot be right. */
export function settingsOf(options: CircuitBreakerOptions): BreakerSettings {
  checkOptions(options, rules, ['name'])
  const openMs = options.openMs ?? 60_000
  if ((options.slowCallMs === undefined) !== (options.slowCallRatio === undefined))
    throw new BreakerError('invalid_option', 'Expected `slowCallMs` and `slowCallRatio` together, got one of them')
  return {
    name: options.name,
    failureThreshold: options.failureThreshold ?? 5,
    rollingWindowMs: options.rollingWindowMs ?? 300_000,
    openMs,
    openJitterRatio: options.openJitterRatio ?? 0,
    halfOpenMaxCalls: options.halfOpenMaxCalls ?? 3,
    maxHalfOpenMs: options.maxHalfOpenMs ?? openMs,
    consecutive: options.consecutive ?? false,
    failureRatio: options.failureRatio,
    slowCallRatio: options.slowCallRatio,
    slowCallMs: options.slowCallMs,
    minimumCalls: options.minimumCalls ?? 10,
    callTimeoutMs: options.callTimeoutMs,
    classify: classifier(options.expectedErrors, options.ignoreErrors),
    onTransition: options.onTransition,
    onWarning: options.onWarning,
    onOutcome: options.onOutcome,
    now: options.now ?? (() => performance.now()),
    wallNow: options.wallNow ?? (() => Date.now()),
    random: options.random ?? (() => Math.random()),
    delay: options.delay ?? after,
  }
}

function classifier(
  expected: readonly ErrorMatcher[] | undefined,
  ignored: readonly ErrorMatcher[] | undefined,
): (error: unknown) => Verdict {
  const counts = expected === undefined ? undefined : matching(expected)
  const says = ignored === undefined ? undefined : matching(ignored)
  return (error) => {
    if (says?.(error) === true) return 'neutral'
    return counts === undefined || counts(error) ? 'failure' : 'ok'
  }
}

function after(task: () => void, delayMs: number): () => void {
  const timer = setTimeout(task, delayMs)
  return () => clearTimeout(timer)
}

/** What an option has to be. */
export interface Rule {
  readonly expected: string
  readonly holds: (value: unknown) => boolean
}

export function rule(expected: string, holds: (value: unknown) => boolean): Rule {
  return { expected, holds }
}

/** Throws at an unknown option, at one that breaks its rule, and at a missing one of `required`. */
export function checkOptions<Options extends object>(
  options: Options,
  known: Readonly<Record<keyof Options & string, Rule>>,
  required: readonly (keyof Options & string)[],
): void {
  for (const [name, value] of Object.entries(options)) {
    const wanted: Rule | undefined = Object.hasOwn(known, name) ? known[name as keyof Options & string] : undefined
    if (wanted === undefined) throw new BreakerError('invalid_option', `Unknown option \`${name}\``)
    if (value === undefined ? required.includes(name as keyof Options & string) : !wanted.holds(value))
      throw unexpected(name, wanted, value)
  }
  for (const name of required) if (options[name] === undefined) throw unexpected(name, known[name], undefined)
}

function unexpected(name: string, { expected }: Rule, value: unknown): BreakerError {
  return new BreakerError('invalid_option', `Expected \`${name}\` to be ${expected}, got \`${shown(value)}\``)
}

function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'function') return 'a function'
  return Array.isArray(value) ? 'a list' : String(value)
}
