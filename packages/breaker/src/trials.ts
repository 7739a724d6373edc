import type { Era } from './era.ts'
import type { Slot } from './permit.ts'
import type { TransitionReason } from './transition.ts'

/** Why half-open has to end, and since when. */
export interface Overdue {
  readonly reason: Extract<TransitionReason, 'trial_hung' | 'trials_missing'>
  readonly since: number
  readonly hung: number
}

/** The places of trials that are out, also of those that an earlier half-open time has left running. */
export class Trials {
  readonly #maxHalfOpenMs: number
  #slots: Slot[] = []
  #lastAt = 0

  constructor(maxHalfOpenMs: number) {
    this.#maxHalfOpenMs = maxHalfOpenMs
  }

  /** Trials out that are not given up as hung. */
  out(now: number): number {
    if (this.#slots.length > 0) this.#slots = this.#slots.filter((slot) => now - slot.admittedAt < this.#maxHalfOpenMs)
    return this.#slots.length
  }

  add(slot: Slot): void {
    this.#lastAt = slot.admittedAt
    this.#slots.push(slot)
  }

  /** A trial has shown something. */
  noted(now: number): void {
    this.#lastAt = now
  }

  free(slot: Slot): void {
    const index = this.#slots.indexOf(slot)
    if (index >= 0) this.#slots.splice(index, 1)
  }

  /** Whether a trial of `era` hangs, or the trials that it lacks do not come. */
  overdue(era: Era | undefined, now: number): Overdue | undefined {
    const own = this.#slots.filter((slot) => slot.era === era)
    const since = (own[0]?.admittedAt ?? this.#lastAt) + this.#maxHalfOpenMs
    if (now < since) return undefined
    const hung = own.filter((slot) => slot.admittedAt + this.#maxHalfOpenMs <= now).length
    return { reason: hung > 0 ? 'trial_hung' : 'trials_missing', since, hung }
  }
}
