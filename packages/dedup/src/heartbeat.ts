import type { Timers } from './timers.ts'

/** A claim whose lease is renewed. */
export interface Held {
  readonly leaseMs: number
  /** When it was last renewed, on the monotonic clock. */
  renewedAt: number
  renew(): void
}

/** Renews leases at every third of them, with one timer for all, which runs only while a claim is held. */
export class Heartbeats {
  readonly #monotonic: () => number
  readonly #held = new Set<Held>()
  readonly #timers: Timers
  #timer: unknown
  #periodMs = Number.POSITIVE_INFINITY

  constructor(monotonic: () => number, timers: Timers) {
    this.#timers = timers
    this.#monotonic = monotonic
  }

  get size(): number {
    return this.#held.size
  }

  add(held: Held): void {
    this.#held.add(held)
    const periodMs = Math.max(1, held.leaseMs / 6)
    if (this.#timer !== undefined && periodMs >= this.#periodMs) return
    this.#timers.clearInterval(this.#timer)
    this.#periodMs = periodMs
    this.#timer = this.#timers.setInterval(() => this.#tick(), periodMs)
  }

  delete(held: Held): void {
    this.#held.delete(held)
  }

  stop(): void {
    this.#timers.clearInterval(this.#timer)
    this.#timer = undefined
    this.#periodMs = Number.POSITIVE_INFINITY
  }

  #tick(): void {
    if (this.#held.size === 0) {
      this.stop()
      return
    }
    const now = this.#monotonic()
    for (const held of this.#held) {
      // A tick comes every sixth: one that is due before the next is renewed now, so that none waits longer than a third.
      if (now - held.renewedAt < held.leaseMs / 6) continue
      held.renewedAt = now
      held.renew()
    }
  }
}
