/** Where the pool's time comes from: a clock that never goes back, and timers on it. */
export interface PoolClock {
  /** Milliseconds on a monotonic clock. */
  now(): number
  /** Calls back once after `delayMs`. The answer may have `ref` and `unref`, as Node's timers have. */
  setTimeout(callback: () => void, delayMs: number): unknown
  clearTimeout(timer: unknown): void
}

/** The machine's monotonic clock and its timers. */
export const systemClock: PoolClock = {
  now: () => performance.now(),
  setTimeout: (callback, delayMs) => setTimeout(callback, delayMs),
  clearTimeout: (timer) => clearTimeout(timer as number),
}

/** Lets the process end while this timer is pending, where timers can. */
export function unref(timer: unknown): void {
  ;(timer as { unref?: () => void } | undefined)?.unref?.()
}

/** Keeps the process alive until this timer has fired, where timers can. */
export function ref(timer: unknown): void {
  ;(timer as { ref?: () => void } | undefined)?.ref?.()
}
