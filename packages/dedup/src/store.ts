import type { Unit, Write } from './unit.ts'

/** An answer as it is kept: status, the fields that may be replayed, and the bytes. */
export interface StoredResponse {
  readonly status: number
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** `undefined` where the answer was given but its body was not retained. */
  readonly body: Uint8Array | undefined
}

/** What a run or an owner needs to settle a key: plain JSON. */
export interface KeyLink {
  readonly key: string
  /** The claim that holds the key: a text that no other claim has. */
  readonly token: string
}

/** What is known of a key. */
export interface KeyRecord extends KeyLink {
  /** Grows with each claim of the key. */
  readonly fence: number
  /** `corrupt` is a record that is there and cannot be read: whether it was answered is not known. */
  readonly state: 'in_flight' | 'completed' | 'corrupt'
  readonly fingerprint: string
  readonly principalHash: string
  /** The run behind the key, if a durable request has it. */
  readonly link: string | undefined
  readonly response: StoredResponse | undefined
  /** What is left of the owner's lease; 0 when it has lapsed, or its process has ended. */
  readonly leaseRemainingMs: number
  /** What is left of the window of a completed answer; of a claim, its whole window. */
  readonly windowRemainingMs: number
}

/** A claim to be made. */
export interface NewClaim extends KeyLink {
  readonly fingerprint: string
  readonly principalHash: string
  readonly link: string | undefined
  readonly leaseMs: number
  readonly windowMs: number
  /** The token of a claim that may be taken over once its lease has lapsed. */
  readonly replaces: string | undefined
}

/** What became of a claim. */
export type ClaimAnswer =
  | { readonly kind: 'claimed'; readonly fence: number }
  | { readonly kind: 'held'; readonly record: KeyRecord }

/** Whether a write acted, or came from a claim that no longer holds its key. */
export type Settlement = 'ok' | 'stale'

/** What a store tells of keys, from this process or another. Best effort: nothing may depend on it. */
export interface KeyListener {
  /** A key that somebody waited for was answered or freed. */
  settled?(key: string): void
  /** A completed answer was dropped before its window was over. */
  evicted?(key: string): void
  /** Answers of a principal were erased. */
  erased?(principalHash: string): void
}

/**
 * Remembers keys. Writes are given as {@link Write}s, so that a unit can carry them with other stores' writes.
 *
 * The laws, each checked by `testDedupStore` from `@gw/dedup/testing`:
 *
 * 1. Of any number of concurrent claims on a free key one is `claimed`; every other one is `held` and gets the record.
 * 2. A claim repeated with its own token is `claimed` again, with the same fence: a lost answer does no harm.
 * 3. A claim takes a key that is free, a completed one whose window is over, an unlinked one whose lease lapsed longer than its
 *    window ago, and one whose token it names in `replaces` and whose lease has lapsed. No other.
 * 4. The fence grows with each claim of a key, also when the key was freed in between.
 * 5. `complete`, `extend`, `attach` and `release` act for the current token only; anything else is `stale` and changes nothing.
 *    A lapsed claim that nobody took over is still its owner's.
 * 6. `complete` repeated with its own token is `ok`, and the first answer stays.
 * 7. A completed answer comes back to the byte, until its window, counted from completion by the store's own clock, is over.
 * 8. `erase` removes what is completed or lapsed of one principal, and nothing that is under way.
 * 9. `sweep` removes only what a claim could take without `replaces`.
 * 10. A unit is all or nothing: a refused claim takes the unit's other writes with it. Where units are not `joinable`, a second write
 *     is refused when it is added.
 */
export interface DedupStore {
  /** Whether answers survive the process. */
  readonly durable: boolean
  /** Whether other processes see the same keys. */
  readonly shared: boolean
  /** Whether a unit may carry more than one write. */
  readonly joinable: boolean
  /** What it writes to: stores with the same `database` can share a unit. */
  readonly database: unknown
  /** Makes what is missing. Called before anything else; safe to call again and concurrently. */
  open(): Promise<void>
  /** The secret that storage keys are made with: `given`, or one made and kept at the first call; `secret_mismatch` where they differ. */
  secret(given: Uint8Array | undefined): Promise<Uint8Array>
  /** Makes a claim and answers in one round trip, whether it was made or not. */
  tryClaim(claim: NewClaim): Promise<ClaimAnswer>
  /** Reads a key; with `awaited` the key's settlement is told to listeners in other processes too. */
  get(key: string, options?: { readonly awaited?: boolean }): Promise<KeyRecord | undefined>
  unit(): Unit
  /** Refuses its unit with reason `held` when the key is not to be had; its result is the fence. */
  claim(claim: NewClaim): Write
  /** Its result is a {@link Settlement}. */
  complete(link: KeyLink, response: StoredResponse, windowMs: number | undefined): Write
  /** Its result is a {@link Settlement}. */
  extend(link: KeyLink, leaseMs: number): Write
  /** Names the run behind a claim. Its result is a {@link Settlement}. */
  attach(link: KeyLink, run: string): Write
  /** Its result is a {@link Settlement}. */
  release(link: KeyLink): Write
  /** Answers how many records it removed. */
  erase(principalHash: string): Promise<number>
  /** Deletes at most `limit` keys that are over; answers how many. */
  sweep(limit: number): Promise<number>
  /** Tells `listener` what happens to keys, until the function it resolves to is called. */
  watch?(listener: KeyListener): Promise<() => Promise<void>>
  close?(): Promise<void>
}
