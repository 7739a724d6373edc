import type { Claim, PendingClaim } from './claim.ts'
import type { RequestDeduplicator } from './deduplicator.ts'
import type { StoredResponse } from './store.ts'
import type { Unit } from './unit.ts'

/** What handlers find in `c.var.idempotency`. */
export interface Idempotency {
  /** The storage key: an HMAC, never the client's text. */
  readonly key: string
  /** Grows with each claim of the key, for downstream writes to refuse an older one. */
  readonly fence: number
  readonly claim: PendingClaim
  /** Aborts when the claim is lost to another: what is still to be done would be done twice. */
  readonly signal: AbortSignal
  /**
   * Adds the answer of this request to a unit of the store's database, such as one in your own transaction: it commits with your
   * rows, or not at all. Give the same answer back from the handler.
   */
  completeIn(unit: Unit, response: Response | StoredResponse): Promise<void>
  /** Says that the effect has happened: an error after this is kept as the answer. */
  markExecuted(): void
  /** Says that nothing has happened: an error after this frees the key. */
  markNotExecuted(): void
}

/** The variables this middleware sets; `idempotency` is absent on requests that pass without a key. */
export interface DedupEnv {
  Variables: { idempotency?: Idempotency }
}

/** One request's hold on its key. */
export class KeyHold implements Idempotency {
  readonly claim: Claim
  executed: boolean | undefined
  readonly #deduplicator: RequestDeduplicator

  constructor(claim: Claim, deduplicator: RequestDeduplicator) {
    this.claim = claim
    this.#deduplicator = deduplicator
  }

  get key(): string {
    return this.claim.key
  }

  get fence(): number {
    return this.claim.fence
  }

  get signal(): AbortSignal {
    return this.claim.signal
  }

  completeIn(unit: Unit, response: Response | StoredResponse): Promise<void> {
    return this.#deduplicator.answerIn(unit, this.claim, response)
  }

  markExecuted(): void {
    this.executed = true
  }

  markNotExecuted(): void {
    this.executed = false
  }
}
