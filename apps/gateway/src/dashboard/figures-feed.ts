import type { Gateway } from '../gateway.ts'
import { type Figures, type Revisions, slotCount, type Tick, tickMs } from './wire.ts'

/** A bounded line of values of one breaker or pool. */
class Trace {
  readonly #values = new Float64Array(slotCount)
  #length = 0
  #next = 0

  add(value: number): void {
    this.#values[this.#next] = value
    this.#next = (this.#next + 1) % this.#values.length
    this.#length = Math.min(this.#length + 1, this.#values.length)
  }

  /** Oldest first. */
  get values(): number[] {
    const from = this.#next - this.#length + this.#values.length
    return Array.from({ length: this.#length }, (_, i) => this.#values[(from + i) % this.#values.length]!)
  }
}

/**
 * Reads the gateway's gauges while it runs, keeps the last hour of them, and tells whoever listens. While nobody does, it asks the
 * store once in a slot.
 */
export class FiguresFeed {
  readonly #gateway: Gateway
  readonly #listeners = new Set<(tick: Tick) => void>()
  readonly #traces = new Map<string, Trace>()
  readonly #failuresBefore = new Map<string, number>()
  readonly #revisions: Record<keyof Revisions, number> = { runs: 0, events: 0, breakers: 0, pools: 0 }
  readonly #unsubscribe: (() => void)[] = []
  #timer: ReturnType<typeof setInterval> | undefined
  #counts: Readonly<Record<string, number>> = {}
  #sampling = false

  constructor(gateway: Gateway) {
    this.#gateway = gateway
  }

  start(): void {
    const gateway = this.#gateway
    this.#unsubscribe.push(
      gateway.events.onAppended(() => {
        this.#revisions.events++
        this.#revisions.runs++
      }),
      ...[...gateway.breakers.all.values()].map((breaker) => breaker.subscribe(() => this.#revisions.breakers++)),
      ...[...gateway.pools.all.values()].map((pool) => pool.subscribe(() => this.#revisions.pools++)),
    )
    this.#timer = setInterval(() => void this.#sample(), tickMs)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    for (const end of this.#unsubscribe.splice(0)) end()
    this.#listeners.clear()
  }

  /** Calls `listener` at every tick until the returned function is called. */
  listen(listener: (tick: Tick) => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  get listeners(): number {
    return this.#listeners.size
  }

  /** Failures of a breaker, or connections of a pool in use, over the last hour. */
  trace(kind: 'breaker' | 'pool', name: string): readonly number[] {
    return this.#traces.get(`${kind} ${name}`)?.values ?? []
  }

  /** Runs by status, as they were at the last look. */
  get counts(): Readonly<Record<string, number>> {
    return this.#counts
  }

  /** Looks now: for a page that is asked for before the first tick. */
  async look(): Promise<Figures> {
    await this.#read()
    return this.#gateway.figures.current()
  }

  async #sample(): Promise<void> {
    if (this.#sampling) return
    this.#sampling = true
    try {
      await this.#read()
      if (this.#listeners.size > 0) this.#tell(this.#tick())
    } finally {
      this.#sampling = false
    }
  }

  async #read(): Promise<void> {
    const { checkpoints, engine, admission, figures } = this.#gateway
    // Where the store does not answer, the counts stay what they were.
    this.#counts = await checkpoints.counts().catch(() => this.#counts)
    const { pendingWrites, commits, commitMs } = engine.health
    const completed = figures.roll({
      inFlight: admission.inFlight,
      running: checkpoints.live,
      queued: this.#counts['queued'] ?? 0,
      pendingWrites,
      commits,
      commitMs,
    })
    if (completed) this.#trace()
  }

  #tick(): Tick {
    const { admission, engine, figures, checkpoints } = this.#gateway
    // Other processes on the store append and change runs without a word to this one.
    if (checkpoints.store.shared) this.#revisions.runs++
    return {
      at: Date.now(),
      phase: admission.phase,
      storage: engine.health.state,
      figures: figures.current(),
      counts: this.#counts,
      revisions: { ...this.#revisions },
      slot: figures.lastSlot(),
    }
  }

  #tell(tick: Tick): void {
    for (const listener of this.#listeners) listener(tick)
  }

  #trace(): void {
    for (const [name, breaker] of this.#gateway.breakers.all) {
      const { failures, rejected } = breaker.figures
      const total = failures + rejected
      this.#traceOf(`breaker ${name}`).add(Math.max(0, total - (this.#failuresBefore.get(name) ?? 0)))
      this.#failuresBefore.set(name, total)
    }
    for (const [name, pool] of this.#gateway.pools.all) {
      this.#traceOf(`pool ${name}`).add(pool.metrics().activeConnections)
    }
  }

  #traceOf(name: string): Trace {
    let trace = this.#traces.get(name)
    if (trace === undefined) {
      trace = new Trace()
      this.#traces.set(name, trace)
    }
    return trace
  }
}
