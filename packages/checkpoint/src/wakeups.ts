import type { Timers } from './timers.ts'

/** Wakes those who wait for something to happen to a run, in this process. */
export class Wakeups {
  readonly #waiters = new Map<string, Set<() => void>>()
  readonly #timers: Timers

  constructor(timers: Timers) {
    this.#timers = timers
  }

  /** Resolves when the run is woken, after `afterMs`, or when `signal` aborts. */
  next(id: string, afterMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const waiters = this.#waiters.get(id) ?? new Set()
      this.#waiters.set(id, waiters)
      const done = () => {
        this.#timers.clearTimeout(timer)
        signal?.removeEventListener('abort', done)
        waiters.delete(done)
        if (waiters.size === 0) this.#waiters.delete(id)
        resolve()
      }
      const timer = this.#timers.setTimeout(done, afterMs)
      waiters.add(done)
      signal?.addEventListener('abort', done)
    })
  }

  wake(id: string): void {
    const waiters = this.#waiters.get(id)
    if (waiters !== undefined) for (const done of [...waiters]) done()
  }
}
