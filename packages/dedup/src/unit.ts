/** How durable an acknowledged write is: in memory, handed to the operating system, synced, or held by several machines. */
export type Durability = 'memory' | 'os' | 'fsync' | 'replicated'

/** One write of a store, as the unit's database understands it. */
export interface Write {
  readonly procedure: string
  readonly args: unknown
}

/** Joins the writes of several stores on one database into one transaction: all are applied, or none. */
export interface Unit {
  /** Appends a write. `onCommitted` gets its result once the unit is durable, before `commit` resolves. */
  add(write: Write, onCommitted?: (result: unknown) => void): void
  /** Rejects with an error of code `refused`, carrying `reason`, when a write refused; nothing is applied then. */
  commit(): Promise<Durability>
}

/** The reason that a refused unit carries, or `undefined` for any other failure. */
export function refusalOf(error: unknown): { readonly reason: unknown } | undefined {
  return error instanceof Error && 'code' in error && error.code === 'refused'
    ? { reason: 'reason' in error ? error.reason : undefined }
    : undefined
}
