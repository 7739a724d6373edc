/** What went wrong. Branch on this, never on the class. */
export type CheckpointErrorCode =
  | 'invalid_option'
  | 'duplicate_operation'
  | 'not_serializable'
  | 'not_transactional'
  | 'store_too_weak'
  | 'internal_table'
  | 'not_found'
  | 'already_finished'
  | 'not_resumable'
  | 'corrupt_record'
  | 'lease_lost'
  | 'run_cancelled'
  | 'run_parked'
  | 'run_unwinding'
  | 'step_timeout'
  | 'upstream_unavailable'
  | 'storage_unknown'
  | 'stale'
  | 'invalid_progress'
  | 'stopping'
  | 'cold_unavailable'
  | 'cold_unknown'
  | 'cold_denied'
  | 'cold_rejected'
  | 'bucket_not_found'
  | 'condition_ignored'
  | 'key_unknown'
  | 'seal_broken'
  | 'not_sealed'
  | 'payload_erased'

/** Every error that this package throws. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError'
  readonly code: CheckpointErrorCode

  constructor(code: CheckpointErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/**
 * Thrown by a handler or a step whose dependency is away for a while (an open breaker, an exhausted pool): the run waits until
 * `retryAtMs` and goes on from its last kept step, and no attempt is spent.
 */
export class ParkError extends Error {
  override readonly name = 'ParkError'
  readonly code = 'parked'
  /** Milliseconds since the epoch. */
  readonly retryAtMs: number
  readonly reason: string

  constructor(reason: string, retryAtMs: number, options?: ErrorOptions) {
    super(reason, options)
    this.reason = reason
    this.retryAtMs = retryAtMs
  }
}
