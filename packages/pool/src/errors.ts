/** What went wrong. Branch on this, never on the class. */
export type PoolErrorCode =
  | 'pool_exhausted'
  | 'pool_draining'
  | 'pool_factory_failed'
  | 'pool_aborted'
  | 'pool_start_timeout'
  | 'breaker_open'
  | 'unknown_factory'
  | 'lease_released'
  | 'invalid_option'

/** The pool as it was when the error was made. */
export interface PoolFigures {
  readonly active: number
  readonly idle: number
  readonly pendingCreate: number
  readonly total: number
  readonly max: number
  readonly waiting: number
}

/** What a `PoolError` carries beside its message. */
export interface PoolErrorDetails {
  readonly pool?: string | undefined
  readonly factory?: string | undefined
  readonly figures?: PoolFigures | undefined
  readonly retryAfterMs?: number | undefined
  readonly cause?: unknown
}

const unavailable: ReadonlySet<PoolErrorCode> = new Set([
  'pool_exhausted',
  'pool_draining',
  'pool_factory_failed',
  'pool_aborted',
  'pool_start_timeout',
  'breaker_open',
])

const titles: Partial<Record<PoolErrorCode, string>> = {
  pool_exhausted: 'No connection became free in time',
  pool_draining: 'The server is shutting down',
  pool_factory_failed: 'No connection could be made',
  pool_aborted: 'The request was given up',
  pool_start_timeout: 'The connections are not ready',
  breaker_open: 'No connection is tried for the moment',
}

/** Every error that this package throws. Hono answers it by itself: 503 as problem+json with `Retry-After`, or 500 for a mistake in the program. */
export class PoolError extends Error {
  override readonly name = 'PoolError'
  readonly code: PoolErrorCode
  /** The name of the `ConnectionPool`. */
  readonly pool: string | undefined
  /** The name that the factory was registered under. */
  readonly factory: string | undefined
  readonly figures: PoolFigures | undefined
  /** How long to wait before trying again has a chance; absent where time does not help. */
  readonly retryAfterMs: number | undefined

  constructor(code: PoolErrorCode, message: string, details: PoolErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.pool = details.pool
    this.factory = details.factory
    this.figures = details.figures
    this.retryAfterMs = details.retryAfterMs
  }

  /** The answer for a client (RFC 9457). It names neither the cause nor the host. */
  getResponse(): Response {
    const known = unavailable.has(this.code)
    const status = known ? 503 : 500
    const code = known ? this.code : 'internal_error'
    const headers: Record<string, string> = {
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
    }
    if (known) headers['retry-after'] = String(Math.max(1, Math.ceil((this.retryAfterMs ?? 1_000) / 1_000)))
    return new Response(
      JSON.stringify({
        type: `urn:gw:problem:${code}`,
        title: titles[this.code] ?? 'Internal error',
        status,
        code,
        retryable: known,
        ...(known && this.pool !== undefined ? { pool: this.pool } : {}),
      }),
      { status, headers },
    )
  }
}
