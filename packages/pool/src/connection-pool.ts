import { PoolError } from './errors.ts'
import type { ConnectionFactory } from './factory.ts'
import { type DrainReport, FactoryPool } from './factory-pool.ts'
import type { Lease } from './lease.ts'
import { type PoolHealth, type PoolMetrics, poolHealth, readMetrics } from './metrics.ts'
import {
  checkBounds,
  checkWait,
  expected,
  type PoolLeak,
  type PoolOptions,
  type PoolTransition,
  type ResolvedOptions,
  resolveOptions,
} from './options.ts'
import type { AcquireOptions } from './request.ts'

/** How `start` waits. */
export interface StartOptions {
  /** Rejects at the first connect that fails, and asks for one connection even where `min` is 0. false */
  readonly failFast?: boolean
  /** How long to wait for the minimum. `acquireTimeoutMs` */
  readonly timeoutMs?: number
}

/** How `drain` waits. */
export interface DrainOptions {
  /** When loans that are still out lose their connections. 30 s */
  readonly deadlineMs?: number
}

/** New bounds; what is left out stays. */
export interface ResizeOptions {
  readonly min?: number
  readonly max?: number
  /** Only the connections of this factory. */
  readonly factory?: string
}

/** The connections of one factory, typed as the factory makes them. */
export interface NamedPool<Connection extends object> {
  acquire(options?: AcquireOptions): Promise<Lease<Connection>>
  /** Takes a connection that is idle and needs no test, without waiting. */
  tryAcquire(): Lease<Connection> | undefined
  use<Result>(run: (connection: Connection) => Promise<Result> | Result, options?: AcquireOptions): Promise<Result>
}

/** A leak, and when it was noticed, in milliseconds since 1970. */
export interface NoticedLeak extends PoolLeak {
  readonly at: number
}

const leaksKept = 20

const factoryMembers: ReadonlySet<string> = new Set(['create', 'validate', 'destroy', 'breaker', 'min', 'max'])

/** Connections under names, each with bounds, tests and lifetimes of its own. Making one opens nothing; that waits for `start` or the first `acquire`. */
export class ConnectionPool {
  readonly name: string
  readonly #options: ResolvedOptions
  readonly #pools: Map<string, FactoryPool<never>> = new Map()
  readonly #listeners = new Set<(event: PoolTransition) => void>()
  readonly #leaks: NoticedLeak[] = []
  #started = false
  #drained: Promise<DrainReport> | undefined

  constructor(options: PoolOptions) {
    const resolved = resolveOptions(options)
    this.#listeners.add(resolved.onTransition)
    this.#options = {
      ...resolved,
      onTransition: (event) => this.#tell(event),
      onLeak: (event) => {
        this.#leaks.push({ ...event, at: Date.now() })
        if (this.#leaks.length > leaksKept) this.#leaks.shift()
        resolved.onLeak(event)
      },
    }
    this.name = resolved.name
  }

