import { DivergenceError } from './replay.ts'
import type { Run } from './run.ts'
import { storableText } from './run-record.ts'
import { withoutSecrets } from './without-secrets.ts'

/** How a handler's retryable error is tried again, with the run waiting in the store in between. */
export interface RetryPolicy {
  readonly maxAttempts: number
  readonly initialMs: number
  readonly factor: number
  readonly maxMs: number
  readonly jitterRatio: number
  readonly retryable: (error: unknown) => boolean
}

/** What a failure is called in the run's record. */
export interface ErrorClass {
  readonly code: string
}

/** What becomes of a run after its handler ended. */
export type Verdict =
  | { readonly kind: 'complete' }
  | { readonly kind: 'lost' }
  | { readonly kind: 'cancel' }
  | { readonly kind: 'fail'; readonly reason: string; readonly error: ErrorClass }
  | {
      readonly kind: 'suspend'
      readonly status: 'queued' | 'waiting' | 'parked'
      readonly reason: string
      readonly wakeAt: number | undefined
      readonly attempt: number
    }

/** Three attempts, after 1 s and 2 s, for errors that say they are `retryable`. */
export const defaultRetry: RetryPolicy = {
  maxAttempts: 3,
  initialMs: 1_000,
  factor: 2,
  maxMs: 300_000,
  jitterRatio: 0.2,
  retryable: (error) => field(error, 'retryable') === true,
}

/** Decides from the handler's end what becomes of the run. */
export function verdictOn(
  run: Run,
  error: unknown,
  attempt: number,
  policy: RetryPolicy,
  now: number,
  random: () => number,
): Verdict {
  const stopped = run.stopped
  if (stopped !== undefined) {
    if (stopped instanceof DivergenceError) return parked(`the handler diverged: ${stopped.message}`, attempt)
    const code = field(stopped, 'code')
    if (code === 'run_parked') return parked(stopped.message, attempt)
    return code === 'run_cancelled' ? { kind: 'cancel' } : { kind: 'lost' }
  }
  if (error === undefined) {
    const { unrequested } = run
    return unrequested === undefined
      ? { kind: 'complete' }
      : parked(`the handler diverged: kept ${unrequested}, got the end of the handler`, attempt)
  }
  const retryAtMs = wholeMs(field(error, 'retryAtMs'))
  if (field(error, 'code') === 'parked' && retryAtMs !== undefined) {
    return { kind: 'suspend', status: 'waiting', reason: messageOf(error), wakeAt: retryAtMs, attempt }
  }
  if (attempt < policy.maxAttempts && mayRetry(policy, error)) {
    const { initialMs, factor, maxMs, jitterRatio } = policy
    const retryAfterMs = wholeMs(field(error, 'retryAfterMs')) ?? 0
    const backoffMs = Math.min(maxMs, initialMs * factor ** (attempt - 1)) * (1 + jitterRatio * (random() - 0.5))
    const waitMs = Math.max(backoffMs, retryAfterMs)
    return {
      kind: 'suspend',
      status: 'waiting',
      reason: `attempt ${attempt} failed: ${messageOf(error)}`,
      wakeAt: Math.ceil(now + waitMs),
      attempt: attempt + 1,
    }
  }
  const code = field(error, 'code')
  return {
    kind: 'fail',
    reason: messageOf(error),
    error: { code: typeof code === 'string' && /^[a-z][a-z0-9_]*$/.test(code) ? code : 'handler_failed' },
  }
}

/** A time as a row can keep it: what others reckon may be a fraction, `NaN` or without end. */
function wholeMs(value: unknown): number | undefined {
  const ms = typeof value === 'number' ? Math.ceil(value) : undefined
  return Number.isSafeInteger(ms) ? ms : undefined
}

/** A rule that throws has not said that the error may be tried again. */
function mayRetry({ retryable }: RetryPolicy, error: unknown): boolean {
  try {
    return retryable(error)
  } catch {
    return false
  }
}

function parked(reason: string, attempt: number): Verdict {
  return { kind: 'suspend', status: 'parked', reason, wakeAt: undefined, attempt }
}

/** Query builders write the parameters into their message, drivers their URL; neither must become the run's reason. */
export function messageOf(error: unknown): string {
  const telling = error instanceof Error && 'params' in error && error.cause instanceof Error ? error.cause : error
  const text = (telling instanceof Error ? telling.message : String(telling)).slice(0, 4_096)
  return storableText(withoutSecrets(text).slice(0, 500))
}

function field(error: unknown, name: string): unknown {
  return typeof error === 'object' && error !== null ? Reflect.get(error, name) : undefined
}
