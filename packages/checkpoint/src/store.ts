import type { Outcome, RunInput, RunRecord, RunStatus, StepRecord, StepState } from './run-record.ts'
import type { Unit, Write } from './unit.ts'

/** An SQL statement and its parameters, for stores that can run the user's own writes with a step. */
export type Statement = readonly [sql: string, params?: readonly (null | number | bigint | string | Uint8Array)[]]

/** Who may write to a run: the owner with this fence, while the run is running. */
export interface Held {
  readonly id: string
  readonly fence: number
}

/** What an accepted run brings along: the steps of a fork, or the whole past of a run that is moved here. */
export interface Past {
  readonly steps?: readonly StepRecord[]
  readonly outcome?: Outcome
}

/** What `keep` came to. */
export interface Kept {
  /** How many rows each of the user's statements changed. */
  readonly changed: readonly number[]
  /** Somebody asked to cancel the run; what was kept is kept. */
  readonly cancelRequested: boolean
}

/** What a suspended run keeps. */
export interface Suspension {
  readonly status: 'queued' | 'waiting' | 'parked'
  readonly reason: string
  readonly wakeAt: number | undefined
  readonly attempt: number
  /** How many signals the run has seen; with more of them there it is queued instead of waiting. */
  readonly signalsSeen?: number
  /** It waits or needs a person although its cancellation is known; without this a cancelled run is queued instead. */
  readonly cancelSeen?: true
  readonly updatedAt: number
}

/** The part of a run that its handler may change on the way. */
export interface RunPatch {
  readonly stage?: string
  readonly progress?: number
  /** An encoded object whose fields replace those of the run's data. */
  readonly merge?: string
  /** Replaces the run's data whole. */
  readonly data?: string
  readonly updatedAt: number
}

/** How a run ends. */
export interface Ending {
  readonly status: 'completed' | 'failed' | 'cancelled' | 'dead'
  readonly reason: string | undefined
  readonly outcome: Outcome
  /** `false` where the outcome still drives something elsewhere. */
  readonly settled: boolean
  readonly expiresAt: number
  readonly updatedAt: number
}

/** What an owner hears when it says that it is alive. */
export interface Pulse {
  /** Its lease had run out, or it had none: others may have taken its runs. */
  readonly lapsed: boolean
  /** Its runs that somebody asked to cancel. */
  readonly cancelRequested: readonly string[]
}

/** An owner and what is left of its lease by the store's clock; below 0 where it is over. */
export interface OwnerLease {
  readonly owner: string
  readonly leaseRemainingMs: number
}

/** What a node asks for when it looks for work. */
export interface Claim {
  readonly owner: string
  /** Operations that it can run; runs of others are left, unless they are to be cancelled. */
  readonly operations: readonly string[]
  /** Its own runs that it no longer runs, as {@link CheckpointStore.held} gave them. */
  readonly orphans: readonly Held[]
  /** No other process uses the store: every other owner is dead, whatever its lease. */
  readonly alone: boolean
  readonly limit: number
  /** When waiting runs are due. Leases are judged by the store's own clock. */
  readonly now: number
}

/** The runs that a claim took, oldest first, with their new fences. */
export interface Claimed {
  readonly runs: readonly RunRecord[]
  /** When the next waiting run will be due, as far as this claim knows: later than the claim's `now`. */
  readonly nextWakeAt: number | undefined
}

/** How a run that does not run is put back into the queue. */
export interface Requeue {
  readonly id: string
  /** The revision that the decision was made on; the run must not have changed since. */
  readonly revision: number
  /** Kept things that are forgotten. */
  readonly drop: readonly { readonly name: string; readonly occurrence: number; readonly state: StepState }[]
  /** Things that are kept in addition. */
  readonly keep: readonly StepRecord[]
  /** Replaces the version under which it runs. */
  readonly version?: string
  readonly updatedAt: number
}

