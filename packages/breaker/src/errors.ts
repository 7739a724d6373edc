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

/** What a refusal knows of the breaker that refused. */
export interface Refusal {
  readonly circuitBreakerName: string
  readonly state: CircuitState
  /** When a call may be worth it again, from now. */
  readonly retryAfterMs: number
  /** The wall clock's time of the next attempt; `undefined` when none is planned. */
  readonly nextAttemptAt: () => Date | undefined
  readonly cause: unknown
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
  readonly #nextAttemptAt: () => Date | undefined

  private constructor(refusal: Refusal) {
    super(`The circuit breaker \`${refusal.circuitBreakerName}\` is ${refusal.state}`)
    this.circuitBreakerName = refusal.circuitBreakerName
    this.state = refusal.state
    this.retryAfterMs = refusal.retryAfterMs
    this.cause = refusal.cause
    this.#nextAttemptAt = refusal.nextAttemptAt
  }

  /** Makes the error without a stack: a refusal is an answer, and capturing one would cost more than the refusal. */
  static of(refusal: Refusal): CircuitBreakerOpenError {
    if (!stackTraceLimitWritable()) return new CircuitBreakerOpenError(refusal)
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    const error = new CircuitBreakerOpenError(refusal)
    Error.stackTraceLimit = limit
    return error
  }

  /** When the breaker lets a trial through, by the wall clock; `undefined` when it is forced open or already half-open. */
  get nextAttemptTime(): Date | undefined {
    return this.#nextAttemptAt()
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

let writable: boolean | undefined

/** Under frozen intrinsics an assignment would throw; elsewhere than V8 and JavaScriptCore there is no limit to set. */
function stackTraceLimitWritable(): boolean {
  writable ??= Object.getOwnPropertyDescriptor(Error, 'stackTraceLimit')?.writable === true
  return writable
}

declare global {
  interface ErrorConstructor {
    stackTraceLimit: number
  }
}
