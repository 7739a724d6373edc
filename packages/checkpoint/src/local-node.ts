import type { CheckpointHooks, CheckpointManagerOptions, Failpoint, RunTransition } from './manager-options.ts'
import type { Operation, Resumer, Settled } from './operation.ts'
import { defaultRetentionMs } from './retention.ts'
import { Run } from './run.ts'
import type { RunPorts } from './run-ports.ts'
import type { RunRecord, StepRecord } from './run-record.ts'
import type { CheckpointStore, Held } from './store.ts'
import { runtimeTimers, type Timers } from './timers.ts'
import type { Write } from './unit.ts'
import { Wakeups } from './wakeups.ts'

/** A run that this process drives. */
export interface Live {
  readonly run: Run
  readonly settled: Promise<Settled>
}

/** This process among those of a store, which the parts of a manager share: who it is, which runs it has, whom it tells. */
export class LocalNode {
  readonly options: CheckpointManagerOptions
  readonly store: CheckpointStore
  readonly now: () => number
  readonly random: () => number
  readonly timers: Timers
  readonly leaseMs: number
  readonly hooks: CheckpointHooks[] = []
  readonly operations: Map<string, Operation> = new Map()
  readonly resumers: Map<string, Resumer> = new Map()
  readonly live: Map<string, Live> = new Map()
  /** Runs of this process that nobody drives just now, though nothing is wrong: on their way in, or held by hand. */
  readonly spoken: Map<string, Held> = new Map()
  /** Runs whose acceptance is on its way to the store, and that begin here after it. */
  readonly arriving: Set<string> = new Set()
  readonly wakeups: Wakeups
  readonly #ports: RunPorts
  /** This incarnation, once the manager has started. */
  owner = ''
  stopping = false

  constructor(options: CheckpointManagerOptions) {
    const { store, settleMs = 1_000, now = () => Date.now(), random = () => Math.random() } = options
    const { timers = runtimeTimers } = options
    this.options = options
    this.store = store
    this.now = now
    this.random = random
    this.timers = timers
    this.wakeups = new Wakeups(timers)
    this.leaseMs = options.leaseMs ?? 15_000
    this.hooks.push(options)
    this.#ports = {
      store,
      settleMs,
      now,
      random,
      timers,
      translateError: this.translateError,
      failpoint: options.failpoint,
      changed: (id) => this.wakeups.wake(id),
    }
  }

  /** Whether a further handler may begin now. */
  get room(): number {
    return (this.options.maxConcurrentRuns ?? 1_000) - this.live.size - this.arriving.size
  }

  runOf(record: RunRecord, steps: readonly StepRecord[] = []): Run {
    return new Run(record, steps, this.#ports, this.operations.get(record.operation)?.frequency)
  }

  /** When a run of this operation that ends now may be collected. */
  expiryOf(operation: string): number {
    const { retentionMs = defaultRetentionMs } = this.options
    return Math.ceil(this.now() + (this.operations.get(operation)?.retentionMs ?? retentionMs))
  }

  /** Commits one write in a unit of its own and resolves to its result. */
  async commit<Result>(write: Write): Promise<Result> {
    const unit = this.store.unit()
    let result: unknown
    unit.add(write, (value) => {
      result = value
    })
    await unit.commit()
    return result as Result
  }

  failpoint(name: Failpoint): void {
    this.options.failpoint?.(name)
  }

  tell(type: RunTransition['type'], run: RunRecord, actor?: string): void {
    for (const { onTransition } of this.hooks) {
      try {
        onTransition?.(actor === undefined ? { type, run } : { type, run, actor })
      } catch (error) {
        this.report(error)
      }
    }
  }

  /** What a step or a handler threw, as the hooks see it, in the order in which they were added. */
  readonly translateError = (error: unknown): unknown => {
    let translated = error
    for (const hook of this.hooks) {
      try {
        if (hook.translateError !== undefined) translated = hook.translateError(translated) ?? translated
      } catch (failure) {
        this.report(failure)
      }
    }
    return translated
  }

  readonly report = (error: unknown): void => {
    try {
      this.options.onError?.(error)
    } catch {
      // An observer's failure changes nothing.
    }
  }
}
