export type { Checkpoint, NewCheckpoint } from './by-hand.ts'
export { CheckpointError, type CheckpointErrorCode, ParkError } from './errors.ts'
export type { By, Decision, ForkOptions } from './interventions.ts'
export { CheckpointManager, type RunPage, type StepSummary } from './manager.ts'
export type {
  AcceptExtras,
  CheckpointHooks,
  CheckpointManagerOptions,
  Failpoint,
  RunTransition,
} from './manager-options.ts'
export { type DurableEnv, type DurableOptions, durable } from './middleware.ts'
export type { Answer, Operation, Resumer, Settled } from './operation.ts'
export { acceptedResponse, locationOf } from './preferences.ts'
export { type Frequency, type Strategy, strategies } from './retention.ts'
export type { RetryPolicy } from './retry.ts'
export { Run } from './run.ts'
export type { RunEvent, RunProgress } from './run-events.ts'
export type { RunListener, RunPorts, Statements } from './run-ports.ts'
export type { Links, Outcome, RunInput, RunRecord, RunStatus, StepRecord, StepState } from './run-record.ts'
export { type RunRoutesOptions, runRoutes } from './run-routes.ts'
export type { RunUpdate } from './run-update.ts'
export type { StepContext, StepOptions, StepRetry, Verification } from './step.ts'
export type {
  CheckpointStore,
  Claim,
  Claimed,
  Ending,
  Held,
  Kept,
  OwnerLease,
  Past,
  Pulse,
  Requeue,
  RunPatch,
  RunQuery,
  Statement,
  StoreNews,
  Suspension,
} from './store.ts'
export type { Timers } from './timers.ts'
export type { Durability, Unit, Write } from './unit.ts'
export type { UnwindPlan } from './unwinding.ts'
export type { KeptResponse } from './upstream.ts'
export type { Wait } from './waits.ts'
