import { Connector } from './connector.ts'
import { Engine } from './engine.ts'
import { Entry } from './entry.ts'
import type { PoolError, PoolFigures } from './errors.ts'
import type { ConnectionFactory } from './factory.ts'
import { Counters } from './figures.ts'
import { IdleList } from './idle-list.ts'
import { Keeper } from './keeper.ts'
import { Lease, type Lender } from './lease.ts'
import { checkBounds, checkWait, type PoolTransition, type ResolvedOptions } from './options.ts'
import { Refusals } from './refusals.ts'
import { type AcquireOptions, Deadlines, type Request } from './request.ts'
import { Starting } from './starting.ts'
import { WaitQueue } from './wait-queue.ts'

/** What a drain came to. */
export interface DrainReport {
  /** Loans that were not given back by the deadline and whose connections were closed under them. */
  readonly forced: number
}

const provenMs = 500

/** The connections of one factory. */
export class FactoryPool<Connection extends object> implements Lender<Connection> {
  readonly poolName: string
  readonly factoryName: string
  readonly counters: Counters = new Counters()
  readonly #options: ResolvedOptions
  readonly #idle: IdleList<Connection>
  readonly #queue: WaitQueue<Entry<Connection>, Request<Connection>>
  readonly #engine: Engine<Connection>
  readonly #connector: Connector<Connection>
  readonly #keeper: Keeper<Connection>
  readonly #entries: Map<Connection, Entry<Connection>> = new Map()
  readonly #diedEarly: WeakSet<Connection> = new WeakSet()
  readonly #starting: Starting
  readonly #deadlines: Deadlines<Request<Connection>>
  readonly #refusals: Refusals
  readonly #validateAfterIdleMs: number
  readonly #capturesStacks: boolean
  #state: 'open' | 'draining' | 'closed' = 'open'
  #started = false
  #min: number
  #coming = 0
  #leased = 0
  #generation = 0
  #failedChecks = 0
  #trouble: 'failing' | 'breaker_open' | undefined
  #drained: Promise<DrainReport> | undefined
  #onQuiet: (() => void) | undefined
  #onEmpty: (() => void) | undefined

