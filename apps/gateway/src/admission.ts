/** Where the server is in its life; `ready` is the only state in which readiness says yes. */
export type Phase = 'starting' | 'ready' | 'draining' | 'stopped'

/** How many requests may be under way at once, where nothing is said. */
export const defaultMaxConcurrentRequests = 10_000

/** Counts the requests under way, and refuses what is over the limit or after the drain. */
export class Admission {
  maxConcurrentRequests: number
  phase: Phase = 'starting'
  #inFlight = 0

  constructor(maxConcurrentRequests: number) {
    this.maxConcurrentRequests = maxConcurrentRequests
  }

  get inFlight(): number {
    return this.#inFlight
  }

  /** Takes a place; `false` where there is none. */
  enter(): boolean {
    if (this.#inFlight >= this.maxConcurrentRequests) return false
    this.#inFlight++
    return true
  }

  leave(): void {
    this.#inFlight--
  }
}
