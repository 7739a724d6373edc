import type { Outcome, RunInput, RunRecord, RunStatus, StepRecord } from './run-record.ts'
import type { Unit, Write } from './unit.ts'

/** An SQL statement and its parameters, for stores that can run the user's own writes with a step. */
export type Statement = readonly [sql: string, params?: readonly (null | number | bigint | string | Uint8Array)[]]

/** Who may write to a run: the owner with this fence, while the run is running. */
export interface Held {
  readonly id: string
  readonly fence: number
}

/** What a suspended run keeps. */
export interface Suspension {
  readonly status: 'queued' | 'waiting' | 'parked'
  readonly reason: string
  readonly wakeAt: number | undefined
  readonly attempt: number
  readonly updatedAt: number
}

/** The part of a run that its handler may change on the way. */
export interface RunPatch {
  readonly stage?: string
  readonly progress?: number
  readonly data?: string
  readonly updatedAt: number
}

/** Which runs to list; newest first. Ranges are half-open, in milliseconds. */
export interface RunQuery {
  readonly status?: RunStatus
  readonly operation?: string
  readonly principal?: string
  readonly requestId?: string
  readonly stage?: string
  readonly createdFrom?: number
  readonly createdTo?: number
  readonly updatedFrom?: number
  readonly updatedTo?: number
  /** Runs older than this id. */
  readonly before?: string
  readonly limit: number
}

/**
 * Keeps runs. Writes are given as {@link Write}s, so that a unit can carry them together with other stores' writes.
 *
 * The laws, each checked by `testCheckpointStore` from `@gw/checkpoint/testing`:
 *
 * 1. An accepted run is there with its input, and accepting an id twice refuses.
 * 2. `keep`, `patch`, `suspend` and `finish` refuse with reason `lease_lost` unless the run is running under that fence, and change
 *    nothing then.
 * 3. `take` raises the fence by one for exactly one of any number of takers that saw the same fence; the others are refused.
 * 4. A run finishes once. Its outcome is what the winner wrote, to the byte.
 * 5. Steps come back in the order they were kept, values to the character; with statements, the value is the rows each changed.
 * 6. `unfinished` finds every run that is queued, waiting or running under another owner, and no other, oldest first.
 * 7. `list` answers newest first; pages by `before` neither repeat nor skip; `counts` equals what a full list would count.
 * 8. A refused unit leaves nothing of any of its writes.
 */
export interface CheckpointStore {
  /** Whether an acknowledged write survives the process. */
  readonly durable: boolean
  /** Whether several processes may use it at once. */
  readonly shared: boolean
  /** Whether `keep` can carry the user's statements. */
  readonly transactional: boolean
  /** What it writes to: stores with the same `database` can share a unit. */
  readonly database: unknown
  /** Makes the schema ready. Safe to call again. */
  open(): Promise<void>
  unit(): Unit

  accept(run: RunRecord, input: RunInput): Write
  /** Keeps a step, after running `statements` in the same unit; then its value is how many rows each changed, as JSON. */
  keep(held: Held, step: StepRecord, statements?: readonly Statement[]): Write
  patch(held: Held, patch: RunPatch): Write
  suspend(held: Held, suspension: Suspension): Write
  /** Ends a run. `settled` is `false` where the outcome still drives something elsewhere. */
  finish(
    held: Held,
    status: RunStatus,
    reason: string | undefined,
    outcome: Outcome,
    updatedAt: number,
    settled?: boolean,
  ): Write
  /** Makes `owner` the owner of a run that had `fence`; `recovery` counts it as taken from a dead one. */
  take(id: string, fence: number, owner: string, recovery: boolean, updatedAt: number): Write
  /** Marks a run to be cancelled, or sets the end of one that nobody runs; refuses for a finished one. */
  mark(id: string, mark: 'cancel' | 'settled' | 'requeue', updatedAt: number): Write

  get(id: string): Promise<RunRecord | undefined>
  input(id: string): Promise<RunInput | undefined>
  steps(id: string): Promise<StepRecord[]>
  outcome(id: string): Promise<Outcome | undefined>
  list(query: RunQuery): Promise<RunRecord[]>
  counts(): Promise<Record<RunStatus, number>>
  /** Runs that are queued, waiting, or running under an owner other than `owner`. */
  unfinished(owner: string, limit: number, after?: string): Promise<RunRecord[]>
  /** Finished runs whose outcome still drives something elsewhere. */
  unsettled(limit: number): Promise<RunRecord[]>
}
