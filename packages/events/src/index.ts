export { EventError, type EventErrorCode } from './errors.ts'
export type { EventAttributes, NewEvent, StoredEvent } from './event.ts'
export {
  type Appended,
  type AppendOptions,
  type EventPage,
  type EventQuery,
  type EventRecord,
  EventStore,
  type EventStoreOptions,
} from './event-store.ts'
export { defaultRedaction, type RedactionRules } from './redaction.ts'
export type { AppendResult, EventLog, Expected, StoreQuery } from './store.ts'
export type { Durability, Unit, Write } from './unit.ts'
export type { Problem, ProblemKind, Verification, VerifyOptions } from './verify.ts'
