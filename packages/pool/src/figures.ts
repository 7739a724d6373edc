/** Durations counted into buckets, for percentiles and for OpenTelemetry. */
export interface HistogramSnapshot {
  /** Upper bounds in seconds; the last bucket has none. */
  readonly boundsSeconds: readonly number[]
  /** One more than there are bounds. */
  readonly counts: readonly number[]
  readonly count: number
  readonly sumSeconds: number
}

const boundsMs = [1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000]
const boundsSeconds = boundsMs.map((bound) => bound / 1_000)

/** Counts durations into fixed buckets. */
export class Histogram {
  count = 0
  sumMs = 0
  readonly #counts: number[] = new Array(boundsMs.length + 1).fill(0)

  record(durationMs: number): void {
    this.count++
    this.sumMs += durationMs
    let bucket = 0
    while (bucket < boundsMs.length && durationMs > (boundsMs[bucket] as number)) bucket++
    ;(this.#counts[bucket] as number)++
  }

  snapshot(): HistogramSnapshot {
    return { boundsSeconds, counts: [...this.#counts], count: this.count, sumSeconds: this.sumMs / 1_000 }
  }
}

/** Everything counted over the life of one factory's pool. */
export class Counters {
  failedAcquisitions = 0
  acquisitionTimeouts = 0
  connectionErrors = 0
  validationFailures = 0
  created = 0
  closed = 0
  lifetimeMsTotal = 0
  leaks = 0
  reclaimed = 0
  /** Acquisitions that waited for nothing: the wait histogram's first bucket, without the cost of recording each. */
  immediate = 0
  readonly wait: Histogram = new Histogram()
  readonly use: Histogram = new Histogram()
  readonly create: Histogram = new Histogram()

  get acquired(): number {
    return this.immediate + this.wait.count
  }
}
