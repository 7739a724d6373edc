/** What {@link ColdStore.put} found under the name. */
export type PutAnswer = 'stored' | 'exists'

/**
 * Keeps immutable objects: what left the primary, and its backups. Names are made of `[0-9a-z/-]`, never of what a client sent.
 *
 * The laws, each checked on a real server by `test/s3.test.ts`, and on R2 by the table of runtimes:
 *
 * 1. `put` makes the object, or answers `exists` where the name has other bytes; it never replaces one. Putting the same bytes
 *    again is `stored`. Of any number of puts at once the bytes of one stay.
 * 2. An unknown outcome (a server error, a conflict, silence) is resolved by reading back. Where that is impossible too, `put`
 *    rejects with `cold_unknown`, and repeating it is safe.
 * 3. `get` answers the bytes that were put, or `undefined`.
 * 4. `list` answers names in ascending order, each once, with every object whose `put` had ended before.
 * 5. `remove` leaves nothing under the name; an absent one is no error.
 * 6. Every call settles within its deadline.
 */
export interface ColdStore {
  /** Rejects where the store cannot be used: `bucket_not_found`, `cold_denied`, `condition_ignored`, `cold_unavailable`. */
  probe(): Promise<void>
  put(name: string, bytes: Uint8Array): Promise<PutAnswer>
  get(name: string): Promise<Uint8Array | undefined>
  /** Names that start with `prefix` and sort after `after`; at most `limit` of them. */
  list(prefix: string, options?: { readonly after?: string; readonly limit?: number }): Promise<string[]>
  remove(name: string): Promise<void>
}

/** Whether two byte strings are the same. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
