export type { Appended, AppendOptions, PreparedEvent } from './appender.ts'
export type { Problem, ProblemKind, Vouched } from './chain-checker.ts'
export { type Consumer, type ConsumerOptions, consume } from './consumer.ts'
export { EventError, type EventErrorCode } from './errors.ts'
export type { EventAttributes, NewEvent, StoredEvent } from './event.ts'
export {
  type ColdTier,
  type EventPrivacy,
  EventStore,
  type EventStoreOptions,
  type Upcaster,
} from './event-store.ts'
export { type AuditEnv, type AuditOptions, audit } from './middleware.ts'
export type { EventInput } from './new-event.ts'
export type { Parked } from './parked.ts'
export {
  type Projection,
  type ProjectionContext,
  type ProjectionOptions,
  type ProjectionState,
  project,
  type Rebuilt,
} from './projection.ts'
export type { EventPage, EventQuery, EventRecord } from './query.ts'
export {
  type PerformanceFigures,
  performanceFigures,
  type RequestState,
  type RequestStates,
  requestStates,
} from './ready-projections.ts'
export { defaultRedaction, type RedactionRules } from './redaction.ts'
export { type AggregateOptions, aggregate, type Loaded } from './snapshot.ts'
export { type EventStreamOptions, eventStream } from './sse.ts'
export { type LogStats, stats } from './stats.ts'
export type { AppendResult, EventFilter, EventLog, Expected, Head, Register, StoreQuery } from './store.ts'
export { memoryEventStore } from './stores/memory.ts'
export { type EventBatch, type SubscribeOptions, subscribe } from './subscription.ts'
export type { Durability, Unit, Write } from './unit.ts'
export type { Verification, VerifyOptions } from './verify.ts'
