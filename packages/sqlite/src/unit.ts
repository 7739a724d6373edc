/**
 * How durable an acknowledged write is: in this process's memory, handed to the operating system, synced to the disk,
 * or held by more than one machine.
 */
export type Durability = 'memory' | 'os' | 'fsync' | 'replicated'

/**
 * One write: a named synchronous function of a store, run by the writer thread inside the unit's transaction.
 *
 * `procedure` is `<module URL>#<owner>.<name>`, where the module exports `procedures: Procedures`; `args` must be
 * structured-cloneable. The owner, which may be left out, tells bundled modules apart, which all have one URL.
 */
export interface Write {
  readonly procedure: string
  readonly args: unknown
}

/**
 * Joins the writes of several stores into one transaction.
 *
 * Either every write of a unit is applied or none is. A procedure may refuse, which rolls back its own unit only.
 */
export interface Unit {
  /**
   * Appends a write. `onCommitted` gets the procedure's result once the unit is durable, before `commit` resolves. A result for
   * which there is no parameter is not carried between the threads.
   */
  add(write: Write, onCommitted?: (result: unknown) => void): void
  /**
   * Resolves to the level reached when the unit is durable. Rejects with `SqliteError` code `refused` (and the
   * procedure's `reason`) when a procedure refused, and with the other codes when the storage failed; nothing of the unit is
   * applied then. A unit commits once.
   */
  commit(): Promise<Durability>
}

/** What SQLite stores and gives back. */
export type SqlValue = null | number | bigint | string | Uint8Array

/** Reads rows; statements are prepared once for each SQL text. */
export interface Reader {
  get<Row>(sql: string, ...params: readonly SqlValue[]): Row | undefined
  all<Row>(sql: string, ...params: readonly SqlValue[]): Row[]
}

/** What a procedure sees of the database, inside its unit's transaction in the writer thread. */
export interface Connection extends Reader {
  /** Runs one statement; answers how many rows it changed. */
  run(sql: string, ...params: readonly SqlValue[]): number
  /** Rolls this unit back and rejects its `commit` with code `refused` and this `reason` (structured-cloneable). */
  refuse(reason: unknown): never
  /**
   * What procedures of one owner tell those that come later, so that they need not read it again. Emptied when anything is rolled
   * back, and to be kept small: names begin with the owner's.
   */
  readonly known: Map<string, unknown>
  /** SHA-256 over the chunks, one after the other. */
  sha256(...chunks: readonly Uint8Array[]): Uint8Array
}

/** The shape of the `procedures` export of a store's module. A procedure must be synchronous and must not keep the connection. */
export type Procedures = Readonly<Record<string, (connection: Connection, args: never) => unknown>>
