import type { SQL } from 'drizzle-orm'
import type { PgTransaction } from 'drizzle-orm/pg-core'
import type { PostgresJsDatabase, PostgresJsQueryResultHKT } from 'drizzle-orm/postgres-js'
import type { Unit } from './unit.ts'

/** How writes wait, and how long a call may take. */
export interface PostgresDatabaseOptions {
  /** After how long a call that has no answer rejects, with `unavailable` or `unknown`: 5,000. */
  readonly deadlineMs?: number
  /** Connections that commit units, each one batch at a time: 2. */
  readonly lanes?: number
  /** Units that may wait for a commit before new ones wait for room or are refused: 10,000. */
  readonly maxPending?: number
  /** What a unit gets when `maxPending` are waiting: `wait` for room (the default), or `refuse` with `write_queue_full`. */
  readonly onFull?: 'wait' | 'refuse'
}

/** The figures of a database for health checks and metrics. */
export interface PostgresDatabaseHealth {
  /** `unavailable` from a connection that could not be made until one works again. */
  readonly state: 'open' | 'unavailable' | 'closed'
  /** Why, with state `unavailable`. */
  readonly reason?: string
  /** Units that wait or are on their way. */
  readonly pendingWrites: number
  /** Transactions that were committed for units. */
  readonly commits: number
  /** How long those took together, from the moment a lane took the units up until they were durable. */
  readonly commitMs: number
  /** Writes in the units that were committed. */
  readonly writes: number
}

/** Drizzle inside an open transaction, without what depends on a schema of the caller's. */
export type PostgresTransaction = Pick<
  PgTransaction<PostgresJsQueryResultHKT, Record<string, never>, Record<string, never>>,
  'execute' | 'select' | 'selectDistinct' | 'selectDistinctOn' | 'insert' | 'update' | 'delete' | 'with' | '$with'
>

/** One thing that a write touches. */
export interface Lock {
  /** For example `run:<id>`. */
  readonly name: string
  /** Shared with other shared ones; not shared means alone. */
  readonly shared: boolean
}

/** What a procedure did for one element of its batch. */
export type Answer = { readonly result: unknown } | { readonly refused: unknown }

/** Sends a statement and gives its rows. */
export type Send = (statement: SQL) => Promise<readonly Record<string, unknown>[]>

/**
 * What one named write does, for all of its kind that share a commit.
 *
 * A transaction may be rolled back and run again with fewer elements, so a procedure has no effect but its statements.
 */
export interface Procedure<Args> {
  /**
   * What it touches. Two units that both name a thing, at least one of them not shared, never share a commit and are
   * committed in the order they came.
   */
  locks(args: Args): readonly Lock[]
  /**
   * Promises that `run` sends exactly one statement: the next procedure's follows it without waiting for the answer, which saves
   * a round trip. A second statement is refused. Absent means any number; units with such a procedure go in batches of their own
   * and leave one lane to the others.
   */
  readonly oneStatement?: boolean
  /**
   * Its statements go behind those of all other stores: for a procedure with a lock at which the transactions of all processes meet.
   * Who waits for it has the rows that it needs, and who holds it waits for none.
   */
  readonly afterOthers?: boolean
  /**
   * Runs the whole batch, in one set-based statement where possible, and gives one answer an element, in order. A refusal
   * rolls back its unit only: the transaction starts again without it.
   *
   * Statements of `tx` are prepared once for each text and connection: keep the text constant and pass the batch as one
   * array (`text[]`, `int8[]`) or JSON parameter.
   *
   * `send` does what `tx.execute` does, at once and in the order of the calls, where that waits to be awaited. What was sent last
   * need not be awaited: the COMMIT follows it without waiting for its answer, which saves a round trip, and where it fails nothing
   * of the batch is applied.
   */
  run(tx: PostgresTransaction, batch: readonly Args[], send: Send): Promise<readonly Answer[]>
}

/** A drizzle `db` with group commit: units of several stores in few transactions, and deadlines on every call. */
export interface PostgresDatabase {
  readonly db: PostgresJsDatabase
  readonly deadlineMs: number
  readonly health: PostgresDatabaseHealth
  /** A unit whose commit is shared with whatever waits at the same time. */
  unit(): Unit
  /**
   * A unit whose writes run in a transaction that the caller has open: `commit` applies them there, behind a savepoint, and
   * they are durable when that transaction is. `onCommitted` is called when they are applied.
   */
  unitIn(tx: PostgresTransaction): Unit
  /**
   * Runs `work` in one transaction, once. An error that `work` throws rolls back and passes through; otherwise rejects with
   * `unavailable` or `constraint` (not applied) or `unknown` (the COMMIT was not answered).
   */
  transaction<Result>(work: (tx: PostgresTransaction) => Promise<Result>): Promise<Result>
  /** Reads outside of units. The statement is prepared once for each text and connection. */
  query<Row extends Record<string, unknown>>(statement: SQL): Promise<Row[]>
  /**
   * Brings the schema of `owner` to the last of `migrations` (SQL texts, one a version, forwards only), in one transaction under
   * an advisory lock. Rejects with `schema_too_new` when the database is ahead of the code. Safe to call again, from any
   * number of processes at once.
   */
  migrate(owner: string, migrations: readonly string[]): Promise<void>
  /**
   * Says what a `Write` with this `name` does; the same name again replaces it. What stands before the first dot names a store:
   * procedures of one store run in the order of the writes, those of different ones, which share no tables, side by side.
   */
  define<Args>(name: string, procedure: Procedure<Args>): void
  /**
   * Calls `listener` with the payload of each notification on `channel`, on a connection that is made again when it breaks.
   * What is sent while it is broken is missed. Resolves, once the server listens, to a function that ends it.
   */
  listen(channel: string, listener: (payload: string) => void): Promise<() => Promise<void>>
  /** Commits what is pending, refuses what comes later, and ends the connections made here; the client stays open. */
  close(): Promise<void>
}
