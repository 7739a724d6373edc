import type { PoolClock } from '@gw/pool'

interface Timer {
  readonly dueMs: number
  readonly order: number
  readonly callback: () => void
  held: boolean
  ref(): void
  unref(): void
}

/** A clock that stands until it is told to go on. */
export class FakeClock implements PoolClock {
  nowMs = 1_000_000
  #order = 0
  readonly #settle: () => Promise<void>
  readonly timers: Set<Timer> = new Set()

  constructor(settleWith: () => Promise<void> = settle) {
    this.#settle = settleWith
  }

  now(): number {
    return this.nowMs
  }

  setTimeout(callback: () => void, delayMs: number): Timer {
    const timer: Timer = {
      dueMs: this.nowMs + delayMs,
      order: this.#order++,
      callback,
      held: true,
      ref() {
        timer.held = true
      },
      unref() {
        timer.held = false
      },
    }
    this.timers.add(timer)
    return timer
  }

  clearTimeout(timer: unknown): void {
    this.timers.delete(timer as Timer)
  }

  /** Lets `ms` go by, with everything that falls due in them, in order. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.nowMs + ms
    await this.#settle()
    for (;;) {
      let next: Timer | undefined
      for (const timer of this.timers) {
        if (timer.dueMs > untilMs) continue
        if (
          next === undefined ||
          timer.dueMs < next.dueMs ||
          (timer.dueMs === next.dueMs && timer.order < next.order)
        ) {
          next = timer
        }
      }
      if (next === undefined) break
      this.timers.delete(next)
      this.nowMs = Math.max(this.nowMs, next.dueMs)
      next.callback()
      await this.#settle()
    }
    this.nowMs = untilMs
    await this.#settle()
  }
}

/** Lets everything run that waits for nothing but its turn. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
