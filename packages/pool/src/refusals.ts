import { PoolError, type PoolErrorCode, type PoolFigures } from './errors.ts'
import type { Histogram } from './figures.ts'

/** What the errors of one factory's pool tell of it. */
export interface Refusing {
  readonly poolName: string
  readonly factoryName: string
  readonly figures: PoolFigures
  readonly counters: { readonly use: Histogram }
}

/** Why no connection can be made now. */
export interface Trouble {
  readonly lastError: unknown
  readonly blockedByBreaker: boolean
  retryAfterMs(): number
}

const shortestRetryMs = 100
const longestRetryMs = 30_000

/** The errors that a request for a connection is refused with, each with the pool's figures as they are. */
export class Refusals {
  readonly #pool: Refusing
  readonly #trouble: Trouble

  constructor(pool: Refusing, trouble: Trouble) {
    this.#pool = pool
    this.#trouble = trouble
  }

  draining(what = 'is draining'): PoolError {
    return this.#error('pool_draining', what)
  }

  aborted(signal: AbortSignal): PoolError {
    return this.#error('pool_aborted', 'was no longer waited for', { cause: signal.reason })
  }

  unavailable(): PoolError {
    const details = { cause: this.#trouble.lastError, retryAfterMs: this.#trouble.retryAfterMs() }
    return this.#trouble.blockedByBreaker
      ? this.#error('breaker_open', 'has no connection and its breaker lets none be made', details)
      : this.#error('pool_factory_failed', 'has no connection and could make none', details)
  }

  /** The retry time is when the last of those who wait would have its turn. */
  exhausted(what: string): PoolError {
    const { figures, counters } = this.#pool
    const { count, sumMs } = counters.use
    const turnMs = count === 0 ? 0 : ((figures.waiting + 1) * sumMs) / count / figures.max
    const retryAfterMs = Math.ceil(Math.min(longestRetryMs, Math.max(shortestRetryMs, turnMs)))
    return this.#error('pool_exhausted', what, { retryAfterMs, cause: this.#trouble.lastError })
  }

  slow(what: string): PoolError {
    return this.#error('pool_start_timeout', what)
  }

  #error(code: PoolErrorCode, what: string, details: { cause?: unknown; retryAfterMs?: number } = {}): PoolError {
    const { poolName, factoryName, figures } = this.#pool
    const { active, idle, pendingCreate, max, waiting } = figures
    return new PoolError(
      code,
      `Pool \`${poolName}\` of \`${factoryName}\` ${what} (${active} active, ${idle} idle, ${pendingCreate} connecting, ${max} at most, ${waiting} waiting)`,
      { pool: poolName, factory: factoryName, figures, ...details },
    )
  }
}
