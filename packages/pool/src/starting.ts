import type { PoolClock } from './clock.ts'
import type { PoolError } from './errors.ts'

/** Those who wait in `start` for a pool to have so many connections. */
export class Starting {
  readonly #clock: PoolClock
  readonly #waiting: Set<(live: number, failed: PoolError | undefined, ended: PoolError | undefined) => void> =
    new Set()

  constructor(clock: PoolClock) {
    this.#clock = clock
  }

  /** Resolves with `wanted` connections. Rejects after the timeout with what `late` gives, or, with `failFast`, at the first failure. */
  wait(wanted: number, timeoutMs: number, failFast: boolean, late: () => PoolError): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.#clock.clearTimeout(timer)
        this.#waiting.delete(look)
      }
      const look = (live: number, failed: PoolError | undefined, ended: PoolError | undefined): void => {
        const error = ended ?? (failFast ? failed : undefined)
        if (error === undefined && live < wanted) return
        end()
        if (error === undefined) resolve()
        else reject(error)
      }
      const timer = this.#clock.setTimeout(() => {
        end()
        reject(late())
      }, timeoutMs)
      this.#waiting.add(look)
    })
  }

  grew(live: number): void {
    for (const look of this.#waiting) look(live, undefined, undefined)
  }

  failed(error: () => PoolError): void {
    if (this.#waiting.size === 0) return
    const failed = error()
    for (const look of this.#waiting) look(0, failed, undefined)
  }

  ended(error: () => PoolError): void {
    if (this.#waiting.size === 0) return
    const ended = error()
    for (const look of this.#waiting) look(0, undefined, ended)
  }
}
