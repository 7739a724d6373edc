import { latencyBucketOf, latencyBuckets, percentileMs } from './latency-buckets.ts'
import { type Column, columns, type Figures, type History, type Slot, slotCount, slotMs } from './wire.ts'

/** What is read from outside when a slot ends. */
export interface Gauges {
  readonly inFlight: number
  readonly running: number
  readonly queued: number
  readonly pendingWrites: number
  /** Since the start. */
  readonly commits: number
  /** How long the commits took together, since the start. */
  readonly commitMs: number
}

const noGauges: Gauges = { inFlight: 0, running: 0, queued: 0, pendingWrites: 0, commits: 0, commitMs: 0 }
const secondsPerSlot = slotMs / 1_000

/**
 * The last hour of this process in slots of five seconds, in arrays that are made once: a request costs three increments and
 * allocates nothing, however many there are.
 */
export class RecentFigures {
  readonly #requests = new Uint32Array(slotCount)
  readonly #errors = new Uint32Array(slotCount)
  readonly #replays = new Uint32Array(slotCount)
  readonly #conflicts = new Uint32Array(slotCount)
  readonly #latency = new Uint32Array(slotCount * latencyBuckets)
  readonly #inFlight = new Float64Array(slotCount)
  readonly #running = new Float64Array(slotCount)
  readonly #queued = new Float64Array(slotCount)
  readonly #pendingWrites = new Float64Array(slotCount)
  readonly #commits = new Float64Array(slotCount)
  readonly #commitMs = new Float64Array(slotCount)
  readonly #now: () => number
  /** The slot that is being counted into, by number since 1970 and by place. */
  #number: number
  #place: number
  /** The first slot that this process has measured. */
  readonly #first: number
  #before: Gauges = noGauges
  #latest: Gauges = noGauges

  constructor(now: () => number = () => Date.now()) {
    this.#now = now
    this.#number = Math.floor(now() / slotMs)
    this.#first = this.#number
    this.#place = this.#number % slotCount
  }

  /** Counts one request. */
  record(durationMs: number, status: number): void {
    const place = this.#place
    this.#requests[place]!++
    if (status >= 500) this.#errors[place]!++
    this.#latency[place * latencyBuckets + latencyBucketOf(durationMs)]!++
  }

  /** Counts what happened to a key. */
  count(transition: string): void {
    if (transition === 'dedup.replayed') this.#replays[this.#place]!++
    else if (transition === 'dedup.conflict' || transition === 'dedup.mismatch') this.#conflicts[this.#place]!++
  }

  /** Takes the gauges into the running slot and goes on to the present one. Answers whether a slot was completed. */
  roll(gauges: Gauges): boolean {
    this.#keep(gauges)
    const number = Math.floor(this.#now() / slotMs)
    if (number <= this.#number) return false
    const steps = Math.min(number - this.#number, slotCount)
    this.#number = number
    this.#before = gauges
    for (let i = steps - 1; i >= 0; i--) this.#clear((number - i) % slotCount)
    this.#place = number % slotCount
    this.#keep(gauges)
    return true
  }

  /** The slots of the last hour that are complete, oldest first; at most the last `slots` of them. */
  history(slots: number = slotCount): History {
    const from = Math.max(this.#first, this.#number - Math.min(slots, slotCount - 1))
    return { slots: Array.from({ length: this.#number - from }, (_, i) => this.#slot(from + i)) }
  }

  /** The newest complete slot. */
  lastSlot(): Slot | undefined {
    return this.#number > this.#first ? this.#slot(this.#number - 1) : undefined
  }

  /** The slot under way and the one before it, together, with the gauges as they were last given. */
  current(): Figures {
    const before = this.#number > this.#first ? (this.#number - 1) % slotCount : undefined
    const elapsedMs = this.#now() - this.#number * slotMs
    const seconds = Math.max(1, (elapsedMs + (before === undefined ? 0 : slotMs)) / 1_000)
    const both = (counts: Uint32Array | Float64Array) =>
      counts[this.#place]! + (before === undefined ? 0 : counts[before]!)
    const latency = this.#latencyOf(this.#place).slice()
    if (before !== undefined) {
      const older = this.#latencyOf(before)
      for (let i = 0; i < latencyBuckets; i++) latency[i]! += older[i]!
    }
    const commits = both(this.#commits)
    return {
      requests: both(this.#requests) / seconds,
      errors: both(this.#errors) / seconds,
      replays: both(this.#replays) / seconds,
      conflicts: both(this.#conflicts) / seconds,
      p50: percentileMs(latency, 0.5) ?? null,
      p95: percentileMs(latency, 0.95) ?? null,
      p99: percentileMs(latency, 0.99) ?? null,
      inFlight: this.#latest.inFlight,
      running: this.#latest.running,
      queued: this.#latest.queued,
      pendingWrites: this.#latest.pendingWrites,
      commits: commits / seconds,
      commitMs: commits === 0 ? null : both(this.#commitMs) / commits,
    }
  }

  #keep(gauges: Gauges): void {
    const place = this.#place
    this.#latest = gauges
    this.#inFlight[place] = gauges.inFlight
    this.#running[place] = gauges.running
    this.#queued[place] = gauges.queued
    this.#pendingWrites[place] = gauges.pendingWrites
    this.#commits[place] = gauges.commits - this.#before.commits
    this.#commitMs[place] = gauges.commitMs - this.#before.commitMs
  }

  #clear(place: number): void {
    for (const counts of [this.#requests, this.#errors, this.#replays, this.#conflicts]) counts[place] = 0
    for (const gauge of [this.#inFlight, this.#running, this.#queued, this.#pendingWrites]) gauge[place] = 0
    this.#commits[place] = 0
    this.#commitMs[place] = 0
    this.#latencyOf(place).fill(0)
  }

  #latencyOf(place: number): Uint32Array {
    return this.#latency.subarray(place * latencyBuckets, (place + 1) * latencyBuckets)
  }

  #slot(number: number): Slot {
    const place = number % slotCount
    const latency = this.#latencyOf(place)
    const commits = this.#commits[place]!
    const figures: Figures = {
      requests: this.#requests[place]! / secondsPerSlot,
      errors: this.#errors[place]! / secondsPerSlot,
      replays: this.#replays[place]! / secondsPerSlot,
      conflicts: this.#conflicts[place]! / secondsPerSlot,
      p50: rounded(percentileMs(latency, 0.5)),
      p95: rounded(percentileMs(latency, 0.95)),
      p99: rounded(percentileMs(latency, 0.99)),
      inFlight: this.#inFlight[place]!,
      running: this.#running[place]!,
      queued: this.#queued[place]!,
      pendingWrites: this.#pendingWrites[place]!,
      commits: commits / secondsPerSlot,
      commitMs: commits === 0 ? null : rounded(this.#commitMs[place]! / commits),
    }
    return { at: number * slotMs, values: columns.map((column: Column) => figures[column]) }
  }
}

function rounded(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.round(ms * 1_000) / 1_000
}
