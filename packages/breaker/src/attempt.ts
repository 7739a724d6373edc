import { type Era, Outcome } from './era.ts'
import { BreakerError } from './errors.ts'
import type { BreakerSettings } from './options.ts'
import type { Verdict } from './verdict.ts'

/** What a protected function is given. */
export interface CallContext {
  /** Aborts when the caller gives up, and when the breaker's `callTimeoutMs` is over. */
  readonly signal: AbortSignal
}

/** One call's own terms. */
export interface RunOptions<Result> {
  /** The caller's signal. Whatever a call fails with after it has aborted is neutral. */
  readonly signal?: AbortSignal
  /** What a result says; without it, every result is `ok`. */
  readonly judge?: (result: Result) => Verdict
}

/** What watching calls needs from the breaker. */
export interface Watch {
  readonly settings: BreakerSettings
  /** A call took `slowCallMs` or longer. Whether that is reason to open. */
  slow(era: Era): boolean
  timedOut(): void
  outcome(startedAtMs: number, durationMs: number, verdict: Verdict): void
}

/**
 * Makes one call under a breaker's clock. Resolves when the call is plainly good, rejects with its error when the error
 * says all, and with an `Outcome` otherwise.
 */
export async function attempt<Result>(
  fn: (context: CallContext) => Result | PromiseLike<Result>,
  options: RunOptions<Result> | undefined,
  watch: Watch,
  era: Era,
): Promise<Result> {
  const { callTimeoutMs, slowCallMs, onOutcome, now } = watch.settings
  const signal = options?.signal
  const clocked = slowCallMs !== undefined || onOutcome !== undefined
  const startedAtMs = clocked ? now() : 0
  let result: unknown
  let verdict: Verdict = 'ok'
  let threw = false
  try {
    result =
      callTimeoutMs === undefined
        ? await fn(signal === undefined ? new LazyContext(undefined) : { signal })
        : await timed(fn, callTimeoutMs, signal, watch)
    if (options?.judge !== undefined) verdict = options.judge(result as Result)
  } catch (error) {
    result = error
    threw = true
    verdict = signal?.aborted === true ? 'neutral' : watch.settings.classify(error)
    if (error instanceof CallTimeout) verdict = 'failure'
  }
  const said = clocked ? judgeTime(watch, era, startedAtMs, verdict) : verdict
  if (said === 'ok' && !threw) return result as Result
  throw new Outcome(said, threw, result)
}

/** Tells of a call that is over, and counts it among the slow ones. `slow` is a good call at which the breaker has to open. */
export function judgeTime(watch: Watch, era: Era, startedAtMs: number, verdict: Verdict): Verdict | 'slow' {
  const { slowCallMs, onOutcome, now } = watch.settings
  if (slowCallMs === undefined && onOutcome === undefined) return verdict
  const durationMs = now() - startedAtMs
  if (onOutcome !== undefined) watch.outcome(startedAtMs, durationMs, verdict)
  if (slowCallMs === undefined || durationMs < slowCallMs || verdict === 'neutral') return verdict
  return watch.slow(era) && verdict === 'ok' ? 'slow' : verdict
}

/** Gives a caller what its call gave, whatever the breaker made of it. */
export function unwrap<Result>(error: unknown): Result {
  if (!(error instanceof Outcome)) throw error
  if (error.threw) throw error.result
  return error.result as Result
}

class CallTimeout extends BreakerError {}

/** A signal costs as much as twenty timers, so it is made when somebody reads it. */
class LazyContext implements CallContext {
  #controller: AbortController | undefined
  #reason: { readonly error: unknown } | undefined
  readonly #parent: AbortSignal | undefined
  readonly #follow = (): void => this.abort(this.#parent?.reason)

  constructor(parent: AbortSignal | undefined) {
    this.#parent = parent
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#reason !== undefined) this.#controller.abort(this.#reason.error)
      else if (this.#parent?.aborted === true) this.#controller.abort(this.#parent.reason)
      else this.#parent?.addEventListener('abort', this.#follow, { once: true })
    }
    return this.#controller.signal
  }

  abort(error: unknown): void {
    this.#reason ??= { error }
    this.#controller?.abort(error)
  }

  end(): void {
    if (this.#controller !== undefined) this.#parent?.removeEventListener('abort', this.#follow)
  }
}

function timed<Result>(
  fn: (context: CallContext) => Result | PromiseLike<Result>,
  callTimeoutMs: number,
  parent: AbortSignal | undefined,
  watch: Watch,
): Promise<Result> {
  return new Promise<Result>((resolve, reject) => {
    const context = new LazyContext(parent)
    const cancel = watch.settings.delay(() => {
      const error = new CallTimeout('call_timeout', `The call took longer than ${callTimeoutMs} ms`)
      watch.timedOut()
      reject(error)
      context.end()
      context.abort(error)
    }, callTimeoutMs)
    const settle =
      <Value>(settled: (value: Value) => void) =>
      (value: Value): void => {
        cancel()
        context.end()
        settled(value)
      }
    // Not an `async` function: what `fn` throws at once has to call the timer off as well.
    new Promise<Result>((run) => run(fn(context))).then(settle(resolve), settle(reject))
  })
}
