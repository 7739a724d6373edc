/** How long a route takes: counts in buckets that grow by a quarter, enough to say when to come back. */
export class Latency {
  readonly #buckets = new Uint32Array(64)
  #count = 0

  add(durationMs: number): void {
    const bucket = Math.max(0, Math.min(63, Math.ceil(Math.log(Math.max(1, durationMs)) / Math.log(1.25))))
    this.#buckets[bucket]!++
    if (++this.#count < 10_000) return
    // Old answers count less: a route that became slow, or quick, is noticed.
    this.#count = 0
    for (let i = 0; i < 64; i++) {
      this.#buckets[i] = this.#buckets[i]! >>> 1
      this.#count += this.#buckets[i]!
    }
  }

  /** The duration that 95 of 100 requests stay under, or `undefined` before the first. */
  p95(): number | undefined {
    if (this.#count === 0) return undefined
    let seen = 0
    for (let i = 0; i < 64; i++) {
      seen += this.#buckets[i]!
      if (seen >= this.#count * 0.95) return 1.25 ** i
    }
    return undefined
  }
}
