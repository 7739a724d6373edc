import type { Context } from 'hono'
import { CheckpointError } from './errors.ts'
import type { Run } from './run.ts'
import type { Links, Outcome, RunRecord } from './run-record.ts'
import type { CheckpointStore } from './store.ts'
import type { Timers } from './timers.ts'
import type { Unit } from './unit.ts'

/** The points at which a fault test may stop the process. */
export type Failpoint =
  | 'accept.before'
  | 'accept.after'
  | 'step.before'
  | 'step.after'
  | 'outcome.before'
  | 'outcome.after'

/** What the acceptance of a run adds to it. */
export interface AcceptExtras {
  /** Kept with the run for `onOutcome` and `settle`: plain JSON. */
  readonly links?: Links
  /** What step keys are derived from instead of the run's id: an HMAC of scope and client key. */
  readonly idempotencySeed?: string
}

/** Lets other stores join a run's two commits; also for runs that are resumed and have no middleware around them. */
export interface CheckpointHooks {
  /** Called before the accept unit commits; may add writes to it. A throw refuses the request. */
  readonly onAccept?: (run: RunRecord, unit: Unit, context: Context) => AcceptExtras
  /** Called before the outcome's unit commits; may add writes to it. */
  readonly onOutcome?: (run: RunRecord, outcome: Outcome, unit: Unit) => void
  /**
   * Drives from a durable outcome what lies in other databases. Called after the outcome and again by the sweep until it
   * resolves, so it must be safe to repeat.
   */
  readonly settle?: (run: RunRecord, outcome: Outcome) => Promise<void>
  /** Called with what a step or a handler threw, before it is classified; what it gives back is classified instead. */
  readonly translateError?: (error: unknown) => unknown
  /** Observes; what it throws changes nothing. */
  readonly onTransition?: (transition: RunTransition) => void
}

/** A step in a run's life, for audit and figures. */
export interface RunTransition {
  readonly type:
    | 'checkpoint.accepted'
    | 'checkpoint.resumed'
    | 'checkpoint.waiting'
    | 'checkpoint.parked'
    | 'checkpoint.finished'
    | 'checkpoint.lease_lost'
    | 'checkpoint.interrupted'
    | 'checkpoint.cancel_requested'
    | 'checkpoint.signalled'
    | 'checkpoint.retried'
    | 'checkpoint.resolved'
    | 'checkpoint.forked'
  readonly run: RunRecord
  /** Who did it, where a person did. */
  readonly actor?: string
}

/** How a manager keeps, resumes and ends runs. Periods are in milliseconds. */
export interface CheckpointManagerOptions extends CheckpointHooks {
  readonly store: CheckpointStore
  /** What the store must be; one that is less is refused with `store_too_weak` when the manager is made. */
  readonly require?: readonly ('durable' | 'shared' | 'transactional')[]
  /** Tells the machine apart from others on a shared store, in records and figures: `node`. */
  readonly nodeId?: string
  /** How long an owner may be silent before its runs are taken, on a shared store: 15 s. The sweep runs every third of it. */
  readonly leaseMs?: number
  /** How often a run may be taken from dead owners before it is `dead`: 10. */
  readonly maxRecoveries?: number
  /** The longest wait of a run that its inline caller sits out: 10 s. Beyond it the caller gets 202. */
  readonly inlineWaitMs?: number
  /** After this an inline caller gets 202; the run goes on: 300 s. */
  readonly requestTimeoutMs?: number
  /** A run whose handler goes on for longer is cancelled; none is, unless given. */
  readonly runTimeoutMs?: number
  /** How long a step that was not kept waits for kept ones to be asked for: 1 s. */
  readonly settleMs?: number
  /** How long finished runs are kept, counted from their end, where their operation says nothing: 30 days. */
  readonly retentionMs?: number
  /** How often finished runs past their time are looked for: once an hour. */
  readonly gcIntervalMs?: number
  readonly maxBodyBytes?: number
  readonly maxResponseBytes?: number
  /** Handlers that may run at once: 1,000. Further runs are accepted and queued. */
  readonly maxConcurrentRuns?: number
  readonly now?: () => number
  readonly random?: () => number
  /** What periods are waited for with; the runtime's timers unless given. */
  readonly timers?: Timers
  /** Hears of errors that no caller is there to hear. */
  readonly onError?: (error: unknown) => void
  /** A port for fault tests. */
  readonly failpoint?: (name: Failpoint, run?: Run) => void
}

const positive = [
  'leaseMs',
  'inlineWaitMs',
  'requestTimeoutMs',
  'runTimeoutMs',
  'settleMs',
  'retentionMs',
  'gcIntervalMs',
] as const
const whole = ['maxRecoveries', 'maxBodyBytes', 'maxResponseBytes', 'maxConcurrentRuns'] as const
const called = [
  'now',
  'random',
  'onAccept',
  'onOutcome',
  'settle',
  'onTransition',
  'onError',
  'failpoint',
  'translateError',
] as const
const known: ReadonlySet<string> = new Set(['store', 'nodeId', 'require', 'timers', ...positive, ...whole, ...called])

/** Throws `invalid_option` for the first option that is unknown or out of range. */
export function checkManagerOptions(options: CheckpointManagerOptions): void {
  for (const name of Object.keys(options))
    if (!known.has(name)) throw new CheckpointError('invalid_option', `Unknown option \`${name}\``)
  if (typeof options.store?.accept !== 'function') throw invalid('store', 'a checkpoint store', options.store)
  if (options.nodeId !== undefined && !/^[A-Za-z0-9._:-]{1,128}$/.test(options.nodeId))
    throw invalid('nodeId', '1 to 128 of A-Z a-z 0-9 . _ : -', options.nodeId)
  for (const capability of options.require ?? []) {
    if (options.store[capability] !== true)
      throw new CheckpointError('store_too_weak', `Expected \`store\` to be ${capability}, and it is not`)
  }
  for (const name of positive) {
    const value = options[name]
    if (value !== undefined && !(Number.isFinite(value) && value > 0))
      throw invalid(name, 'a finite number above 0', value)
  }
  for (const name of whole) {
    const value = options[name]
    if (value !== undefined && !(Number.isInteger(value) && value > 0))
      throw invalid(name, 'a whole number above 0', value)
  }
  for (const name of called) {
    if (options[name] !== undefined && typeof options[name] !== 'function')
      throw invalid(name, 'a function', options[name])
  }
}

/** An error that names the option, what was expected and what came. */
export function invalid(name: string, expected: string, value: unknown): CheckpointError {
  return new CheckpointError('invalid_option', `Expected \`${name}\` to be ${expected}, got \`${String(value)}\``)
}
