export type { CompletedRecord } from './answer-cache.ts'
export type { Claim, PendingClaim } from './claim.ts'
export { type DedupCrypto, webCrypto } from './crypto.ts'
export type { Decision, RequestIdentity } from './decision.ts'
export { type Kept, RequestDeduplicator } from './deduplicator.ts'
export type {
  AnswerCacheOptions,
  DedupTransition,
  RequestDeduplicatorOptions,
  TransitionName,
} from './deduplicator-options.ts'
export { DedupError, type DedupErrorCode } from './errors.ts'
export type { BodyComparison } from './fingerprint.ts'
export type { DedupEnv, Idempotency } from './idempotency.ts'
export { type CompletionJournal, type JournalEntry, memoryJournal } from './journal.ts'
export type { KeyScope } from './key-names.ts'
export { dedup } from './middleware.ts'
export type { DedupOptions, LinkedRun, LinkedRuns, UnknownPolicy } from './options.ts'
export type { RecordPolicy, ServerErrorPolicy } from './policy.ts'
export type { DedupProblem, DedupProblemCode, DedupProblemResponse, DedupProblemStatus } from './problem.ts'
export { answerInRun } from './replay.ts'
export type { EncryptionKeys } from './seal.ts'
export type { SpillStore, SpillWriter } from './spill.ts'
export type {
  ClaimAnswer,
  DedupStore,
  KeyLink,
  KeyListener,
  KeyRecord,
  NewClaim,
  Settlement,
  StoredResponse,
} from './store.ts'
export type { Timers } from './timers.ts'
export type { Durability, Unit, Write } from './unit.ts'
