import type { Claim, PendingClaim } from './claim.ts'

/** What handlers find in `c.var.idempotency`. */
export interface Idempotency {
  /** The storage key: an HMAC, never the client's text. */
  readonly key: string
  /** Grows with each claim of the key, for downstream writes to refuse an older one. */
  readonly fence: number
  readonly claim: PendingClaim
  /** Aborts when the claim is lost to another: what is still to be done would be done twice. */
  readonly signal: AbortSignal
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

  constructor(claim: Claim) {
    this.claim = claim
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

  markExecuted(): void {
    this.executed = true
  }

  markNotExecuted(): void {
    this.executed = false
  }
}
