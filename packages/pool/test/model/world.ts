import type { ConnectionFactory, ConnectionPool, Lease, NamedPool, PoolError, PoolOptions } from '../../src/index.ts'
import { FakeClock } from '../fake-clock.ts'

/** The pool under test: the package's source, or a copy of it with a bug planted. */
export interface Machine {
  readonly ConnectionPool: new (options: PoolOptions) => ConnectionPool
}

/** What a schedule says next: what to do, and which of those it could be done to. */
export type Command = readonly [kind: number, choice: number]

interface Connection {
  readonly id: number
  readonly lost: () => void
  /** How often everything had been replaced when it was asked for. */
  readonly generation: number
  dead: boolean
}

interface Request {
  readonly seq: number
  readonly key: number
  readonly deadlineMs: number
  readonly controller: AbortController
  aborted: boolean
  settled: boolean
}

interface Pending {
  settle(ok: boolean): void
}

const agingMs = 1_000
const turns = 40

/** Lets every microtask run. */
async function drainMicrotasks(): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await null
}

/** One pool, a server that is none, and what must be true of the two after every command. */
export class World {
  readonly coverage: Record<string, number> = {}
  readonly #clock = new FakeClock(drainMicrotasks)
  readonly #pool: ConnectionPool
  readonly #database: NamedPool<Connection>
  #max = 3
  #ids = 0
  #generation = 0
  #seq = 0
  #failedCreates = 0
  readonly #connections: Map<Connection, 'open' | 'closing'> = new Map()
  readonly #creates: Pending[] = []
  readonly #tests: Pending[] = []
  readonly #closes: Pending[] = []
  readonly #requests: Set<Request> = new Set()
  readonly #leases: Lease<Connection>[] = []
  readonly #given: Lease<Connection>[] = []
  readonly #holders: Map<Connection, Lease<Connection>> = new Map()
  #quiet = false
  #choice = 0
  #violation: Error | undefined

