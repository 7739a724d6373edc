import type { Era } from './era.ts'
import type { Verdict } from './verdict.ts'

/** A place in a breaker that one call takes and gives back. */
export interface Slot {
  readonly era: Era
  readonly admittedAt: number
  /** Resolves when the breaker has drawn its conclusion. */
  settle(verdict: Verdict | 'slow', error: unknown): Promise<void>
}

/** What a permit asks its breaker when it ends. */
export interface PermitTerms {
  classify(error: unknown): Verdict
  /** Looks at the clock: a good call may have been a slow one too many. */
  ended(verdict: Verdict): Verdict | 'slow'
}

/**
 * The permission to make one call. The first of `succeed`, `fail` and `release` decides; later ones do nothing. Each resolves
 * when the breaker has drawn its conclusion.
 */
export class Permit implements Disposable, AsyncDisposable {
  #slot: Slot | undefined
  readonly #terms: PermitTerms

  constructor(slot: Slot, terms: PermitTerms) {
    this.#slot = slot
    this.#terms = terms
  }

  succeed(): Promise<void> {
    return this.#settle('ok', undefined)
  }

  /** What `error` says by the breaker's lists; without an error, a failure. */
  fail(error?: unknown): Promise<void> {
    return this.#settle(error === undefined ? 'failure' : this.#terms.classify(error), error)
  }

  /** Gives it back without a word about the other side. */
  release(): Promise<void> {
    return this.#settle('neutral', undefined)
  }

  [Symbol.dispose](): void {
    void this.release()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release()
  }

  async #settle(verdict: Verdict, error: unknown): Promise<void> {
    const slot = this.#slot
    this.#slot = undefined
    if (slot !== undefined) await slot.settle(this.#terms.ended(verdict), error)
  }
}
