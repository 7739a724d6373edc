import type { ConnectionPool, PoolTransition } from '@gw/pool'
import { GatewayError } from './errors.ts'

/** The gateway's connection pools: opened when it starts, drained after the last request. */
export class GatewayPools {
  readonly #pools = new Map<string, ConnectionPool>()
  readonly #onTransition: (transition: PoolTransition) => void

  constructor(onTransition: (transition: PoolTransition) => void) {
    this.#onTransition = onTransition
  }

  /** Throws `invalid_option` where another pool has the name. */
  add(pool: ConnectionPool): this {
    if (this.#pools.has(pool.name))
      throw new GatewayError('invalid_option', `Expected \`pools\` to have one \`${pool.name}\`, got two`)
    this.#pools.set(pool.name, pool)
    pool.subscribe(this.#onTransition)
    return this
  }

  /** Throws `unknown_pool`. */
  get(name: string): ConnectionPool {
    const pool = this.#pools.get(name)
    if (pool !== undefined) return pool
    throw new GatewayError(
      'unknown_pool',
      `No connection pool \`${name}\`; there are: ${[...this.#pools.keys()].join(', ') || 'none'}`,
    )
  }

  get all(): ReadonlyMap<string, ConnectionPool> {
    return this.#pools
  }

  /** Opens the minimum of each. A pool whose factory fails goes on trying, and is no reason not to start. */
  start(): void {
    for (const pool of this.#pools.values()) pool.start().catch(() => {})
  }

  async drain(deadlineMs: number): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.drain({ deadlineMs })))
  }
}
