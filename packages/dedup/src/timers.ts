/** Where waiting comes from. A simulation gives its own; nothing in the core waits in any other way. */
export interface Timers {
  /** Calls `work` once, after `afterMs`; what it gives is for `clearTimeout`. */
  setTimeout(work: () => void, afterMs: number): unknown
  clearTimeout(timer: unknown): void
  /** Calls `work` every `everyMs`; what it gives is for `clearInterval`. */
  setInterval(work: () => void, everyMs: number): unknown
  clearInterval(timer: unknown): void
  /** Calls `work` when what has arrived in this turn of the event loop has been taken; absent where a runtime has no such moment. */
  readonly afterTurn?: ((work: () => void) => void) | undefined
}

const { setImmediate } = globalThis as { readonly setImmediate?: (work: () => void) => unknown }

/** The runtime's own. */
export const runtimeTimers: Timers = {
  setTimeout: (work, afterMs) => setTimeout(work, afterMs),
  clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout> | undefined),
  setInterval: (work, everyMs) => setInterval(work, everyMs),
  clearInterval: (timer) => clearInterval(timer as ReturnType<typeof setInterval> | undefined),
  afterTurn: setImmediate && ((work) => void setImmediate(work)),
}
