import type { Lease } from './lease.ts'

/** What the pool knows of one connection. generic-pool keeps these, so that two of them are never the same thing. */
export class Entry<Connection extends object> {
  readonly connection: Connection
  readonly createdAtMs: number
  /** From here on it is replaced when idle or when it comes back. */
  readonly softExpiryMs: number
  /** From here on it is not lent. */
  readonly hardExpiryMs: number
  readonly generation: number
  /** Not yet counted as a live connection. */
  fresh = true
  lost = false
  /** Stays where it was among the idle when it is put back: it was taken to be tested, not to be used. */
  keepsPlace = false
  /** Waits for its replacement. */
  rotating = false
  idleSinceMs: number
  checkedAtMs: number
  borrowedAtMs = 0
  /** Odd while lent. A lease knows its own number, so a stale one does nothing. */
  loan = 0
  /** Held only while the loan is young; afterwards the lease is watched for being forgotten. */
  lease: Lease<Connection> | undefined
  watched = false
  /** The loan that was reported as too long. */
  reportedLoan = 0
  /** Where the loan was taken, with `leakThresholdMs`. */
  takenAt: Error | undefined

  constructor(
    connection: Connection,
    times: { readonly nowMs: number; readonly softExpiryMs: number; readonly hardExpiryMs: number },
    generation: number,
  ) {
    this.connection = connection
    this.createdAtMs = times.nowMs
    this.idleSinceMs = times.nowMs
    this.checkedAtMs = times.nowMs
    this.softExpiryMs = times.softExpiryMs
    this.hardExpiryMs = times.hardExpiryMs
    this.generation = generation
  }
}
