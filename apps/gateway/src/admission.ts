/** Where the server is in its life; `ready` is the only state in which readiness says yes. */
export type Phase = 'starting' | 'ready' | 'draining' | 'stopped'

/** Counts the requests under way, and refuses what is over the limit or after the drain. */
export class Admission {
  readonly maxConcurrentRequests: number
  phase: Phase = 'starting'
  #inFlight = 0
  #idle: (() => void)[] = []

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
    if (this.#inFlight === 0) for (const resolve of this.#idle.splice(0)) resolve()
  }

  /** Resolves to `true` when no request is under way, to `false` after `timeoutMs`. */
  idle(timeoutMs: number): Promise<boolean> {
    if (this.#inFlight === 0) return Promise.resolve(true)
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), timeoutMs)
      this.#idle.push(() => {
        clearTimeout(timer)
        resolve(true)
      })
    })
  }
}
