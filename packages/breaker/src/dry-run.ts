import { CircuitBreaker } from './circuit-breaker.ts'
import { BreakerError, type CircuitBreakerOpenError } from './errors.ts'
import type { CallOutcome, CircuitBreakerOptions } from './options.ts'
import type { Permit } from './permit.ts'
import type { TransitionReason } from './transition.ts'

/** A configuration to try; clocks and hooks are the dry run's own. */
export type DryRunOptions = Omit<
  CircuitBreakerOptions,
  'now' | 'wallNow' | 'delay' | 'onTransition' | 'onWarning' | 'onOutcome' | 'expectedErrors' | 'ignoreErrors'
>

/** What a breaker would have done. */
export interface DryRunReport {
  readonly calls: number
  /** Calls that it would have made. */
  readonly made: number
  /** Calls that it would have refused. */
  readonly refused: number
  /** Refused calls that had in fact failed: what the breaker would have spared. */
  readonly sparedFailures: number
  /** Refused calls that had in fact been good: what it would have cost. */
  readonly lostSuccesses: number
  readonly openings: readonly { readonly atMs: number; readonly reason: TransitionReason }[]
  /** The time between opening and closing, half-open included. */
  readonly notClosedMs: number
}

interface Step {
  readonly atMs: number
  readonly ends: boolean
  readonly index: number
}

/**
 * Replays recorded outcomes against a configuration and tells what it would have made of them. The breaker is a real one on
 * the record's clock. A call that took longer than the candidate's `callTimeoutMs` ends there, as a failure.
 */
export async function dryRun(outcomes: Iterable<CallOutcome>, options: DryRunOptions): Promise<DryRunReport> {
  const calls = [...outcomes]
  const { callTimeoutMs, slowCallMs, ...rest } = options
  const steps: Step[] = []
  for (const [index, { startedAtMs, durationMs }] of calls.entries()) {
    if (!(Number.isFinite(startedAtMs) && durationMs >= 0 && durationMs < Number.POSITIVE_INFINITY))
      throw new BreakerError('invalid_option', `Expected outcome ${index} to have finite times, got none`)
    const endsAtMs = startedAtMs + Math.min(durationMs, callTimeoutMs ?? durationMs)
    steps.push({ atMs: startedAtMs, ends: false, index }, { atMs: endsAtMs, ends: true, index })
  }
  // At the same instant, what ends makes room for what starts; a call without a duration still starts first.
  steps.sort((a, b) => a.atMs - b.atMs || rank(a, calls) - rank(b, calls) || a.index - b.index)

  let nowMs = steps[0]?.atMs ?? 0
  let openedAt: number | undefined
  let notClosedMs = 0
  const openings: { readonly atMs: number; readonly reason: TransitionReason }[] = []
  const breaker = new CircuitBreaker({
    ...rest,
    ...(callTimeoutMs === undefined ? {} : { callTimeoutMs }),
    ...(slowCallMs === undefined ? {} : { slowCallMs }),
    now: () => nowMs,
    wallNow: () => nowMs,
    onTransition({ to, reason }) {
      if (to === 'OPEN') {
        openings.push({ atMs: nowMs, reason })
        openedAt ??= nowMs
      } else if (to === 'CLOSED' && openedAt !== undefined) {
        notClosedMs += nowMs - openedAt
        openedAt = undefined
      }
    },
  })
  const permits = new Map<number, Permit>()
  let refused = 0
  let sparedFailures = 0
  let lostSuccesses = 0
  for (const { atMs, ends, index } of steps) {
    nowMs = atMs
    const { durationMs, verdict } = calls[index]!
    if (!ends) {
      const permit = await breaker.permit().catch((error: CircuitBreakerOpenError) => {
        if (error.code !== 'breaker_open') throw error
        return undefined
      })
      if (permit !== undefined) permits.set(index, permit)
      else {
        refused++
        if (verdict === 'failure') sparedFailures++
        if (verdict === 'ok') lostSuccesses++
      }
      continue
    }
    const permit = permits.get(index)
    permits.delete(index)
    if (permit === undefined) continue
    const timedOut = callTimeoutMs !== undefined && durationMs > callTimeoutMs
    if (timedOut || verdict === 'failure') await permit.fail()
    else if (verdict === 'neutral') await permit.release()
    else await permit.succeed()
  }
  if (openedAt !== undefined) notClosedMs += nowMs - openedAt
  return {
    calls: calls.length,
    made: calls.length - refused,
    refused,
    sparedFailures,
    lostSuccesses,
    openings,
    notClosedMs,
  }
}

function rank({ ends, index }: Step, calls: readonly CallOutcome[]): number {
  if (!ends) return 1
  return calls[index]!.durationMs === 0 ? 2 : 0
}
