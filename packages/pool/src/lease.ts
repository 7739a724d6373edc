import type { Entry } from './entry.ts'
import { PoolError } from './errors.ts'

/** What a lease goes back to. */
export interface Lender<Connection extends object> {
  readonly poolName: string
  readonly factoryName: string
  giveBack(entry: Entry<Connection>, close: boolean): void
}

/**
 * A connection that nobody else has until it is given back. Keep the lease for as long as the connection is used: one
 * that is forgotten is closed when the garbage collector finds it.
 */
export class Lease<Connection extends object> {
  readonly #lender: Lender<Connection>
  readonly #entry: Entry<Connection>
  readonly #loan: number

  constructor(lender: Lender<Connection>, entry: Entry<Connection>) {
    this.#lender = lender
    this.#entry = entry
    this.#loan = entry.loan
  }

  /** The connection. Throws `lease_released` once it has been given back, or was taken away by a drain. */
  get connection(): Connection {
    if (this.#entry.loan !== this.#loan) {
      throw new PoolError('lease_released', 'The lease has been given back; its connection may be somebody else’s', {
        pool: this.#lender.poolName,
        factory: this.#lender.factoryName,
      })
    }
    return this.#entry.connection
  }

  /** Whether the connection has been given back or taken away. */
  get released(): boolean {
    return this.#entry.loan !== this.#loan
  }

  /** Gives the connection back. A second call does nothing. */
  release(): void {
    if (this.#entry.loan === this.#loan) this.#lender.giveBack(this.#entry, false)
  }

  /** Gives the connection back to be closed, for one in a state that nobody else should meet. After `release` it does nothing. */
  destroy(): void {
    if (this.#entry.loan === this.#loan) this.#lender.giveBack(this.#entry, true)
  }

  /** `await using` gives the connection back at the end of the block. */
  [Symbol.asyncDispose](): Promise<void> {
    this.release()
    return done
  }
}

const done: Promise<void> = Promise.resolve()