/** Which runs to list; newest first. Ranges are half-open, in milliseconds. */
export interface RunQuery {
  readonly status?: RunStatus | readonly RunStatus[]
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

/** What a store tells its listeners: work is in the queue, or something happened to a run. */
export type StoreNews =
  | { readonly kind: 'queued' }
  | { readonly kind: 'finished' | 'cancel' | 'signal'; readonly id: string }

/**
 * Keeps runs. Writes are given as {@link Write}s, so that a unit can carry them together with other stores' writes.
 *
 * The laws, each checked by `testCheckpointStore` from `@gw/checkpoint/testing`:
 *
 * 1. An accepted run is there with its input and its past, and accepting an id twice refuses with `exists`.
 * 2. `keep`, `patch`, `suspend` and `finish` refuse with reason `lease_lost` unless the run is running under that fence
 *    (`already_finished` when it has ended under it), `not_found` for an unknown one, and change nothing then.
 * 3. Of any number of claims at once, each run goes to one, with a fence one higher; a claim that lost leaves no trace.
 * 4. `claim` takes runs that are queued, that wait and are due, and that run under an owner whose lease has run out by the store's
 *    clock (or any other owner, `alone`), oldest first, at most `limit`; of the operations named, or with a cancellation asked for.
 *    It takes none that is parked, finished, not yet due or held by a living owner. Only a run that ran under another owner counts a recovery.
 * 5. A run finishes once, with progress 1 if it completes. Its outcome is what the winner wrote, to the byte. It does not complete
 *    once cancellation was asked for (`cancel_requested`).
 * 6. Steps come back in the order they were kept, values to the character or byte; with statements, the answer is the rows each changed.
 * 7. `cancel` queues a run that nobody runs, and marks one that somebody runs: its next `keep` is told, and so is its owner's `beat`;
 *    one that is put aside without knowing is queued. It refuses a finished run with `already_finished`.
 * 8. `signal` is kept in order and queues a run that waits; a suspension that has not seen every signal is queued.
 * 9. `requeue` acts only on the revision it names and on a run that is failed, dead, parked, waiting or cancelled, takes its outcome
 *    away and starts its counts anew; else it refuses with `not_resumable` or `stale`.
 * 10. `list` answers newest first; pages by `before` neither repeat nor skip; `counts` equals what a full list would count.
 * 11. `collect` removes finished, settled runs past `expiresAt` with their payloads, at most `limit`, and never a live one; `remove`
 *     removes a finished run of that revision only.
 * 12. A refused unit leaves nothing of any of its writes.
 * 13. A revision grows with every change of the row. `patch` merges: two at once lose nothing.
 * 14. `unsettled` finds finished runs until `settle`.
 * 15. A lease runs from the last `beat` by the store's clock. `leave` ends it at once. `owners`, where there is one, says so.
 */
export interface CheckpointStore {
  /** Whether an acknowledged write survives the process. */
  readonly durable: boolean
  /** Whether several processes may use it at once. */
  readonly shared: boolean
  /** Whether the user's own writes can be kept together with a step: by `keep` with statements, or by `transact`. */
  readonly transactional: boolean
  /** What it writes to: stores with the same `database` can share a unit. */
  readonly database: unknown
  /** Makes the schema ready. Safe to call again, and from several processes. */
  open(): Promise<void>
  unit(): Unit

  /** @returns a write without a result. */
  accept(run: RunRecord, input: RunInput, past?: Past): Write
  /** Keeps steps, after running `statements` in the same unit; then the last step's value is the rows each changed, as JSON. Result: {@link Kept}. */
  keep(held: Held, steps: readonly StepRecord[], statements?: readonly Statement[]): Write
  patch(held: Held, patch: RunPatch): Write
  /** Result: the {@link RunStatus} that the run came to. */
  suspend(held: Held, suspension: Suspension): Write
  finish(held: Held, ending: Ending): Write
  /** Holds the lease of `owner` for `leaseMs` from now. Result: {@link Pulse}. */
  beat(owner: string, leaseMs: number): Write
  leave(owner: string): Write
  /** Result: {@link Claimed}. */
  claim(claim: Claim): Write
  /** Result: the {@link RunRecord} after it. */
  cancel(id: string, updatedAt: number): Write
  /** Adds a signal, a {@link StepRecord} of state `signal`; its occurrence is given by the store. Result: the {@link RunRecord} after it. */
  signal(id: string, name: string, value: string | Uint8Array, updatedAt: number): Write
  requeue(requeue: Requeue): Write
  settle(id: string): Write
  /** Result: how many were removed. */
  collect(now: number, limit: number): Write
  /** Refuses with `stale` where one is not finished or has another revision. */
  remove(runs: readonly { readonly id: string; readonly revision: number }[]): Write

  get(id: string): Promise<RunRecord | undefined>
  input(id: string): Promise<RunInput | undefined>
  steps(id: string): Promise<StepRecord[]>
  outcome(id: string): Promise<Outcome | undefined>
  list(query: RunQuery): Promise<RunRecord[]>
  counts(): Promise<Record<RunStatus, number>>
  /** Runs that are running under `owner`. */
  held(owner: string): Promise<Held[]>
  /** The owners that hold a lease, or whose lease is over and not yet taken away. */
  owners?(): Promise<readonly OwnerLease[]>
  /** Finished runs whose outcome still drives something elsewhere, oldest first. */
  unsettled(limit: number): Promise<RunRecord[]>

  /**
   * Runs `work` in a transaction of the store's database and keeps the step that it resolves to in the same one. Rejects with
   * code `refused` as a unit would, and with whatever `work` throws; nothing is applied then.
   */
  transact?(held: Held, work: (transaction: unknown) => Promise<StepRecord>): Promise<Kept>
  /** Asks for news of the run's end. A store without it tells of every end. */
  watch?(id: string): Write
  /** Hears of news from every process on the store; resolves to a function that ends it. News may be lost: polls stand behind it. */
  listen?(listener: (news: StoreNews) => void): Promise<() => Promise<void>>
}
