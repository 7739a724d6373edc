export { type DedupCrypto, webCrypto } from './crypto.ts'
export {
  type Decision,
  type KeyScope,
  type PendingClaim,
  RequestDeduplicator,
  type RequestDeduplicatorOptions,
  type RequestIdentity,
} from './deduplicator.ts'
export { DedupError, type DedupErrorCode } from './errors.ts'
export {
  type DedupEnv,
  type DedupOptions,
  dedup,
  type Idempotency,
  type LinkedRun,
  type LinkedRuns,
} from './middleware.ts'
export type { DedupStore, KeyLink, KeyRecord, NewClaim, StoredResponse } from './store.ts'
export type { Durability, Unit, Write } from './unit.ts'
