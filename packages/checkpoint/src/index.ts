export { CheckpointError, type CheckpointErrorCode, ParkError } from './errors.ts'
export {
  type Answer,
  type Checkpoint,
  CheckpointManager,
  type Operation,
  type Resumer,
  type RunPage,
  type Settled,
} from './manager.ts'
export type {
  AcceptExtras,
  CheckpointHooks,
  CheckpointManagerOptions,
  Failpoint,
  RunTransition,
} from './manager-options.ts'
export { type DurableEnv, type DurableOptions, durable } from './middleware.ts'
export { acceptedResponse, locationOf } from './preferences.ts'
export type { RetryPolicy } from './retry.ts'
export {
  Run,
  type RunPorts,
  type Statements,
  type StepContext,
  type StepOptions,
  type StepRetry,
  type Verification,
} from './run.ts'
export type { Links, Outcome, RunInput, RunRecord, RunStatus, StepRecord } from './run-record.ts'
export type { CheckpointStore, Held, RunPatch, RunQuery, Statement, Suspension } from './store.ts'
export type { Durability, Unit, Write } from './unit.ts'
