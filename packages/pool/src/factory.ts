/** What `create` is given. */
export interface CreateContext {
  /** Aborted when the pool no longer waits: after `createTimeoutMs`, or in a drain past its deadline. */
  readonly signal: AbortSignal
  /** Says that the connection has died: an idle one leaves the pool at once, one on loan when it comes back. */
  readonly lost: (cause?: unknown) => void
}

/**
 * How one kind of connection is made, tested and closed. Each of the three may throw, reject or never settle: the pool
 * bounds them by `createTimeoutMs`, `validateTimeoutMs` and `destroyTimeoutMs`.
 */
export interface ConnectionFactory<Connection extends object> {
  /** Makes one connection; every call gives a new object. */
  create(context: CreateContext): Promise<Connection> | Connection
  /** Whether the connection still works. `false`, an error or silence past the timeout closes it. Omitted: never asked. */
  validate?(connection: Connection): Promise<boolean> | boolean
  /** Closes the connection; its place stays taken until this has settled, or for `destroyTimeoutMs`. */
  destroy?(connection: Connection): Promise<unknown> | unknown
  /** Guards `create`: its failures drive the breaker, and an open one keeps connects back. */
  readonly breaker?: ConnectBreaker | undefined
  /** Connections to keep, in place of the pool's `min`. */
  readonly min?: number | undefined
  /** Connections at most, in place of the pool's `max`. */
  readonly max?: number | undefined
}

/**
 * The part of a circuit breaker that a pool needs. `run` calls `connect` or rejects with an error of
 * `code: 'breaker_open'` that may have `retryAfterMs`; half-open, it lets as many through as it wants trials.
 */
export interface ConnectBreaker {
  readonly state: 'CLOSED' | 'OPEN' | 'HALF_OPEN'
  run<Connection>(connect: () => Promise<Connection>): Promise<Connection>
}

/** The error of a breaker that lets nothing through. */
export function isBreakerOpen(
  error: unknown,
): error is { readonly code: 'breaker_open'; readonly retryAfterMs?: number } {
  return typeof error === 'object' && error !== null && (error as { code?: unknown }).code === 'breaker_open'
}
