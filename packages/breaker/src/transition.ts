/** What a breaker does with calls: passes them, refuses them, or lets a few try. */
export type CircuitState = 'CLOSED' | 'OPEN' | 'HALF_OPEN'

/** What an operator has decided over the machine's head. */
export type ForcedMode = 'open' | 'closed' | 'disabled'

/** What happened to a breaker. */
export type TransitionType =
  | 'breaker.opened'
  | 'breaker.half_opened'
  | 'breaker.closed'
  | 'breaker.reset'
  | 'breaker.forced_open'
  | 'breaker.forced_closed'
  | 'breaker.disabled'
  | 'breaker.hydrated'

/** Why it happened. */
export type TransitionReason =
  | 'failure_threshold'
  | 'consecutive_failures'
  | 'failure_ratio'
  | 'slow_calls'
  | 'trial_failed'
  | 'trial_hung'
  | 'trials_missing'
  | 'trials_succeeded'
  | 'open_elapsed'
  | 'tripped'
  | 'operator'
  | 'cluster'
  | 'snapshot'

/** One transition, complete enough to be kept as an audit event and replayed. */
export interface BreakerTransition {
  readonly type: TransitionType
  readonly name: string
  readonly from: CircuitState
  readonly to: CircuitState
  readonly reason: TransitionReason
  /** Who did it; absent when the breaker did. */
  readonly actor?: string
  /** What the actor gave as a reason. */
  readonly note?: string
  readonly forced?: ForcedMode
  /** The wall clock's time. */
  readonly at: Date
  readonly failureCount: number
  /** How long the breaker stays open; only when `to` is `OPEN` and nobody forced it. */
  readonly openForMs?: number
}

/** Something that did not work and that no call noticed. */
export interface BreakerWarning {
  readonly name: string
  readonly code: 'hook_failed' | 'snapshot_invalid' | 'store_unavailable'
  readonly message: string
  readonly cause?: unknown
}
