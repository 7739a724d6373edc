import type { Context, Hono } from 'hono'
import { ByHand, type Checkpoint, type NewCheckpoint } from './by-hand.ts'
import { Driver } from './driver.ts'
import { CheckpointError } from './errors.ts'
import { type By, type Decision, type ForkOptions, Interventions } from './interventions.ts'
import { LocalNode } from './local-node.ts'
import { type CheckpointHooks, type CheckpointManagerOptions, checkManagerOptions } from './manager-options.ts'
import type { Answer, Operation, Settled } from './operation.ts'
import { problemOutcome, responseOf } from './outcome.ts'
import { answerAttached } from './preferences.ts'
import { queuedRun, type RunRequest } from './queued-run.ts'
import { Recovery } from './recovery.ts'
import { resumersOf } from './resume.ts'
import type { Run } from './run.ts'
import { type RunEvent, watch } from './run-events.ts'
import {
  type Outcome,
  precluded,
  type RunInput,
  type RunRecord,
  type RunStatus,
  type StepRecord,
  type StepState,
} from './run-record.ts'
import type { RunUpdate } from './run-update.ts'
import type { CheckpointStore, RunQuery } from './store.ts'
import type { Timers } from './timers.ts'
import { refusalOf } from './unit.ts'

/** A page of runs. */
export interface RunPage {
  readonly runs: readonly RunRecord[]
  readonly cursor: string | undefined
}

/** A kept step without its value. */
export interface StepSummary {
  readonly name: string
  readonly occurrence: number
  readonly state: StepState
  readonly startedAt: number
  readonly keptAt: number
  readonly bytes: number
}

const byHand = 'MANUAL'
const pollMs = 1_000

/** Keeps durable requests, resumes them after a crash, and answers for them. One a process and store. */
export class CheckpointManager {
  readonly store: CheckpointStore
  readonly options: CheckpointManagerOptions
  readonly now: () => number
  readonly timers: Timers
  readonly #node: LocalNode
  readonly #byHand: ByHand
  readonly #driver: Driver
  readonly #recovery: Recovery
  readonly #interventions: Interventions
  #started: Promise<void> | undefined

  constructor(options: CheckpointManagerOptions) {
    checkManagerOptions(options)
    const node = new LocalNode(options)
    this.options = options
    this.store = node.store
    this.now = node.now
    this.timers = node.timers
    this.#node = node
    this.#byHand = new ByHand(node)
    this.#recovery = new Recovery(node, () => this.#driver, this.#byHand)
    this.#driver = new Driver(node, this.#recovery.sweepAt, (id) => this.cancel(id, { actor: 'run timeout' }))
    this.#interventions = new Interventions(node, this.#recovery)
  }

  /** Adds hooks of whoever composes this manager with other stores. */
  join(hooks: CheckpointHooks): void {
    this.#node.hooks.push(hooks)
  }

  /** Declares an operation; a name that is taken throws `duplicate_operation`. */
  declare(operation: Operation): void {
    const { operations } = this.#node
    if (operations.has(operation.operation)) {
      throw new CheckpointError(
        'duplicate_operation',
        `Expected \`operation\` to be unique, got \`${operation.operation}\` twice`,
      )
    }
    operations.set(operation.operation, operation)
  }

  /** Gives the name of an operation free for a route that takes its place; runs under way go on as they began. */
  withdraw(name: string): Operation | undefined {
    const operation = this.#node.operations.get(name)
    this.#node.operations.delete(name)
    return operation
  }

  /** Finds the app's durable routes, so that their runs can be resumed. Call it once all routes are registered. */
  serve(app: Pick<Hono, 'routes'>): void {
    for (const [operation, resumer] of resumersOf(app)) this.#node.resumers.set(operation, resumer)
  }