  constructor(name: string, factory: ConnectionFactory<Connection>, options: ResolvedOptions) {
    this.poolName = options.name
    this.factoryName = name
    this.#options = options
    this.#min = factory.min ?? Math.min(options.min, factory.max ?? options.max)
    const max = factory.max ?? options.max
    checkBounds(this.#min, max)
    this.#validateAfterIdleMs = factory.validate === undefined ? Number.POSITIVE_INFINITY : options.validateAfterIdleMs
    this.#capturesStacks = options.leakThresholdMs > 0
    this.#connector = new Connector(factory, options, {
      failed: (error, byBreaker) => this.#connectFailed(error, byBreaker),
      ready: () => this.fill(),
      recovered: () => {
        this.#trouble = undefined
        this.#tell('recovered')
      },
      lost: (connection) => this.#lost(connection as Connection),
    })
    this.#idle = new IdleList((entry) => this.#born(entry))
    this.#queue = new WaitQueue((entry) => this.#dispatched(entry))
    this.#engine = new Engine(
      { admits: () => this.admits, create: () => this.#create(), destroy: (entry) => this.#close(entry) },
      this.#idle,
      this.#queue,
      max,
    )
    this.#deadlines = new Deadlines(options.clock, this.#queue, (request) => this.#expire(request))
    this.#starting = new Starting(options.clock)
    this.#refusals = new Refusals(this, this.#connector)
    this.#keeper = new Keeper(this, options)
  }

  get figures(): PoolFigures {
    const live = this.#entries.size
    return {
      active: this.#leased,
      idle: live - this.#leased,
      pendingCreate: this.#coming,
      total: live + this.#coming,
      max: Math.max(this.#engine.max, live + this.#coming),
      waiting: this.#queue.size,
    }
  }

  get min(): number {
    return this.#min
  }

  get max(): number {
    return this.#engine.max
  }

  /** How many are kept now: `min`, or what a schedule or the demand asks for. */
  get floor(): number {
    return this.#keeper.floor
  }

  /** Connections that are being closed, and connects given up that may yet succeed. */
  get closing(): number {
    return this.#connector.limbo
  }

  get waiting(): number {
    return this.#queue.size
  }

  get failing(): boolean {
    return this.#connector.failing
  }

  get open(): boolean {
    return this.#state === 'open'
  }

  /** Takes an idle connection if one is at hand, without waiting and without a test. */
  tryAcquire(): Lease<Connection> | undefined {
    const idle = this.#idle
    if (this.#queue.size > 0 || this.#state !== 'open') return undefined
    for (let next = idle.next; next !== undefined; next = idle.next) {
      const now = this.#options.clock.now()
      const unfit = this.#unfitToLend(next, now)
      if (!unfit && this.#needsTest(next, now)) return undefined
      const entry = this.#engine.take() as Entry<Connection>
      if (!unfit) {
        this.counters.immediate++
        return this.#lend(entry, now, this.#capturesStacks ? new Error('The lease was taken here') : undefined)
      }
      this.retire(entry)
    }
    return undefined
  }

  acquire(options?: AcquireOptions): Promise<Lease<Connection>> {
    if (options?.signal?.aborted === true) return this.#refuse(this.#refusals.aborted(options.signal))
    const lease = this.tryAcquire()
    return lease === undefined ? this.#wait(options) : Promise.resolve(lease)
  }

  giveBack(entry: Entry<Connection>, close: boolean): void {
    const now = this.#options.clock.now()
    this.#endLoan(entry, now)
    if (
      close ||
      entry.lost ||
      entry.generation !== this.#generation ||
      now >= entry.softExpiryMs ||
      this.size > this.#engine.max
    ) {
      this.retire(entry)
    } else {
      entry.idleSinceMs = now
      this.#engine.release(entry)
    }
    if (this.#state !== 'open') this.#checkQuiet()
  }

  /** Begins to keep the minimum. */
  begin(): void {
    if (this.#started || this.#state !== 'open') return
    this.#started = true
    this.#keeper.begin()
    this.fillMin()
  }

  /** Resolves when the minimum is there, or, with `failFast` and no minimum, the first connection. */
  async start(options: { readonly failFast?: boolean; readonly timeoutMs?: number }): Promise<void> {
    const { failFast = false, timeoutMs = this.#options.acquireTimeoutMs } = options
    checkWait('timeoutMs', timeoutMs)
    if (this.#state !== 'open') throw this.#refusals.draining()
    this.begin()
    const wanted = Math.max(this.floor, failFast ? 1 : 0)
    if (this.#entries.size < wanted) {
      const grown = this.#starting.wait(wanted, timeoutMs, failFast, () =>
        this.failing
          ? this.#refusals.unavailable()
          : this.#refusals.slow(`had ${this.#entries.size} of ${wanted} connections after ${timeoutMs} ms`),
      )
      if (this.size < wanted) this.#engine.connect()
      await grown
    }
    this.#tell('started')
  }

  resize(min: number, max: number): void {
    checkBounds(min, max)
    this.#min = min
    this.#engine.max = max
    this.#keeper.bound()
    for (const entry of this.#idle.entries()) {
      if (this.size <= max) break
      this.retireIdle(entry)
    }
    this.#tell('resized')
    this.fill()
  }

  /** Replaces every connection: idle ones now, those on loan when they come back. */
  refresh(cause?: unknown): void {
    this.#generation++
    this.#failedChecks = 0
    for (const entry of this.#idle.entries()) this.retireIdle(entry)
    this.#tell('refreshed', cause)
    this.fill()
  }

  drain(deadlineMs: number): Promise<DrainReport> {
    this.#drained ??= this.#drain(deadlineMs)
    return this.#drained
  }

  /** Serves those who wait, then sees to the minimum. */
  fill(): void {
    this.#serve()
    this.fillMin()
    if (this.#state === 'closed') this.#checkEmpty()
  }

  /** Lets the process end once nobody waits. */
  rest(): void {
    this.#deadlines.rest()
  }

  fillMin(): void {
    if (!this.#started || this.#state !== 'open') return
    while (this.size < this.#keeper.floor && this.admits) this.#engine.connect()
  }

  /** Whether another connection would be one too many. */
  get full(): boolean {
    return this.size + this.#connector.limbo >= this.#engine.max
  }

  /** Whether a connect may start now. */
  get admits(): boolean {
    return this.#state !== 'closed' && this.#connector.admits && !this.full
  }

  connect(): void {
    this.#engine.connect()
  }

  entries(): Iterable<Entry<Connection>> {
    return this.#entries.values()
  }

  /** How many there are, those being opened included. */
  get size(): number {
    return this.#entries.size + this.#coming
  }

  idleEntries(): Entry<Connection>[] {
    return this.#idle.entries()
  }

  isOnLoan(entry: Entry<Connection>): boolean {
    return entry.loan % 2 === 1
  }

  /** Closes an idle connection. Answers `false` when it is not idle. */
  retireIdle(entry: Entry<Connection>): boolean {
    if (!this.#engine.takeThis(entry)) return false
    this.retire(entry)
    return true
  }

  /** Closes a connection that generic-pool has lent. */
  retire(entry: Entry<Connection>): void {
    this.#entries.delete(entry.connection)
    this.#engine.destroy(entry)
    this.#trim()
    if (this.#started) this.fillMin()
  }

  /** Tests an idle connection in its place. */
  check(entry: Entry<Connection>): Promise<void> {
    if (!this.#connector.validates || !this.#engine.takeThis(entry)) return Promise.resolve()
    entry.keepsPlace = true
    return new Promise((resolve) => {
      this.#passes(entry, (passed) => {
        const kept = passed && entry.generation === this.#generation && this.#state === 'open' && !entry.lost
        if (kept) this.#engine.release(entry)
        else this.retire(entry)
        this.fill()
        resolve()
      })
    })
  }

  /** Takes back what nobody can give back any more. */
  reclaim(entry: Entry<Connection>, loan: number): boolean {
    if (entry.loan !== loan) return false
    this.counters.reclaimed++
    this.giveBack(entry, true)
    return true
  }

  #unfitToLend(entry: Entry<Connection>, now: number): boolean {
    return entry.lost || entry.generation !== this.#generation || now >= entry.hardExpiryMs
  }

  /** A new connection has proven itself by being made; were it tested at once, a test that always fails would connect without end. */
  #needsTest(entry: Entry<Connection>, now: number): boolean {
    return (
      now - entry.idleSinceMs >= this.#validateAfterIdleMs && (entry.loan > 0 || now - entry.createdAtMs >= provenMs)
    )
  }

  #lend(entry: Entry<Connection>, now: number, takenAt: Error | undefined): Lease<Connection> {
    entry.loan++
    entry.borrowedAtMs = now
    entry.takenAt = takenAt
    this.#leased++
    const lease = new Lease(this, entry)
    entry.lease = lease
    return lease
  }

  #endLoan(entry: Entry<Connection>, now: number): void {
    entry.loan++
    entry.lease = undefined
    if (entry.watched) this.#keeper.unwatch(entry)
    this.#leased--
    this.counters.use.record(now - entry.borrowedAtMs)
  }

  #wait(options: AcquireOptions | undefined): Promise<Lease<Connection>> {
    const { clock, acquireTimeoutMs, maxWaiting, agingMs } = this.#options
    if (this.#state !== 'open') return this.#refuse(this.#refusals.draining())
    if (!this.#started) this.begin()
    if (this.#queue.size >= maxWaiting)
      return this.#refuse(this.#refusals.exhausted(`has ${maxWaiting} requests waiting already`))
    const now = clock.now()
    const timeoutMs = options?.timeoutMs ?? acquireTimeoutMs
    const signal = options?.signal
    return new Promise((resolve, reject) => {
      checkWait('timeoutMs', timeoutMs)
      const request: Request<Connection> = {
        key: now + (options?.priority ?? 0) * agingMs,
        deadlineMs: now + timeoutMs,
        arrivedAtMs: now,
        waiting: false,
        previous: undefined,
        next: undefined,
        resolve,
        reject,
        signal,
        onAbort: undefined,
        takenAt: this.#capturesStacks ? new Error('The lease was taken here') : undefined,
      }
      this.#queue.insert(request)
      this.#serve()
      if (!request.waiting) return
      if (timeoutMs <= 0) return this.#expire(request)
      if (signal !== undefined) {
        request.onAbort = () => this.#settle(request, this.#refusals.aborted(signal))
        signal.addEventListener('abort', request.onAbort, { once: true })
      }
      this.#deadlines.arm(request.deadlineMs, now)
    })
  }

  /** Rejects a request that still waits. */
  #settle(request: Request<Connection>, error: PoolError): void {
    this.#queue.remove(request)
    this.#leave(request)
    this.counters.failedAcquisitions++
    request.reject(error)
    if (this.#state !== 'open') this.#checkQuiet()
  }

  #leave(request: Request<Connection>): void {
    if (request.onAbort !== undefined) request.signal?.removeEventListener('abort', request.onAbort)
  }

  #expire(request: Request<Connection>): void {
    this.counters.acquisitionTimeouts++
    const waitedMs = Math.round(this.#options.clock.now() - request.arrivedAtMs)
    this.#settle(request, this.#refusals.exhausted(`gave no connection in ${waitedMs} ms`))
  }

  /** generic-pool has a connection for whoever is first. */
  #dispatched(entry: Entry<Connection>): void {
    const now = this.#options.clock.now()
    if (this.#unfitToLend(entry, now)) {
      this.retire(entry)
      return
    }
    if (!this.#needsTest(entry, now)) {
      this.#deliver(entry, now)
      return
    }
    this.#queue.beginTest()
    this.#passes(entry, (passed) => {
      this.#queue.endTest()
      const endedMs = this.#options.clock.now()
      if (!passed || this.#unfitToLend(entry, endedMs)) {
        this.retire(entry)
        this.fill()
      } else if (this.#queue.size > 0) this.#deliver(entry, endedMs)
      else if (this.#state === 'open') this.#engine.release(entry)
      else this.retire(entry)
    })
  }

  #deliver(entry: Entry<Connection>, now: number): void {
    const request = this.#queue.shift() as Request<Connection>
    this.#leave(request)
    this.counters.wait.record(now - request.arrivedAtMs)
    request.resolve(this.#lend(entry, now, request.takenAt))
  }

  #passes(entry: Entry<Connection>, done: (passed: boolean) => void): void {
    this.#connector.validate(entry.connection, (passed) => {
      if (passed) {
        this.#failedChecks = 0
        entry.checkedAtMs = this.#options.clock.now()
      } else {
        this.counters.validationFailures++
        if (++this.#failedChecks >= this.#options.maxFailuresBeforeRefresh) {
          this.refresh(new Error(`${this.#failedChecks} tests in a row failed`))
        }
      }
      done(passed)
    })
  }

  async #create(): Promise<Entry<Connection>> {
    const { clock, random, maxLifetimeMs } = this.#options
    const startedAtMs = clock.now()
    const generation = this.#generation
    this.#coming++
    let connection: Connection
    try {
      connection = await this.#connector.connect()
    } catch (error) {
      this.#coming--
      if (this.#state === 'closed') this.#checkEmpty()
      throw error
    }
    const nowMs = clock.now()
    this.counters.created++
    this.counters.create.record(nowMs - startedAtMs)
    const hardExpiryMs = nowMs + maxLifetimeMs
    const entry = new Entry(
      connection,
      { nowMs, hardExpiryMs, softExpiryMs: hardExpiryMs - random() * 0.1 * maxLifetimeMs },
      generation,
    )
    entry.lost = this.#diedEarly.has(connection)
    return entry
  }

  #born(entry: Entry<Connection>): void {
    this.#coming--
    this.#entries.set(entry.connection, entry)
    if (this.#state === 'closed' || entry.lost || entry.generation !== this.#generation) {
      this.retireIdle(entry)
      return
    }
    this.#keeper.born()
    this.#starting.grew(this.#entries.size)
    this.fillMin()
  }

  async #close(entry: Entry<Connection>): Promise<void> {
    await this.#connector.close(entry.connection)
    this.counters.closed++
    this.counters.lifetimeMsTotal += this.#options.clock.now() - entry.createdAtMs
  }

  #lost(connection: Connection): void {
    const entry = this.#entries.get(connection)
    if (entry === undefined) {
      this.#diedEarly.add(connection)
      return
    }
    if (entry.lost) return
    entry.lost = true
    if (this.retireIdle(entry)) this.fill()
  }

  #connectFailed(error: unknown, byBreaker: boolean): void {
    // A drain gave it up: nothing is wrong with the factory.
    if (this.#state === 'closed') return
    if (!byBreaker) this.counters.connectionErrors++
    this.#keeper.connectFailed()
    const trouble = byBreaker ? 'breaker_open' : 'failing'
    if (this.#trouble !== trouble) this.#tell(trouble, error)
    this.#trouble = trouble
    this.#trim()
    this.#starting.failed(() => this.#refusals.unavailable())
  }

  /** Serves those who wait from the idle ones, and connects for the rest; generic-pool counts a failed connect a few turns too long. */
  #serve(): void {
    this.#engine.dispense()
    while (this.#queue.length > this.#idle.length + this.#coming && this.admits) this.#engine.connect()
    this.#trim()
  }

  /** With no connection alive and the last connect failed, only as many wait as are being connected for. */
  #trim(): void {
    if (this.#queue.size === 0 || this.#entries.size > 0 || !this.#connector.failing) return
    while (this.#queue.size > this.#connector.inFlight) {
      this.#settle(this.#queue.pop() as Request<Connection>, this.#refusals.unavailable())
    }
  }

  async #drain(deadlineMs: number): Promise<DrainReport> {
    const { clock } = this.#options
    this.#state = 'draining'
    this.#tell('draining')
    this.#starting.ended(() => this.#refusals.draining())
    let timer: unknown
    const quiet = new Promise<void>((resolve) => {
      this.#onQuiet = resolve
      timer = clock.setTimeout(resolve, deadlineMs)
    })
    this.#checkQuiet()
    await quiet
    clock.clearTimeout(timer)
    this.#state = 'closed'
    this.#keeper.end()
    this.#connector.stop()
    this.#connector.abort()
    for (let request = this.#queue.first; request !== undefined; request = this.#queue.first) {
      this.#settle(request, this.#refusals.draining('ended before a connection was free'))
    }
    this.#deadlines.end()
    for (const entry of this.#idle.entries()) this.retireIdle(entry)
    const now = clock.now()
    let forced = 0
    for (const entry of [...this.#entries.values()]) {
      if (!this.isOnLoan(entry)) continue
      forced++
      this.#endLoan(entry, now)
      this.retire(entry)
    }
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve
      this.#checkEmpty()
    })
    this.#tell('drained')
    return { forced }
  }

  #checkQuiet(): void {
    if (this.#leased === 0 && this.#queue.size === 0) this.#onQuiet?.()
  }

  #checkEmpty(): void {
    if (this.size + this.#connector.limbo === 0) this.#onEmpty?.()
  }

  #refuse(error: PoolError): Promise<never> {
    this.counters.failedAcquisitions++
    return Promise.reject(error)
  }

  #tell(type: PoolTransition['type'], cause?: unknown): void {
    const event = { pool: this.poolName, factory: this.factoryName, type }
    try {
      this.#options.onTransition(cause === undefined ? event : { ...event, cause })
    } catch {
      // A hook changes nothing.
    }
  }
}
