/** Chance that begins with a seed: the same seed draws the same numbers for ever. */
export class Chance {
  #state: number

  constructor(seed: number) {
    this.#state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0
    for (let i = 0; i < 4; i++) this.next()
  }

  /** From 0 up to 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }

  /** A whole number from 0 up to `n`. */
  below(n: number): number {
    return Math.floor(this.next() * n)
  }

  between(low: number, high: number): number {
    return low + this.next() * (high - low)
  }

  odds(ratio: number): boolean {
    return this.next() < ratio
  }

  pick<Value>(all: readonly Value[]): Value {
    return all[this.below(all.length)]!
  }

  /** Chance of its own for a part, so that what one part draws does not move the others. */
  part(): Chance {
    return new Chance(Math.floor(this.next() * 4_294_967_296))
  }
}
