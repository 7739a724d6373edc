import type { CircuitState } from './transition.ts'

/** What went wrong. Branch on this, never on the class. */
export type BreakerErrorCode = 'invalid_option' | 'unknown_breaker' | 'duplicate_breaker' | 'call_timeout'

/** Every error that this package throws, apart from the refusal of an open breaker. */
export class BreakerError extends Error {
  override readonly name = 'BreakerError'
  readonly code: BreakerErrorCode

  constructor(code: BreakerErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** The breaker that refuses. */
export interface Refuser {
  readonly name: string
  /** A time of the breaker's clock on the wall's. */
  wall(at: number): Date
}

/** A call that was not made because the breaker is open, or half-open with all its trials taken. */
export class CircuitBreakerOpenError extends Error {
  declare readonly name: 'CircuitBreakerOpenError'
  declare readonly code: 'breaker_open'
  readonly circuitBreakerName: string
  readonly state: CircuitState
  /** When a call may be worth it again, from now. */
  readonly retryAfterMs: number
  /** The failure that opened the breaker, where there was one. */
  override readonly cause: unknown
  readonly #refuser: Refuser
  readonly #openUntil: number | undefined

  private constructor(
    refuser: Refuser,
    state: CircuitState,
    retryAfterMs: number,
    openUntil: number | undefined,
    cause: unknown,
  ) {
    super(`The circuit breaker \`${refuser.name}\` is ${state}`)
    this.circuitBreakerName = refuser.name
    this.state = state
    this.retryAfterMs = retryAfterMs
    this.cause = cause
    this.#refuser = refuser
    this.#openUntil = openUntil
  }

  /** Makes the error without a stack: a refusal is an answer, and capturing one would cost more than the refusal. */
  static of(
    refuser: Refuser,
    state: CircuitState,
    retryAfterMs: number,
    openUntil: number | undefined,
    cause: unknown,
  ): CircuitBreakerOpenError {
    if (!stackTraceLimitWritable()) return new CircuitBreakerOpenError(refuser, state, retryAfterMs, openUntil, cause)
    const limit = traces.stackTraceLimit
    traces.stackTraceLimit = 0
    const error = new CircuitBreakerOpenError(refuser, state, retryAfterMs, openUntil, cause)
    traces.stackTraceLimit = limit
    return error
  }

  /** When the breaker lets a trial through, by the wall clock; `undefined` when it is forced open or already half-open. */
  get nextAttemptTime(): Date | undefined {
    return this.#openUntil === undefined ? undefined : this.#refuser.wall(this.#openUntil)
  }

  /** The whole seconds a client is asked to wait, at least 1 (RFC 9110 §10.2.3). */
  get retryAfterSeconds(): number {
    return Math.max(1, Math.ceil(this.retryAfterMs / 1_000))
  }

  /** The answer for a client, which Hono takes from an error by itself. */
  getResponse(): Response {
    const problem = {
      type: 'urn:gw:problem:breaker_open',
      title: 'Service temporarily unavailable',
      status: 503,
      detail: this.message,
      code: 'breaker_open',
      retryable: true,
      circuit_breaker_open: true,
      service: this.circuitBreakerName,
      state: this.state,
    }
    return new Response(JSON.stringify(problem), {
      status: 503,
      headers: {
        'content-type': 'application/problem+json',
        'retry-after': String(this.retryAfterSeconds),
        'cache-control': 'no-store',
      },
    })
  }
}

// On the prototype, so that making one costs two fields less.
Object.defineProperties(CircuitBreakerOpenError.prototype, {
  name: { value: 'CircuitBreakerOpenError', configurable: true, writable: true },
  code: { value: 'breaker_open', configurable: true, enumerable: true },
})

/** `Error`, with what V8 and JavaScriptCore have besides. */
const traces: { stackTraceLimit: number } = Error as never
let writable: boolean | undefined

/** Under frozen intrinsics an assignment would throw; elsewhere than V8 and JavaScriptCore there is no limit to set. */
function stackTraceLimitWritable(): boolean {
  writable ??= Object.getOwnPropertyDescriptor(Error, 'stackTraceLimit')?.writable === true
  return writable
}
