import { type PoolClock, ref, unref } from './clock.ts'
import type { PoolError } from './errors.ts'
import type { Lease } from './lease.ts'
import type { Waiter } from './wait-queue.ts'

/** How one connection is asked for. */
export interface AcquireOptions {
  /** Gives the place in the queue up when it aborts. */
  readonly signal?: AbortSignal | undefined
  /** Smaller is served sooner; each step weighs as much as `agingMs` of waiting. 0 */
  readonly priority?: number | undefined
  /** In place of the pool's `acquireTimeoutMs`; 0 does not wait. */
  readonly timeoutMs?: number | undefined
}

/** Somebody who waits for a lease. */
export interface Request<Connection extends object> extends Waiter {
  readonly resolve: (lease: Lease<Connection>) => void
  readonly reject: (error: PoolError) => void
  readonly signal: AbortSignal | undefined
  onAbort: (() => void) | undefined
  readonly takenAt: Error | undefined
}

/** Those who wait, as far as their deadlines go. */
export interface Expiring<Who extends Waiter> {
  readonly first: Who | undefined
  readonly size: number
}

/** One timer for all who wait, set for the earliest deadline. */
export class Deadlines<Who extends Waiter> {
  readonly #clock: PoolClock
  readonly #queue: Expiring<Who>
  readonly #expire: (who: Who) => void
  #timer: unknown
  #armedForMs = Number.POSITIVE_INFINITY
  #holds = false

  constructor(clock: PoolClock, queue: Expiring<Who>, expire: (who: Who) => void) {
    this.#clock = clock
    this.#queue = queue
    this.#expire = expire
  }

  arm(deadlineMs: number, now: number): void {
    if (deadlineMs >= this.#armedForMs) {
      if (!this.#holds) ref(this.#timer)
      this.#holds = true
      return
    }
    this.#clock.clearTimeout(this.#timer)
    this.#holds = true
    this.#armedForMs = deadlineMs
    this.#timer = this.#clock.setTimeout(() => this.#fire(), Math.max(1, Math.ceil(deadlineMs - now)))
  }

  /** Lets the process end once nobody waits: at the next sweep, since telling a timer costs more than most waits. */
  rest(): void {
    if (!this.#holds || this.#queue.size > 0) return
    this.#holds = false
    unref(this.#timer)
  }

  end(): void {
    this.#clock.clearTimeout(this.#timer)
  }

  #fire(): void {
    const now = this.#clock.now()
    this.#armedForMs = Number.POSITIVE_INFINITY
    this.#timer = undefined
    let earliest = Number.POSITIVE_INFINITY
    for (let who = this.#queue.first; who !== undefined; ) {
      const next = who.next as Who | undefined
      if (who.deadlineMs <= now) this.#expire(who)
      else earliest = Math.min(earliest, who.deadlineMs)
      who = next
    }
    if (earliest !== Number.POSITIVE_INFINITY) this.arm(earliest, now)
  }
}
