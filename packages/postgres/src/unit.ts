/**
 * How durable an acknowledged write is: in this process's memory (or the server's), handed to the operating system, synced to
 * the disk, or held by more than one machine.
 */
export type Durability = 'memory' | 'os' | 'fsync' | 'replicated'

/** One write: the name of a procedure that a store has defined, and what to do it with. */
export interface Write {
  readonly procedure: string
  readonly args: unknown
}

/**
 * Joins the writes of several stores into one transaction.
 *
 * Either every write of a unit is applied or none is, in the order they were added. A procedure may refuse, which takes back
 * its own unit only.
 */
export interface Unit {
  /** Appends a write. `onCommitted` gets the procedure's result once the unit is durable, before `commit` resolves. */
  add(write: Write, onCommitted?: (result: unknown) => void): void
  /**
   * Resolves to the level reached when the unit is durable. Rejects with `PostgresError` code `refused` (and the procedure's
   * `reason`) when a procedure refused, `constraint`, `procedure_failed` or `unavailable` when nothing of it was applied,
   * and `unknown` when the server was told to commit and did not answer. A unit commits once.
   */
  commit(): Promise<Durability>
}
