import type { Held } from './heartbeat.ts'
import type { KeyLink, NewClaim } from './store.ts'

/** A claim on a key: held, or ready to be committed in somebody's unit. */
export interface PendingClaim extends KeyLink {
  /** Whether it has been committed. */
  readonly committed: boolean
  /** Whether somebody else settles it: the run that took it over. */
  readonly settled: boolean
  /** Grows with each claim of the key; 0 until the claim is committed. */
  readonly fence: number
  /** Whether another claim has taken the key. */
  readonly lost: boolean
}

/** A claim with what this process knows of it. */
export class Claim implements PendingClaim, Held {
  readonly wanted: NewClaim
  readonly leaseMs: number
  committed = false
  settled = false
  /** Whether its answer was put into a unit of the handler's own. */
  answered = false
  lost = false
  fence = 0
  renewedAt = 0
  /** Set by whoever holds it: extends its lease in the store. */
  renew: () => void = () => {}
  #controller: AbortController | undefined

  constructor(wanted: NewClaim) {
    this.wanted = wanted
    this.leaseMs = wanted.leaseMs
  }

  get key(): string {
    return this.wanted.key
  }

  get token(): string {
    return this.wanted.token
  }

  /** Aborts when the claim is lost; made when first asked for. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.lost) this.#controller.abort()
    }
    return this.#controller.signal
  }

  lose(): void {
    if (this.lost) return
    this.lost = true
    this.#controller?.abort()
  }
}

/** A claim that this process is making or holds, so that its repeats need not ask the store. */
export class Flight {
  readonly claim: Claim
  held = false
  #waiting: (() => void)[] | undefined

  constructor(claim: Claim) {
    this.claim = claim
  }

  /** Resolves when it is known whether the claim was made. */
  known(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting ??= []
      this.#waiting.push(resolve)
    })
  }

  tell(): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    if (waiting !== undefined) for (const resolve of waiting) resolve()
  }
}
