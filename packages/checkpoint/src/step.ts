import { CheckpointError } from './errors.ts'
import type { Timers } from './timers.ts'

/** What a step's function gets. */
export interface StepContext {
  /** How often this step was tried in this life of the run, from 1. */
  readonly attempt: number
  /** Aborts on cancel, on a lost lease and after `timeoutMs`. */
  readonly signal: AbortSignal
  readonly fence: number
  /** The same at every repeat of this step, also after a crash: for a provider to know a retry by. 64 hex characters. */
  readonly idempotencyKey: string
}

/** How a failed step is tried again within the handler. */
export interface StepRetry {
  /** 3 */
  readonly maxAttempts?: number
  /** 100 ms */
  readonly initialMs?: number
  /** 2 */
  readonly factor?: number
  /** 30 s */
  readonly maxMs?: number
  /** The part of each wait that is random: 0.2. */
  readonly jitterRatio?: number
  /** Which errors are tried again: all, unless given. */
  readonly retryable?: (error: unknown) => boolean
}

/** What {@link StepOptions.onCrash} answers when asked whether an effect happened. */
export type Verification<Value> = { readonly done: true; readonly value: Value } | { readonly done: false }

/** How one step runs. */
export interface StepOptions<Value> {
  readonly retry?: StepRetry
  /** After this the step's signal aborts and the step fails with `step_timeout`. */
  readonly timeoutMs?: number
  /** Takes the effect back when the run fails or is cancelled; last kept, first compensated. Tried three times, then the run parks. */
  readonly compensate?: (value: Value) => unknown
  /**
   * For work that must not run twice: its start is made durable first. A step that was under way at a crash is `rerun`
   * (the default, without a marker), the run is `park`ed for a person, or a function is asked whether the effect happened.
   */
  readonly onCrash?: 'rerun' | 'park' | (() => Verification<Value> | Promise<Verification<Value>>)
}

/** What an attempt needs of its run. */
export interface AttemptPorts {
  readonly random: () => number
  readonly timers: Timers
  readonly translateError: (error: unknown) => unknown
  /** Throws when the run must not go on. */
  check(): void
  readonly fence: number
  readonly signal: AbortSignal
  idempotencyKeyOf(key: string): string
}

/** Runs a step's work under its retry and timeout. An error that parks the run is not tried again and burns no attempt. */
export async function attempt<Value>(
  ports: AttemptPorts,
  key: string,
  work: (context: StepContext) => Value | Promise<Value>,
  retry: StepRetry | undefined,
  timeoutMs: number | undefined,
): Promise<Value> {
  const maxAttempts = retry === undefined ? 1 : (retry.maxAttempts ?? 3)
  for (let n = 1; ; n++) {
    try {
      return await once(ports, key, n, work, timeoutMs)
    } catch (thrown) {
      ports.check()
      const error = ports.translateError(thrown)
      const parks = typeof error === 'object' && error !== null && 'code' in error && error.code === 'parked'
      if (parks || n >= maxAttempts || retry?.retryable?.(error) === false) throw error
      const { initialMs = 100, factor = 2, maxMs = 30_000, jitterRatio = 0.2 } = retry!
      const waitMs = Math.min(maxMs, initialMs * factor ** (n - 1)) * (1 + jitterRatio * (ports.random() - 0.5))
      await pause(ports, waitMs)
      ports.check()
    }
  }
}

/** Is over at once where the run is stopped. */
function pause({ timers, signal }: AttemptPorts, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const over = () => {
      timers.clearTimeout(timer)
      signal.removeEventListener('abort', over)
      resolve()
    }
    const timer = timers.setTimeout(over, ms)
    signal.addEventListener('abort', over)
  })
}

function once<Value>(
  ports: AttemptPorts,
  key: string,
  n: number,
  work: (context: StepContext) => Value | Promise<Value>,
  timeoutMs: number | undefined,
): Value | Promise<Value> {
  if (timeoutMs === undefined) return work(new Context(ports, key, n, undefined))
  const timeout = new AbortController()
  return new Promise((resolve, reject) => {
    const timer = ports.timers.setTimeout(() => {
      const error = new CheckpointError('step_timeout', `${key} took longer than ${timeoutMs} ms`)
      timeout.abort(error)
      reject(error)
    }, timeoutMs)
    Promise.resolve()
      .then(() => work(new Context(ports, key, n, timeout.signal)))
      .then(resolve, reject)
      .finally(() => ports.timers.clearTimeout(timer))
  })
}

/** Signals and keys cost more than most steps: they are made when asked for. */
class Context implements StepContext {
  readonly attempt: number
  readonly fence: number
  readonly #ports: AttemptPorts
  readonly #key: string
  readonly #timeout: AbortSignal | undefined

  constructor(ports: AttemptPorts, key: string, attempt: number, timeout: AbortSignal | undefined) {
    this.attempt = attempt
    this.fence = ports.fence
    this.#ports = ports
    this.#key = key
    this.#timeout = timeout
  }

  get signal(): AbortSignal {
    const { signal } = this.#ports
    return this.#timeout === undefined ? signal : AbortSignal.any([signal, this.#timeout])
  }

  get idempotencyKey(): string {
    return this.#ports.idempotencyKeyOf(this.#key)
  }
}