  /** Opens the store, takes back what an earlier life of this node left, and sweeps from then on. */
  start(): Promise<void> {
    this.#started ??= this.#recovery.start().catch((error: unknown) => {
      this.#started = undefined
      throw error
    })
    return this.#started
  }

  /** Lets live runs finish for `gracefulShutdownMs`, then hands the rest over: the next owner need not wait for a lease. */
  async stop({ gracefulShutdownMs = 30_000 }: { readonly gracefulShutdownMs?: number } = {}): Promise<void> {
    const node = this.#node
    node.stopping = true
    // A start that is under way would take a lease after this gave it up.
    await this.#started?.catch(() => {})
    await this.#recovery.stop()
    if (node.live.size > 0)
      await within(Promise.all([...node.live.values()].map(({ settled }) => settled)), gracefulShutdownMs, this.timers)
    await Promise.all(
      [...node.live].map(async ([id, { run }]) => {
        run.stop(new CheckpointError('stopping', 'This process is shutting down'))
        const record = await node.store.get(id)
        if (record?.fence !== run.fence) return
        const suspension = {
          status: 'queued',
          reason: 'handed over at shutdown',
          wakeAt: undefined,
          attempt: record.attempt,
          updatedAt: node.now(),
        } as const
        await this.#driver.suspend(record, suspension, run)
      }),
    ).catch(node.report)
    await this.#recovery.leave()
  }

  /** Whether it takes no new runs any more. */
  get stopping(): boolean {
    return this.#node.stopping
  }

  get live(): number {
    return this.#node.live.size
  }

  /** This incarnation, as runs name their owner; `undefined` before the start. */
  get owner(): string | undefined {
    return this.#node.owner === '' ? undefined : this.#node.owner
  }

  /** Whether this process runs the handler of that run. */
  isLive(id: string): boolean {
    return this.#node.live.has(id)
  }

  /** The operations that this process can run, by name. */
  get operations(): readonly string[] {
    return [...this.#node.operations.keys()]
  }

  /** Whether this process can run that operation. */
  serves(operation: string): boolean {
    return this.#node.operations.has(operation)
  }

  /** Whether a further handler may begin now. */
  get hasRoom(): boolean {
    return this.#node.room > 0
  }

  /** Makes the acceptance durable: the run, its input, and what the hooks add. Rejects with the unit's refusal. */
  async accept(record: RunRecord, input: RunInput, context: Context): Promise<RunRecord> {
    const node = this.#node
    const { store } = node
    const unit = store.unit()
    let accepted: RunRecord = record.status === 'running' ? { ...record, owner: node.owner } : record
    for (const { onAccept } of node.hooks) {
      if (onAccept === undefined) continue
      const { links, idempotencySeed } = onAccept(accepted, unit, context)
      if (links === undefined && idempotencySeed === undefined) continue
      accepted = {
        ...accepted,
        links: { ...accepted.links, ...links },
        ...(idempotencySeed === undefined ? {} : { idempotencySeed }),
      }
    }
    unit.add(store.accept(accepted, input))
    node.failpoint('accept.before')
    const { id, fence } = accepted
    const queued = accepted.status === 'queued'
    if (!queued) {
      node.spoken.set(id, { id, fence })
      node.arriving.add(id)
    }
    try {
      await unit.commit()
    } catch (error) {
      node.spoken.delete(id)
      node.arriving.delete(id)
      // Whether it was kept is not known: if it was, the sweep finds it without a driver.
      if (refusalOf(error) === undefined) this.#recovery.sweepAt(node.now() + pollMs)
      throw error
    }
    node.failpoint('accept.after')
    node.tell('checkpoint.accepted', accepted)
    if (queued) this.#recovery.sweepAt(node.now())
    return accepted
  }

  /** Runs a handler for an accepted run and makes what comes of it durable. */
  drive(record: RunRecord, run: Run, enter: () => Promise<Answer>, operation: Operation): Promise<Settled> {
    return this.#driver.drive(record, run, enter, operation)
  }

  /** The run of a record, as its handler sees it. */
  runOf(record: RunRecord): Run {
    return this.#node.runOf(record)
  }

  /** A fresh record, `queued` if asked or where there is no room to run it now. */
  newRecord(queued: boolean, request: RunRequest): RunRecord {
    const run = queuedRun(request, this.now())
    return queued || !this.hasRoom ? run : { ...run, status: 'running', fence: 1 }
  }

  /** Takes what is due: runs of dead owners, queued runs, waits that are over; and settles what outcomes still drive. */
  async sweep(): Promise<void> {
    await this.start()
    await this.#recovery.sweep()
  }

  /** Deletes finished runs past their time. Runs by itself every `gcIntervalMs`. Resolves to how many there were. */
  async collect(): Promise<number> {
    await this.start()
    return this.#recovery.collect()
  }

  /**
   * Makes sure that a run which is not there is never accepted, also by a write that is still on its way: an ended row takes its
   * place. Resolves to `false` where the run is there meanwhile. For whoever gives its key to another request.
   */
  async preclude(id: string): Promise<boolean> {
    await this.start()
    const { store } = this.#node
    const fields = { requestId: undefined, operation: 'precluded', version: '1', method: precluded, route: '' } as const
    const record: RunRecord = {
      ...this.newRecord(true, { ...fields, principal: undefined, subject: undefined }),
      id,
      status: 'cancelled',
      reason: 'it was not accepted in time, and its key went to another request',
      settled: true,
      expiresAt: this.#node.expiryOf(fields.operation),
    }
    const outcome = problemOutcome(409, 'run_not_accepted', 'The request was not accepted')
    const input = { url: '', headers: [], variables: '{}', body: new Uint8Array() }
    try {
      await this.#node.commit(store.accept(record, input, { outcome }))
      return true
    } catch (error) {
      if (refusalOf(error)?.reason !== 'exists') throw error
      return (await store.get(id))?.method === precluded
    }
  }

  get(id: string): Promise<RunRecord | undefined> {
    return this.store.get(id)
  }

  outcome(id: string): Promise<Outcome | undefined> {
    return this.store.outcome(id)
  }

  /** The answer of a finished run, as its first caller got it. */
  async response(id: string): Promise<Response | undefined> {
    const outcome = await this.outcome(id)
    return outcome === undefined ? undefined : responseOf(outcome, id)
  }

  /** The kept steps without their values. */
  async steps(id: string): Promise<readonly StepSummary[]> {
    return (await this.store.steps(id)).map(summaryOf)
  }

  /** Newest first; `cursor` of one page gives the next. */
  async list({
    cursor,
    limit = 50,
    ...query
  }: Partial<RunQuery> & { readonly cursor?: string } = {}): Promise<RunPage> {
    const runs = await this.store.list({ ...query, ...(cursor === undefined ? {} : { before: cursor }), limit })
    return { runs, cursor: runs.length === limit ? runs.at(-1)?.id : undefined }
  }

  counts(): Promise<Record<RunStatus, number>> {
    return this.store.counts()
  }

  /**
   * Resolves to the outcome when there is one, to `undefined` after `timeoutMs`, and when this process stops and the run does not
   * end in it. Woken where the store tells, polled behind that.
   */
  async wait(
    id: string,
    { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<Outcome | undefined> {
    const deadline = this.timers.monotonic() + timeoutMs
    const { store, live } = this.#node
    if (store.watch !== undefined && timeoutMs > 0 && !live.has(id))
      await this.#node.commit(store.watch(id)).catch(this.#node.report)
    for (;;) {
      const slice = Math.min(pollMs * (0.75 + this.#node.random() / 2), Math.max(0, deadline - this.timers.monotonic()))
      const woken = this.#node.wakeups.next(id, slice, signal)
      const outcome = await this.outcome(id)
      const givesUp = this.timers.monotonic() >= deadline || signal?.aborted || (this.stopping && !live.has(id))
      if (outcome !== undefined || givesUp) return outcome
      await woken
    }
  }

  /** What happens to a run, until it is finished. `after` is the id of the last event that was seen. */
  watch(id: string, options: { readonly after?: string; readonly signal?: AbortSignal } = {}): AsyncIterable<RunEvent> {
    return watch(this, (afterMs, signal) => this.#node.wakeups.next(id, afterMs, signal), id, options)
  }

  /** Answers a duplicate of a keyed request from the run behind the key, as its `Prefer` field asks. */
  attach(context: Context, id: string): Promise<Response | undefined> {
    return answerAttached(this, context, id)
  }

  /**
   * Ends a run that is not finished: a running one gets its signal aborted and ends at its next step, any other ends at once. Its
   * kept effects are compensated. Throws `already_finished`, `not_found`.
   */
  async cancel(id: string, by: By): Promise<'cancelling' | 'cancelled'> {
    await this.start()
    return this.#interventions.cancel(id, by)
  }

  /** Sends a signal to a run that waits for it, now or later. Throws `already_finished`, `not_found`. */
  async signal(id: string, name: string, value: unknown, by: By): Promise<void> {
    await this.start()
    await this.#interventions.signal(id, name, value, by)
  }

  /**
   * Goes on with a failed, dead, cancelled, parked or waiting run from its last kept step; steps whose effects were taken back run
   * again. Throws `not_resumable`, `not_found`, and `stale` when it changed meanwhile.
   */
  async retry(id: string, by: By): Promise<'queued'> {
    await this.start()
    return this.#interventions.retry(id, by)
  }

  /** The same as {@link retry}, under the name for parked runs. */
  resume(id: string, by: By): Promise<'queued'> {
    return this.retry(id, by)
  }

  /** Carries out what a person decided about a parked run. Throws `not_resumable`, `not_found`, `stale`. */
  async resolve(id: string, decision: Decision, by: By): Promise<'queued'> {
    await this.start()
    return this.#interventions.resolve(id, decision, by)
  }

  /**
   * Runs a request that has ended, or is parked, again as a run of its own, from a step on, with its input edited if wanted.
   * Resolves to the new id. Throws `not_resumable`, `not_found`, and `stale` when it changed meanwhile.
   */
  async fork(id: string, options: ForkOptions): Promise<string> {
    await this.start()
    return this.#interventions.fork(id, options)
  }

  /** Makes a checkpoint that this process holds; a crash leaves it to `onResume`. Resolves to its id. */
  async create({ requestId, operation, data }: NewCheckpoint): Promise<string> {
    await this.start()
    const fields = { requestId, operation, version: '1', method: byHand, route: '' } as const
    const record = this.newRecord(false, { ...fields, principal: undefined, subject: undefined })
    return this.#byHand.create({ ...record, status: 'running', fence: 1, owner: this.#node.owner }, data)
  }

  /** Merges `patch` into the checkpoint's data; `stage` and `progress` (0 to 1) are its own. */
  update(id: string, patch: RunUpdate): Promise<void> {
    return this.#byHand.update(id, patch)
  }

  complete(id: string, patch: RunUpdate = {}): Promise<void> {
    return this.#byHand.end(id, 'completed', patch)
  }

  fail(id: string, patch: RunUpdate = {}): Promise<void> {
    return this.#byHand.end(id, 'failed', patch)
  }

  /** Every run and checkpoint that is not finished, oldest first. */
  listIncomplete(): Promise<Checkpoint[]> {
    return this.#byHand.listIncomplete()
  }

  /** What to do with checkpoints of `operation` that a dead process left. */
  onResume(operation: string, handler: (checkpoint: Checkpoint) => unknown): void {
    this.#byHand.onResume(operation, handler)
  }
}

function summaryOf({ name, occurrence, state, startedAt, keptAt, value }: StepRecord): StepSummary {
  return { name, occurrence, state, startedAt, keptAt, bytes: value?.length ?? 0 }
}

async function within(work: Promise<unknown>, timeoutMs: number, timers: Timers): Promise<void> {
  let timer: unknown
  const timeout = new Promise<void>((resolve) => {
    timer = timers.setTimeout(resolve, timeoutMs)
  })
  await Promise.race([work.catch(() => {}), timeout])
  timers.clearTimeout(timer)
}
