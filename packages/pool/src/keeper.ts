import { unref } from './clock.ts'
import { type Demand, littleDemand } from './demand.ts'
import type { Entry } from './entry.ts'
import type { FactoryPool } from './factory-pool.ts'
import type { PoolLeak, ResolvedOptions } from './options.ts'
import { type PreWarmSchedule, preWarmSchedule } from './pre-warm.ts'

const scheduleEveryMs = 30_000
/** A loan younger than this is not watched for being forgotten, so that short ones cost nothing. */
const watchAfterMs = 1_000
/** The most of a pool that one sweep replaces for its age. */
const rotatedRatio = 0.2

/** The one timer of a factory's pool: lifetimes, idleness, tests, leaks, schedules and the minimum. */
export class Keeper<Connection extends object> {
  readonly #pool: FactoryPool<Connection>
  readonly #options: ResolvedOptions
  readonly #schedule: PreWarmSchedule
  readonly #demand: Demand | undefined
  #forgotten: FinalizationRegistry<{ readonly entry: Entry<Connection>; readonly loan: number }> | undefined
  #timer: unknown
  #ended = false
  #floor: number
  #scheduledAtMs = Number.NEGATIVE_INFINITY
  #scheduled = 0
  #demanded = 0
  #checking = false
  readonly #rotating: Set<Entry<Connection>> = new Set()

  constructor(pool: FactoryPool<Connection>, options: ResolvedOptions) {
    this.#pool = pool
    this.#options = options
    this.#schedule = preWarmSchedule(options.preWarm, options.preWarmLeadMs)
    this.#demand = options.adaptive ? littleDemand() : undefined
    this.#floor = pool.min
  }

  /** How many connections are kept now. */
  get floor(): number {
    return this.#floor
  }

  begin(): void {
    this.#forgotten = new FinalizationRegistry(({ entry, loan }) => this.#reclaim(entry, loan))
    this.bound()
    this.#arm()
  }

  end(): void {
    this.#ended = true
    this.#options.clock.clearTimeout(this.#timer)
  }

  /** Reads schedule and demand anew. */
  bound(): void {
    this.#scheduledAtMs = Number.NEGATIVE_INFINITY
    this.#setFloor(this.#options.clock.now())
  }

  /** A connection has come: what waited for it may go. */
  born(): void {
    for (const entry of this.#rotating) {
      this.#rotating.delete(entry)
      entry.rotating = false
      this.#pool.retireIdle(entry)
      return
    }
  }

  /** No replacement came: what was to go stays for now. */
  connectFailed(): void {
    for (const entry of this.#rotating) entry.rotating = false
    this.#rotating.clear()
  }

  unwatch(entry: Entry<Connection>): void {
    entry.watched = false
    this.#forgotten?.unregister(entry)
  }

  #arm(): void {
    const { clock, sweepIntervalMs } = this.#options
    this.#timer = clock.setTimeout(() => {
      if (this.#ended) return
      this.#arm()
      this.#sweep()
    }, sweepIntervalMs)
    unref(this.#timer)
  }

  #sweep(): void {
    const now = this.#options.clock.now()
    this.#setFloor(now)
    this.#retireOld(now)
    this.#retireIdle(now)
    this.#watchLoans(now)
    this.#pool.fill()
    this.#pool.rest()
    void this.#check(now)
  }

  #setFloor(now: number): void {
    const { min, max } = this.#pool
    if (now - this.#scheduledAtMs >= scheduleEveryMs) {
      this.#scheduledAtMs = now
      this.#scheduled = this.#options.preWarm.length === 0 ? 0 : this.#schedule.target(this.#options.now(), min, max)
    }
    if (this.#demand !== undefined) this.#demanded = this.#demand.sample(now, this.#pool.counters.use.sumMs)
    this.#floor = Math.min(max, Math.max(min, this.#scheduled, this.#demanded))
  }

  #retireOld(now: number): void {
    const old = this.#pool
      .idleEntries()
      .filter((entry) => (entry.lost || now >= entry.softExpiryMs) && !(entry.rotating && now < entry.hardExpiryMs))
      .sort((one, other) => one.createdAtMs - other.createdAtMs)
    let budget = Math.max(1, Math.floor(this.#pool.size * rotatedRatio))
    for (const entry of old) {
      if (entry.lost) {
        this.#pool.retireIdle(entry)
        continue
      }
      if (budget-- <= 0) continue
      // One above what is kept needs no replacement; one that finds no room for it goes first. What cannot be replaced now stays while it may.
      if (this.#pool.size > this.#floor || now >= entry.hardExpiryMs || (this.#pool.full && !this.#pool.failing)) {
        this.#pool.retireIdle(entry)
      } else if (this.#pool.admits) {
        entry.rotating = true
        this.#rotating.add(entry)
        this.#pool.connect()
      }
    }
  }

  #retireIdle(now: number): void {
    for (const entry of this.#pool.idleEntries()) {
      if (this.#pool.size <= this.#floor) return
      if (now - entry.idleSinceMs < this.#options.idleTimeoutMs) return
      if (!entry.rotating) this.#pool.retireIdle(entry)
    }
  }

  async #check(now: number): Promise<void> {
    const { healthCheckIntervalMs } = this.#options
    if (healthCheckIntervalMs === 0 || this.#checking) return
    this.#checking = true
    const due = this.#pool
      .idleEntries()
      .filter((entry) => now - Math.max(entry.checkedAtMs, 0) >= healthCheckIntervalMs)
      .sort((one, other) => one.checkedAtMs - other.checkedAtMs)
    for (const entry of due) {
      if (this.#pool.waiting > 0 || !this.#pool.open) break
      await this.#pool.check(entry)
    }
    this.#checking = false
  }

  #watchLoans(now: number): void {
    const { leakThresholdMs } = this.#options
    for (const entry of this.#pool.entries()) {
      if (!this.#pool.isOnLoan(entry)) continue
      const heldMs = now - entry.borrowedAtMs
      if (entry.lease !== undefined && heldMs >= watchAfterMs) {
        entry.watched = true
        this.#forgotten?.register(entry.lease, { entry, loan: entry.loan }, entry)
        entry.lease = undefined
      }
      if (leakThresholdMs > 0 && heldMs >= leakThresholdMs && entry.reportedLoan !== entry.loan) {
        entry.reportedLoan = entry.loan
        this.#pool.counters.leaks++
        this.#report(entry, heldMs, false)
      }
    }
  }

  #reclaim(entry: Entry<Connection>, loan: number): void {
    const heldMs = this.#options.clock.now() - entry.borrowedAtMs
    if (this.#pool.reclaim(entry, loan)) this.#report(entry, heldMs, true)
  }

  #report(entry: Entry<Connection>, heldMs: number, reclaimed: boolean): void {
    const event: PoolLeak = {
      pool: this.#pool.poolName,
      factory: this.#pool.factoryName,
      heldMs,
      reclaimed,
      stack: entry.takenAt?.stack,
    }
    try {
      this.#options.onLeak(event)
    } catch {
      // A hook changes nothing.
    }
  }
}
