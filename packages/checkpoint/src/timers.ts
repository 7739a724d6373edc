/** Where waiting comes from. A simulation gives its own; nothing in the core waits in any other way. */
export interface Timers {
  /** Calls `work` once, after `afterMs`; what it gives is for `clearTimeout`. */
  setTimeout(work: () => void, afterMs: number): unknown
  clearTimeout(timer: unknown): void
  /** Milliseconds on a clock that nobody sets. */
  monotonic(): number
}

/** The longest period that a runtime's timer holds; a longer one would be over at once. */
const longestTimerMs = 2 ** 31 - 1

/** The runtime's own. */
export const runtimeTimers: Timers = {
  setTimeout: (work, afterMs) => setTimeout(work, Math.min(afterMs, longestTimerMs)),
  clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout> | undefined),
  monotonic: () => performance.now(),
}
