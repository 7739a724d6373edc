import type { TransitionReason } from './transition.ts'

/** When the calls of the recent past are reason enough to open. */
export interface WindowRules {
  readonly rollingWindowMs: number
  readonly failureThreshold: number
  readonly consecutive: boolean
  readonly failureRatio: number | undefined
  readonly slowCallRatio: number | undefined
  readonly minimumCalls: number
}

// Ratios look at calls by the tenth of a window. One bucket more than ten, so that the oldest is whole.
const parts = 10
const buckets = parts + 1

// Times that are kept beyond the threshold: failed trials add to it, and a forced breaker counts on without end.
const beyond = 1_000

/**
 * The calls of the last `rollingWindowMs` on a monotonic clock.
 *
 * Failures are kept by their time, so that the threshold is exact: a failure is in the window while its age is less than
 * `rollingWindowMs`. Calls are kept by the tenth of a window, which is enough for a ratio and costs the same at any rate.
 */
export class RollingWindow {
  readonly #rules: WindowRules
  readonly #bucketMs: number
  #failedAt: number[] = []
  #first = 0
  #streak = 0
  #slot = 0
  #calls: number[] | undefined
  #failures: number[] = []
  #slow: number[] = []
  #callSum = 0
  #failureSum = 0
  #slowSum = 0

  constructor(rules: WindowRules) {
    this.#rules = rules
    this.#bucketMs = rules.rollingWindowMs / parts
  }

  /** A call that says the other side is well. */
  ok(now: number): void {
    this.#streak = 0
    const bucket = this.#bucketAt(now)
    ;(this.#calls as number[])[bucket]!++
    this.#callSum++
  }

  /** A call that counts against the other side. The answer is why to open now, if there is a reason. */
  failure(now: number): TransitionReason | undefined {
    this.count(now)
    const { failureThreshold, consecutive, failureRatio, slowCallRatio } = this.#rules
    if (consecutive) {
      if (this.#streak >= failureThreshold) return 'consecutive_failures'
    } else if (this.#failedAt.length - this.#first >= failureThreshold) return 'failure_threshold'
    if (failureRatio !== undefined && this.#reached(this.#failureSum, failureRatio, 0)) return 'failure_ratio'
    if (slowCallRatio !== undefined && this.#reached(this.#slowSum, slowCallRatio, 0)) return 'slow_calls'
    return undefined
  }

  /** A failure that is counted and judged by nobody. */
  count(now: number, at: number = now): void {
    this.#streak++
    const bucket = this.#bucketAt(now, at)
    ;(this.#calls as number[])[bucket]!++
    this.#failures[bucket]!++
    this.#callSum++
    this.#failureSum++
    const { failureThreshold, consecutive } = this.#rules
    if (consecutive || failureThreshold === Number.POSITIVE_INFINITY) return
    this.#failedAt.push(at)
    this.#expire(now)
    if (this.#failedAt.length - this.#first > failureThreshold + beyond) this.#first++
  }

  /** A slow call, told before it is counted as `ok` or as a `failure`. Whether, with it, slow calls are reason to open. */
  slow(now: number): boolean {
    const bucket = this.#bucketAt(now)
    this.#slow[bucket]!++
    this.#slowSum++
    const { slowCallRatio } = this.#rules
    return slowCallRatio !== undefined && this.#reached(this.#slowSum, slowCallRatio, 1)
  }

  clear(): void {
    this.#failedAt = []
    this.#first = 0
    this.#streak = 0
    this.#calls = undefined
    this.#callSum = 0
    this.#failureSum = 0
    this.#slowSum = 0
  }

  failureCount(now: number): number {
    const { consecutive, failureThreshold } = this.#rules
    if (consecutive) return this.#streak
    this.#expire(now)
    const exact = this.#failedAt.length - this.#first
    if (exact < failureThreshold + beyond && failureThreshold !== Number.POSITIVE_INFINITY) return exact
    this.#bucketAt(now)
    return Math.max(exact, this.#failureSum)
  }

  failureRate(now: number): number {
    this.#bucketAt(now)
    return this.#callSum === 0 ? 0 : this.#failureSum / this.#callSum
  }

  /** Failures since the last good call. */
  get streak(): number {
    return this.#streak
  }

  set streak(failures: number) {
    this.#streak = failures
  }

  /** The ages of the failures that the threshold sees, oldest first. */
  failureAgesMs(now: number): number[] {
    this.#expire(now)
    return this.#failedAt.slice(this.#first).map((at) => now - at)
  }

  #reached(sum: number, ratio: number, more: number): boolean {
    const calls = this.#callSum + more
    return calls >= this.#rules.minimumCalls && sum / calls >= ratio
  }

  #expire(now: number): void {
    const times = this.#failedAt
    const { rollingWindowMs } = this.#rules
    while (this.#first < times.length && now - times[this.#first]! >= rollingWindowMs) this.#first++
    if (this.#first > 32 && this.#first * 2 > times.length) {
      times.splice(0, this.#first)
      this.#first = 0
    }
  }

  #bucketAt(now: number, at: number = now): number {
    const slot = Math.floor(now / this.#bucketMs)
    if (this.#calls === undefined) {
      this.#calls = new Array<number>(buckets).fill(0)
      this.#failures = new Array<number>(buckets).fill(0)
      this.#slow = new Array<number>(buckets).fill(0)
      this.#slot = slot
    }
    if (slot > this.#slot) this.#advance(slot, this.#calls)
    const own = at === now ? slot : Math.floor(at / this.#bucketMs)
    return ((own % buckets) + buckets) % buckets
  }

  /** Empties every bucket between the last call and now, however many have passed. */
  #advance(slot: number, calls: number[]): void {
    const passed = Math.min(slot - this.#slot, buckets)
    for (let back = 0; back < passed; back++) {
      const bucket = (((slot - back) % buckets) + buckets) % buckets
      this.#callSum -= calls[bucket]!
      this.#failureSum -= this.#failures[bucket]!
      this.#slowSum -= this.#slow[bucket]!
      calls[bucket] = 0
      this.#failures[bucket] = 0
      this.#slow[bucket] = 0
    }
    this.#slot = slot
  }
}