  /** Names a factory. Answers its connections with their type; `acquire(name)` finds the same ones. */
  register<Connection extends object>(name: string, factory: ConnectionFactory<Connection>): NamedPool<Connection> {
    if (typeof name !== 'string' || name === '') expected('name', 'a name', name)
    if (this.#pools.has(name)) throw new PoolError('invalid_option', `The factory \`${name}\` is registered already`)
    for (const member of Object.keys(factory)) {
      if (!factoryMembers.has(member))
        throw new PoolError('invalid_option', `Unknown option \`${member}\` of \`${name}\``)
    }
    if (typeof factory.create !== 'function') expected('create', 'a function', factory.create)
    for (const member of ['validate', 'destroy'] as const) {
      const value = factory[member]
      if (value !== undefined && typeof value !== 'function') expected(member, 'a function', value)
    }
    if (this.#drained !== undefined) throw new PoolError('pool_draining', `Pool \`${this.name}\` is draining`)
    const pool = new FactoryPool(name, factory, this.#options)
    this.#pools.set(name, pool as unknown as FactoryPool<never>)
    if (this.#started) pool.begin()
    return {
      acquire: (options) => pool.acquire(options),
      tryAcquire: () => pool.tryAcquire(),
      use: (run, options) => use(pool, run, options),
    }
  }

  /** The newest 20 loans that were too long or lost, oldest first. */
  get leaks(): readonly NoticedLeak[] {
    return this.#leaks
  }

  /** The names registered so far. */
  get factories(): readonly string[] {
    return [...this.#pools.keys()]
  }

  /**
   * Lends a connection of the factory `name`. Rejects with a `PoolError`: `pool_exhausted` after the timeout,
   * `pool_factory_failed` or `breaker_open` at once while none is alive and none can be made, `pool_aborted`, `pool_draining`.
   */
  acquire<Connection extends object>(name: string, options?: AcquireOptions): Promise<Lease<Connection>> {
    const pool = this.#pools.get(name)
    if (pool === undefined) return Promise.reject(this.#unknown(name))
    return (pool as unknown as FactoryPool<Connection>).acquire(options)
  }

  /** Takes a connection that is idle and needs no test, without waiting. */
  tryAcquire<Connection extends object>(name: string): Lease<Connection> | undefined {
    return this.#named<Connection>(name).tryAcquire()
  }

  /** Lends a connection for as long as `run` takes, however it ends. */
  use<Connection extends object, Result>(
    name: string,
    run: (connection: Connection) => Promise<Result> | Result,
    options?: AcquireOptions,
  ): Promise<Result> {
    const pool = this.#pools.get(name)
    if (pool === undefined) return Promise.reject(this.#unknown(name))
    return use(pool as unknown as FactoryPool<Connection>, run, options)
  }

  /** Opens the minimum of every factory. Rejects with the error of the first that cannot, its cause included; the pool goes on trying until it is drained. */
  async start(options: StartOptions = {}): Promise<void> {
    this.#started = true
    await Promise.all([...this.#pools.values()].map((pool) => pool.start(options)))
  }

  /** Refuses new requests, serves those that wait, waits for loans until the deadline and closes everything. Called again, it answers the same. */
  async drain({ deadlineMs = 30_000 }: DrainOptions = {}): Promise<DrainReport> {
    checkWait('deadlineMs', deadlineMs)
    this.#drained ??= Promise.all([...this.#pools.values()].map((pool) => pool.drain(deadlineMs))).then((reports) => ({
      forced: reports.reduce((sum, report) => sum + report.forced, 0),
    }))
    return this.#drained
  }

  /** Sets new bounds. A smaller `max` closes idle connections now and those on loan when they come back. */
  resize({ min, max, factory }: ResizeOptions): void {
    const pools = factory === undefined ? [...this.#pools.values()] : [this.#named(factory)]
    for (const pool of pools) checkBounds(min ?? pool.min, max ?? pool.max)
    for (const pool of pools) pool.resize(min ?? pool.min, max ?? pool.max)
  }

  /** Replaces every connection, or those of one factory: idle ones now, those on loan when they come back. */
  refresh(factory?: string): void {
    for (const pool of factory === undefined ? this.#pools.values() : [this.#named(factory)]) pool.refresh()
  }

  /** Tells `listener` what happens to the pool as a whole, until the returned function is called. What it throws is dropped. */
  subscribe(listener: (event: PoolTransition) => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  /** Every figure, read in one instant. */
  metrics(): PoolMetrics {
    return readMetrics(this.#pools.values())
  }

  /** The figures in the shape of `GET /health/connection-pool`. */
  health(): PoolHealth {
    return poolHealth(this.metrics())
  }

  #tell(event: PoolTransition): void {
    for (const listener of this.#listeners) {
      try {
        listener(event)
      } catch {
        // A listener's failure changes nothing.
      }
    }
  }

  #named<Connection extends object>(name: string): FactoryPool<Connection> {
    const pool = this.#pools.get(name)
    if (pool === undefined) throw this.#unknown(name)
    return pool as unknown as FactoryPool<Connection>
  }

  #unknown(name: string): PoolError {
    return new PoolError('unknown_factory', `Pool \`${this.name}\` has no factory \`${name}\``, { pool: this.name })
  }
}

function use<Connection extends object, Result>(
  pool: FactoryPool<Connection>,
  run: (connection: Connection) => Promise<Result> | Result,
  options: AcquireOptions | undefined,
): Promise<Result> {
  const lease = options?.signal?.aborted === true ? undefined : pool.tryAcquire()
  return lease === undefined ? pool.acquire(options).then((later) => during(later, run)) : during(lease, run)
}

async function during<Connection extends object, Result>(
  lease: Lease<Connection>,
  run: (connection: Connection) => Promise<Result> | Result,
): Promise<Result> {
  try {
    return await run(lease.connection)
  } finally {
    lease.release()
  }
}
