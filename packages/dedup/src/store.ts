import type { Unit, Write } from './unit.ts'

/** An answer as it is kept: status, the fields that may be replayed, and the bytes. */
export interface StoredResponse {
  readonly status: number
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: Uint8Array
}

/** What is known of a key. */
export interface KeyRecord {
  readonly key: string
  /** The claim that holds it; grows with each claim of the key. */
  readonly token: number
  readonly state: 'in_flight' | 'completed'
  readonly fingerprint: string
  readonly principalHash: string
  /** The run behind the key, if a durable request has it. */
  readonly link: string | undefined
  readonly response: StoredResponse | undefined
  /** What is left of the owner's lease; 0 when it has lapsed, or its process has ended. */
  readonly leaseRemainingMs: number
  /** What is left of the window of a completed answer; 0 when the key is new again. */
  readonly windowRemainingMs: number
}

/** A claim to be made. */
export interface NewClaim {
  readonly key: string
  readonly fingerprint: string
  readonly principalHash: string
  readonly link: string | undefined
  readonly leaseMs: number
  readonly windowMs: number
  /** The token of a record that may be taken over, because its lease lapsed or its run was never accepted. */
  readonly replaces: number | undefined
  /** Must be above the token of a record that it takes over. */
  readonly token: number
}

/** What a run or an owner needs to settle a key: plain JSON. */
export interface KeyLink {
  readonly key: string
  readonly token: number
}

/**
 * Remembers keys. Writes are given as {@link Write}s, so that a unit can carry them with other stores' writes. The laws:
 *
 * 1. Of any number of claims on a free key one is kept; each other unit is refused with reason `held`.
 * 2. A claim takes a completed key whose window is over, or the one whose token it says that it replaces, and no other.
 * 3. `complete`, `extend` and `release` act for the current token only; a stale one changes nothing and answers `false`.
 * 4. A completed answer comes back to the byte, until its window, counted from completion, is over.
 * 5. After a restart, claims of the process before have no lease left; links stay.
 */
export interface DedupStore {
  readonly durable: boolean
  readonly shared: boolean
  /** What it writes to: stores with the same `database` can share a unit. */
  readonly database: unknown
  open(): Promise<void>
  /** The secret that storage keys are made with: what `given` says, or one made and kept at the first call. */
  secret(given: Uint8Array | undefined): Promise<Uint8Array>
  unit(): Unit
  claim(claim: NewClaim): Write
  complete(link: KeyLink, response: StoredResponse): Write
  extend(link: KeyLink, leaseMs: number): Write
  release(link: KeyLink): Write
  get(key: string): Promise<KeyRecord | undefined>
  /** Deletes at most `limit` keys whose window is over; answers how many. */
  sweep(limit: number): Promise<number>
}
