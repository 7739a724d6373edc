import type { Durability, Procedures, Reader, Unit, Write } from './unit.ts'

/** Where the database lies and how it commits. */
export interface DatabaseOptions {
  /** The data directory, made with mode 0700 where it is absent. It holds `gateway.db`, its WAL and the lock. */
  readonly directory: string
  /** The level every unit reaches unless it says otherwise: `fsync`. */
  readonly durability?: Durability
  /** Writes that may wait for a commit before new ones wait or are refused: 10,000. */
  readonly maxPending?: number
  /** What a write gets when `maxPending` are waiting: `wait` for room (the default), or `refuse` with `write_queue_full`. */
  readonly onFull?: 'wait' | 'refuse'
  /**
   * How long a write waits for the disk, in milliseconds: 10,000. It is `unavailable` then if the writer has not been given it, and
   * `unknown` otherwise.
   */
  readonly deadlineMs?: number
}

/** The figures of a database for health checks and metrics. */
export interface DatabaseHealth {
  /** `unavailable`: the disk has not answered for a deadline. */
  readonly state: 'open' | 'unavailable' | 'failed' | 'closed'
  /** Why the database failed, with state `failed`. */
  readonly reason?: string
  readonly pendingWrites: number
  readonly commits: number
  /** How long the commits took together, each from the moment its first write was handed over until it was durable. */
  readonly commitMs: number
  readonly writes: number
}

/** What stores need of an embedded database: of the one that `openDatabase` gives, or a Durable Object's. */
export interface StoreDatabase {
  readonly durability: Durability
  /** Reads what is committed. Synchronous. */
  readonly reader: Reader
  unit(options?: { readonly durability?: Durability }): Unit
  /** Commits one write in a unit of its own and resolves to the procedure's result. */
  write<Result>(write: Write, options?: { readonly durability?: Durability }): Promise<Result>
  /**
   * Brings the schema of `owner` to the last of `migrations` (SQL texts, one a version, forwards only), in one transaction.
   * Rejects with `schema_too_new` when the file is ahead of the code. Safe to call again and concurrently. `procedures` are the
   * owner's writes, for a database that cannot load them by their URL.
   */
  migrate(owner: string, migrations: readonly string[], procedures?: Procedures): Promise<void>
}

/** One SQLite file with group commit: a writer thread, and a read-only connection for reads in this thread. */
export interface Database extends StoreDatabase {
  readonly directory: string
  readonly file: string
  readonly health: DatabaseHealth
  /** Writes a consistent copy of the database to `file`, which must not exist, while writes go on. */
  backup(file: string): Promise<void>
  /** Calls `listener` once when an I/O error makes the database unusable; at once if it already is. */
  onFailed(listener: (cause: unknown) => void): void
  /** Commits what is pending, ends the writer thread and frees the data directory. */
  close(): Promise<void>
}