  constructor({ ConnectionPool }: Machine) {
    this.#pool = new ConnectionPool({
      name: 'model',
      min: 1,
      max: this.#max,
      clock: this.#clock,
      now: () => this.#clock.nowMs,
      random: () => 0.5,
      agingMs,
      createTimeoutMs: 100,
      validateTimeoutMs: 80,
      // A close or an abandoned connect is waited for until the schedule lets it end.
      destroyTimeoutMs: 1_000_000,
      validateAfterIdleMs: 1,
      idleTimeoutMs: 300,
      maxLifetimeMs: 2_000,
      healthCheckIntervalMs: 200,
      sweepIntervalMs: 100,
      connectConcurrency: 2,
    })
    this.#database = this.#pool.register('database', this.#factory())
  }

  async run(commands: readonly Command[]): Promise<void> {
    for (const [kind, choice] of commands) {
      this.#choice = choice
      this.#do(kind, choice)
      if (kind >= 80 && kind < 93) await this.#clock.advance((choice % 60) + 1)
      else await drainMicrotasks()
      this.#check()
    }
    await this.#quietEnd()
  }

  #do(kind: number, choice: number): void {
    if (kind < 28) this.#acquire(choice)
    else if (kind < 40) this.#giveBack(choice, 'release')
    else if (kind < 44) this.#giveBack(choice, 'destroy')
    else if (kind < 48) {
      if (this.#given.length > 0) this.#count('releasedTwice')
      pick(this.#given, choice)?.release()
    } else if (kind < 54) this.#abort(choice)
    else if (kind < 67) this.#end(this.#creates, choice, 'connectFailed')
    else if (kind < 74) this.#end(this.#tests, choice, 'testFailed')
    else if (kind < 80) this.#end(this.#closes, 1, 'closeFailed')
    else if (kind < 93) this.#count('advanced')
    else if (kind < 96) this.#lose(choice)
    else if (kind < 98) {
      this.#count('refreshed')
      this.#generation++
      this.#pool.refresh()
    } else {
      this.#count('resized')
      this.#max = (choice % 4) + 1
      this.#pool.resize({ max: this.#max })
    }
  }

  #acquire(choice: number): void {
    const priority = [0, 0, 0, -1, 1][choice % 5] as number
    const timeoutMs = [30, 60, 500][choice % 3] as number
    const { nowMs } = this.#clock
    const request: Request = {
      seq: this.#seq++,
      key: nowMs + priority * agingMs,
      deadlineMs: nowMs + timeoutMs,
      controller: new AbortController(),
      aborted: false,
      settled: false,
    }
    this.#requests.add(request)
    this.#database.acquire({ priority, timeoutMs, signal: request.controller.signal }).then(
      (lease) => this.#served(request, lease),
      (error: PoolError) => this.#refused(request, error),
    )
  }

  #served(request: Request, lease: Lease<Connection>): void {
    this.#settled(request)
    this.#count('served')
    const { connection } = lease
    if (request.aborted) this.#violate('a request that was aborted was served')
    if (this.#holders.has(connection)) this.#violate('one connection is lent twice')
    if (this.#connections.get(connection) !== 'open') this.#violate('a closed connection was lent')
    if (connection.generation !== this.#generation) this.#violate('a connection from before a refresh was lent')
    if (connection.dead) this.#violate('a dead connection was lent')
    for (const other of this.#requests) {
      if (other.key < request.key || (other.key === request.key && other.seq < request.seq)) {
        this.#violate('a request was served out of its turn')
      }
    }
    this.#holders.set(connection, lease)
    this.#leases.push(lease)
  }

  #refused(request: Request, error: PoolError): void {
    this.#settled(request)
    this.#count(error.code)
    if (error.code === 'pool_exhausted') {
      if (this.#clock.nowMs < request.deadlineMs) this.#violate('a request timed out too soon')
    } else if (error.code === 'pool_aborted') {
      if (!request.aborted) this.#violate('a request was given up that nobody aborted')
    } else if (error.code === 'pool_factory_failed') {
      if (this.#failedCreates === 0) this.#violate('a factory that never failed is blamed')
    } else this.#violate(`unexpected ${error.code}: ${error.message}`)
  }

  #settled(request: Request): void {
    if (request.settled) this.#violate('a request settled twice')
    request.settled = true
    this.#requests.delete(request)
  }

  #giveBack(choice: number, how: 'release' | 'destroy'): void {
    if (this.#leases.length === 0) return
    const [lease] = this.#leases.splice(choice % this.#leases.length, 1) as [Lease<Connection>]
    this.#holders.delete(lease.connection)
    this.#count(how === 'release' ? 'released' : 'destroyed')
    this.#given.push(lease)
    lease[how]()
  }

  #abort(choice: number): void {
    const waiting = [...this.#requests].filter((request) => !request.aborted)
    const request = pick(waiting, choice)
    if (request === undefined) return
    this.#count('aborted')
    request.aborted = true
    request.controller.abort()
  }

  #end(pending: Pending[], choice: number, failure: string): void {
    if (pending.length === 0) return
    const [one] = pending.splice(choice % pending.length, 1) as [Pending]
    const ok = choice % 6 !== 0
    if (!ok) this.#count(failure)
    one.settle(ok)
  }

  #lose(choice: number): void {
    const connection = pick([...this.#connections.keys()], choice)
    if (connection === undefined) return
    this.#count('lost')
    connection.dead = true
    connection.lost()
  }

  #factory(): ConnectionFactory<Connection> {
    return {
      create: ({ lost, signal }) => {
        signal.addEventListener('abort', () => {
          this.#failedCreates++
          this.#count('connectTimedOut')
        })
        const generation = this.#generation
        const open = this.#connections.size + this.#creates.length + 1
        if (open > this.#max) this.#violate(`${open} connections where ${this.#max} may be`)
        return new Promise((resolve, reject) => {
          this.#pend(this.#creates, {
            settle: (ok) => {
              if (!ok) {
                this.#failedCreates++
                return reject(new Error('refused'))
              }
              const connection = { id: ++this.#ids, lost, generation, dead: false }
              this.#connections.set(connection, 'open')
              return resolve(connection)
            },
          })
        })
      },
      validate: () => {
        if (!this.#quiet && this.#choice % 4 === 0) {
          this.#count('testFailed')
          return false
        }
        return new Promise((resolve) => {
          this.#pend(this.#tests, { settle: resolve })
        })
      },
      destroy: (connection) => {
        if (this.#holders.has(connection)) this.#violate('a connection was closed while it was lent')
        if (this.#connections.get(connection) !== 'open') this.#violate('a connection was closed twice')
        this.#connections.set(connection, 'closing')
        return new Promise<void>((resolve) => {
          this.#pend(this.#closes, {
            settle: () => {
              this.#connections.delete(connection)
              resolve()
            },
          })
        })
      },
    }
  }

  #pend(pending: Pending[], one: Pending): void {
    if (this.#quiet) one.settle(true)
    else pending.push(one)
  }

  #check(): void {
    const metrics = this.#pool.metrics()
    const { activeConnections, idleConnections, pendingConnections, totalConnections } = metrics
    if (activeConnections + idleConnections + pendingConnections !== totalConnections)
      this.#violate('the figures disagree')
    if (totalConnections > metrics.maxConnections) this.#violate('the total is above the maximum')
    if (activeConnections !== this.#leases.length) {
      this.#violate(`${activeConnections} are said to be active, ${this.#leases.length} are`)
    }
    if (metrics.waitingRequests !== this.#requests.size) {
      this.#violate(`${metrics.waitingRequests} are said to wait, ${this.#requests.size} do`)
    }
    for (const request of this.#requests) {
      if (request.aborted) this.#violate('a request waits though it was aborted')
      if (this.#clock.nowMs > request.deadlineMs + 50) this.#violate('a request waits past its timeout')
    }
    if (this.#requests.size > 0 && this.#tests.length === 0) {
      if (idleConnections > 0) this.#violate('a request waits while a connection is idle')
      const room = totalConnections + metrics.closingConnections < this.#max
      const failing = metrics.factories['database']?.failing === true
      if (room && pendingConnections === 0 && !failing) this.#violate('a request waits and nothing is connected for it')
    }
    if (this.#violation !== undefined) throw this.#violation
  }

  /** The faults stop: everything pending ends well, and the pool must do all it is for. */
  async #quietEnd(): Promise<void> {
    this.#quiet = true
    for (const pending of [this.#creates, this.#tests, this.#closes]) {
      for (const one of pending.splice(0)) one.settle(true)
    }
    for (let step = 0; step < 12; step++) {
      while (this.#leases.length > 0) this.#giveBack(0, 'release')
      await this.#clock.advance(500)
      this.#check()
    }
    if (this.#requests.size > 0) this.#violate('a request is left over')
    this.#acquire(2)
    await this.#clock.advance(400)
    this.#check()
    if (this.#leases.length !== 1) this.#violate('the pool serves nobody any more')
    let forced: number | undefined
    this.#pool.drain({ deadlineMs: 1_000 }).then((report) => {
      forced = report.forced
    })
    await drainMicrotasks()
    if (forced !== undefined) this.#violate('the drain did not wait for a loan')
    while (this.#leases.length > 0) this.#giveBack(0, 'release')
    await this.#clock.advance(100)
    if (forced === undefined) this.#violate('the drain does not end')
    else if (forced > 0) this.#violate('the drain found a loan that nobody has')
    if (this.#connections.size > 0) this.#violate('a connection is left open')
    this.#check()
  }

  #count(what: string): void {
    this.coverage[what] = (this.coverage[what] ?? 0) + 1
  }

  #violate(what: string): void {
    this.#violation ??= new Error(what)
  }
}

function pick<Item>(items: readonly Item[], choice: number): Item | undefined {
  return items.length === 0 ? undefined : items[choice % items.length]
}
