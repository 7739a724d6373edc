export type { Problem, ProblemKind, Vouched } from './chain-checker.ts'
export { EventError, type EventErrorCode } from './errors.ts'
export type { EventAttributes, NewEvent, StoredEvent } from './event.ts'
export {
  type Appended,
  type AppendOptions,
  type ColdTier,
  type EventPrivacy,
  EventStore,
  type EventStoreOptions,
  type PreparedEvent,
  type Upcaster,
} from './event-store.ts'
export { type AuditEnv, type AuditOptions, audit } from './middleware.ts'
export type { EventInput } from './new-event.ts'
export type { EventPage, EventQuery, EventRecord } from './query.ts'
export { defaultRedaction, type RedactionRules } from './redaction.ts'
export type { AppendResult, EventFilter, EventLog, Expected, Head, Register, StoreQuery } from './store.ts'
export { memoryEventStore } from './stores/memory.ts'
export type { Durability, Unit, Write } from './unit.ts'
export type { Verification, VerifyOptions } from './verify.ts'
