import type { CompletedRecord } from './answer-cache.ts'
import type { Claim } from './claim.ts'
import type { KeyRecord } from './store.ts'

/** What a key's record says to a request that brings the key. */
export type Decision =
  /** The claim was made. */
  | { readonly kind: 'claimed'; readonly claim: Claim }
  /** The key is free; the claim is ready for a unit. */
  | { readonly kind: 'free'; readonly claim: Claim }
  | { readonly kind: 'completed'; readonly record: CompletedRecord }
  | { readonly kind: 'in_flight'; readonly record: KeyRecord }
  /** The owner's lease is over and it gave no answer. */
  | { readonly kind: 'lapsed'; readonly record: KeyRecord }
  /** There is a record, and it cannot be read. */
  | { readonly kind: 'corrupt'; readonly record: KeyRecord }
  | { readonly kind: 'mismatch'; readonly record: KeyRecord }

/** What a request is known by. */
export interface RequestIdentity {
  readonly key: string
  readonly fingerprint: string
  readonly principalHash: string
  readonly windowMs?: number
  readonly leaseMs?: number
}
