import type { StepRecord } from './run-record.ts'
import type { Timers } from './timers.ts'

/** What a step finds when a run goes over its handler again. */
export type Replayed = { readonly kept: StepRecord } | { readonly marker: StepRecord | undefined }

/**
 * Gives kept steps back by name and occurrence, in whatever order the handler asks, and notices when the handler has become
 * another one: a step that was not kept waits while kept ones are still unrequested, since `Promise.all` may ask in any order.
 */
export class Replay {
  readonly #kept = new Map<string, StepRecord>()
  readonly #markers = new Map<string, StepRecord>()
  /** Steps of an earlier life whose effects were taken back: that the handler asks for them again is no divergence. */
  readonly #undone = new Set<string>()
  readonly #occurrences = new Map<string, number>()
  readonly #settleMs: number
  readonly #timers: Timers
  #waiting: { readonly key: string; proceed(): void; diverge(difference: string): void }[] = []
  #timer: unknown

  constructor(steps: readonly StepRecord[], settleMs: number, timers: Timers) {
    this.#settleMs = settleMs
    this.#timers = timers
    for (const step of steps) {
      const key = keyOf(step.name, step.occurrence)
      if (step.state === 'kept') this.#kept.set(key, step)
      else if (step.state === 'started') this.#markers.set(key, step)
      else if (step.state === 'undone') this.#undone.add(key)
    }
  }

  /** The number of this use of the name, from 1. Must be called in the order of the handler's calls. */
  occurrence(name: string): number {
    const occurrence = (this.#occurrences.get(name) ?? 0) + 1
    this.#occurrences.set(name, occurrence)
    return occurrence
  }

  /** `undefined` when the step is new and may run at once: the common case costs no promise. */
  find(name: string, occurrence: number): Replayed | Promise<Replayed> | undefined {
    if (this.#kept.size === 0 && this.#markers.size === 0) return undefined
    const key = keyOf(name, occurrence)
    const kept = this.#kept.get(key)
    if (kept !== undefined) {
      this.#kept.delete(key)
      this.#markers.delete(key)
      this.#progress()
      return { kept }
    }
    const answer: Replayed = { marker: this.#markers.get(key) }
    this.#markers.delete(key)
    if (this.#kept.size === 0 || this.#undone.has(key)) return answer
    return new Promise((resolve, reject) => {
      this.#waiting.push({
        key,
        proceed: () => resolve(answer),
        diverge: (difference) => reject(new DivergenceError(difference)),
      })
      this.#arm()
    })
  }

  /** Whether the result of this use of the name is kept and was not asked for yet. */
  isKept(name: string, occurrence: number): boolean {
    return this.#kept.size > 0 && this.#kept.has(keyOf(name, occurrence))
  }

  /** The first kept step that the handler has not asked for, for a handler that has returned. */
  get unrequested(): string | undefined {
    return this.#kept.keys().next().value
  }

  #progress(): void {
    if (this.#kept.size > 0) {
      if (this.#waiting.length > 0) this.#arm()
      return
    }
    this.#timers.clearTimeout(this.#timer)
    for (const { proceed } of this.#waiting.splice(0)) proceed()
  }

  #arm(): void {
    this.#timers.clearTimeout(this.#timer)
    this.#timer = this.#timers.setTimeout(() => {
      const expected = this.unrequested!
      for (const { key, diverge } of this.#waiting.splice(0)) diverge(`kept ${expected}, got ${key}`)
    }, this.#settleMs)
  }
}

/** The handler does not ask for what was kept. */
export class DivergenceError extends Error {
  override readonly name = 'DivergenceError'
  readonly code = 'diverged'
}

/** A step as people read it: `charge#1`. */
export function keyOf(name: string, occurrence: number): string {
  return `${name}#${occurrence}`
}
