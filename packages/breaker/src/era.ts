import type { CircuitBreakerPolicy, CircuitState as CockatielState, IBackoff, IBreaker } from 'cockatiel'
import type { TransitionReason } from './transition.ts'
import type { Verdict } from './verdict.ts'

/** cockatiel, once it is loaded: it makes an `AbortController` when imported, which Workers allow only inside a request. */
export type Cockatiel = typeof import('cockatiel')

let loaded: Cockatiel | undefined
let loading: Promise<Cockatiel> | undefined

/** cockatiel if it has been loaded. */
export function cockatiel(): Cockatiel | undefined {
  return loaded
}

/** Loads cockatiel ahead of the first call, which otherwise does. */
export async function loadCockatiel(): Promise<Cockatiel> {
  loading ??= import('cockatiel')
  try {
    loaded = await loading
  } catch (error) {
    loading = undefined
    throw error
  }
  return loaded
}

/** What became of a call when neither its value nor its error says it; thrown through cockatiel and unwrapped behind it. */
export class Outcome {
  readonly verdict: Verdict | 'slow'
  readonly threw: boolean
  readonly result: unknown

  constructor(verdict: Verdict | 'slow', threw: boolean, result: unknown) {
    this.verdict = verdict
    this.threw = threw
    this.result = result
  }
}

/** What an era asks of the breaker it belongs to, and tells it. */
export interface EraOwner {
  readonly halfOpenMaxCalls: number
  classify(error: unknown): Verdict
  /** Counts one call; the answer is why to open. */
  settled(verdict: Verdict, error: unknown): TransitionReason | undefined
  /** A failed trial. */
  trialFailed(error: unknown): void
  late(): void
  opened(reason: TransitionReason): void
  closed(): void
}

const never: IBackoff<unknown> = { duration: Number.POSITIVE_INFINITY, next: () => never }
const ready: IBackoff<unknown> = { duration: Number.NEGATIVE_INFINITY, next: () => never }
const ok = (): void => {}

/**
 * The life of one cockatiel policy: from closed (or from half-open, through closed) until it opens or is replaced.
 *
 * A policy is never used again once it has opened. What still runs in it can then change nothing: its late results meet a
 * policy that nobody asks, and an era that is over. cockatiel's waits are `Infinity` or `-Infinity`, so that its wall clock
 * decides nothing.
 */
export class Era implements IBreaker {
  state: unknown
  live = true
  /** A trial has failed, and cockatiel is about to hear of it. */
  failing = false
  /** Good trials. */
  successes = 0
  readonly policy: CircuitBreakerPolicy
  readonly #owner: EraOwner
  #reason: TransitionReason = 'trial_failed'

  constructor({ circuitBreaker, handleWhen, CircuitState }: Cockatiel, owner: EraOwner, halfOpen: boolean) {
    this.#owner = owner
    this.policy = circuitBreaker(
      handleWhen((error) => this.#counts(error)),
      {
        breaker: this,
        halfOpenAfter: { next: () => (halfOpen ? ready : never) },
        halfOpenSampling: { calls: owner.halfOpenMaxCalls, threshold: 0 },
        ...(halfOpen
          ? {
              initialState: {
                ownState: { value: CircuitState.Open, openedAt: 0, attemptNo: 1 },
                breakerState: undefined,
              },
            }
          : {}),
      },
    )
    this.policy.onBreak(() => {
      if (!this.live) return
      this.live = false
      owner.opened(this.#reason)
    })
    this.policy.onReset(() => {
      if (this.live) owner.closed()
    })
  }

  /** Ends it: whatever still runs in it is late. */
  end(): void {
    this.live = false
  }

  /** Tells cockatiel what a call has shown that it did not make itself: a permit, or a trial. */
  async report(outcome: Outcome | undefined): Promise<void> {
    const task =
      outcome === undefined
        ? ok
        : // As many turns as a good one takes, so that what ends first is counted first.
          async () => {
            throw outcome
          }
    try {
      await this.policy.execute(task)
    } catch {
      // The outcome itself, on its way back.
    }
  }

  success(state: CockatielState): void {
    if (!this.live) this.#owner.late()
    else if (state === 0) this.#owner.settled('ok', undefined)
  }

  failure(state: CockatielState): boolean {
    if (!this.live) {
      this.#owner.late()
      return false
    }
    // cockatiel keeps the failure before it asks, so this is the call that is being judged.
    const { error } = this.policy.lastFailure as { readonly error: unknown }
    const outcome = error instanceof Outcome ? error : undefined
    const cause = outcome === undefined ? error : outcome.threw ? outcome.result : undefined
    if (state !== 0) {
      this.#owner.trialFailed(cause)
      return true
    }
    const slow = outcome?.verdict === 'slow'
    const reason = this.#owner.settled(slow ? 'ok' : 'failure', cause)
    if (!slow && reason === undefined) return false
    this.#reason = reason ?? 'slow_calls'
    return true
  }

  /** Asked by cockatiel for each error: whether `failure` is to be called. */
  #counts(error: unknown): boolean {
    const verdict = error instanceof Outcome ? error.verdict : this.#owner.classify(error)
    if (verdict === 'failure' || verdict === 'slow') return true
    if (!this.live && verdict === 'ok') this.#owner.late()
    else this.#owner.settled(verdict, undefined)
    return false
  }
}
