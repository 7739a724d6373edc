import type { Context, Hono } from 'hono'
import { decode, encode } from './codec.ts'
import { CheckpointError } from './errors.ts'
import {
  type CheckpointHooks,
  type CheckpointManagerOptions,
  checkManagerOptions,
  type Failpoint,
  type RunTransition,
} from './manager-options.ts'
import { capture, problemOutcome, responseOf } from './outcome.ts'
import { answerAttached } from './preferences.ts'
import { resumersOf } from './resume.ts'
import { type ErrorClass, type RetryPolicy, verdictOn } from './retry.ts'
import { patchOf, Run, type RunPorts } from './run.ts'
import { newRunId } from './run-id.ts'
import { finished, type Outcome, type RunInput, type RunRecord, type RunStatus } from './run-record.ts'
import type { CheckpointStore, Held, RunQuery } from './store.ts'
import { type Durability, refusalOf, type Unit } from './unit.ts'

/** What a handler came to: its answer, and the error behind it if it threw. */
export interface Answer {
  readonly response: Response
  readonly error?: unknown
}

/** How a run left this process. */
export type Settled =
  | {
      readonly kind: 'outcome'
      readonly outcome: Outcome
      readonly durability: Durability | undefined
      readonly streaming?: Response
    }
  | { readonly kind: 'suspended'; readonly status: RunStatus; readonly wakeAt: number | undefined }
  | { readonly kind: 'lost' }

/** One durable operation, as `durable()` declares it. */
export interface Operation {
  readonly operation: string
  readonly version: string
  readonly onVersion: 'continue' | 'park' | 'restart'
  readonly retry: RetryPolicy
}

/** Enters a run's handler again without the middleware in front of it. */
export type Resumer = (run: Run, record: RunRecord, input: RunInput) => Promise<Answer>

/** A page of runs. */
export interface RunPage {
  readonly runs: readonly RunRecord[]
  readonly cursor: string | undefined
}

/** A checkpoint made by hand, as its resume handler gets it. */
export interface Checkpoint {
  readonly id: string
  readonly operation: string
  readonly requestId: string | undefined
  readonly status: RunStatus
  readonly stage: string | undefined
  readonly progress: number | undefined
  readonly data: unknown
  readonly recoveries: number
}

interface Live {
  readonly run: Run
  readonly settled: Promise<Settled>
}

const byHand = 'MANUAL'
const pollMs = 1_000

/** Keeps durable requests, resumes them after a crash, and answers for them. One a process and store. */
export class CheckpointManager {
  readonly store: CheckpointStore
  readonly options: CheckpointManagerOptions
  readonly now: () => number
  readonly #random: () => number
  readonly #hooks: CheckpointHooks[] = []
  readonly #operations = new Map<string, Operation>()
  readonly #resumers = new Map<string, Resumer>()
  readonly #byHand = new Map<string, (checkpoint: Checkpoint) => unknown>()
  readonly #handHeld = new Map<string, Held>()
  readonly #live = new Map<string, Live>()
  readonly #waiters = new Map<string, Set<() => void>>()
  readonly #ports: RunPorts
  #owner = ''
  #started: Promise<void> | undefined
  #sweeping: Promise<void> | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #nextSweepAt = Number.POSITIVE_INFINITY
  #stopping = false

  constructor(options: CheckpointManagerOptions) {
    checkManagerOptions(options)
    const { store, settleMs = 1_000, now = () => Date.now(), random = () => Math.random(), failpoint } = options
    this.options = options
    this.store = store
    this.now = now
    this.#random = random
    this.#hooks.push(options)
    this.#ports = { store, settleMs, now, random, failpoint }
  }

  /** Adds hooks of whoever composes this manager with other stores. */
  join(hooks: CheckpointHooks): void {
    this.#hooks.push(hooks)
  }

  /** Declares an operation; a name that is taken throws `duplicate_operation`. */
  declare(operation: Operation): void {
    if (this.#operations.has(operation.operation)) {
      throw new CheckpointError(
        'duplicate_operation',
        `Expected \`operation\` to be unique, got \`${operation.operation}\` twice`,
      )
    }
    this.#operations.set(operation.operation, operation)
  }

  /** Finds the app's durable routes, so that their runs can be resumed. Call it once all routes are registered. */
  serve(app: Pick<Hono, 'routes'>): void {
    for (const [operation, resumer] of resumersOf(app)) this.#resumers.set(operation, resumer)
  }

  /** Opens the store, takes back what an earlier life of this node left, and sweeps from then on. */
  start(): Promise<void> {
    this.#started ??= (async () => {
      await this.store.open()
      this.#owner = `${this.options.nodeId ?? 'node'}/${newRunId(this.now())}`
      await this.sweep()
    })().catch((error: unknown) => {
      this.#started = undefined
      throw error
    })
    return this.#started
  }

  /** Lets live runs finish for `gracefulShutdownMs`, then hands the rest over: the next owner need not wait for a lease. */
  async stop({ gracefulShutdownMs = 30_000 }: { readonly gracefulShutdownMs?: number } = {}): Promise<void> {
    this.#stopping = true
    clearTimeout(this.#timer)
    if (this.#live.size > 0)
      await within(Promise.all([...this.#live.values()].map(({ settled }) => settled)), gracefulShutdownMs)
    const left = [...this.#live]
    await Promise.all(
      left.map(async ([id, { run }]) => {
        run.stop(new CheckpointError('stopping', 'This process is shutting down'))
        await this.#suspend({ id, fence: run.fence }, 'queued', 'handed over at shutdown', undefined, undefined).catch(
          () => {},
        )
      }),
    )
    await this.#sweeping
  }

  get live(): number {
    return this.#live.size
  }

  /** Whether a further handler may begin now. */
  get hasRoom(): boolean {
    return this.#live.size < (this.options.maxConcurrentRuns ?? 1_000)
  }

  /** Makes the acceptance durable: the run, its input, and what the hooks add. Rejects with the unit's refusal. */
  async accept(record: RunRecord, input: RunInput, context: Context): Promise<RunRecord> {
    const unit = this.store.unit()
    let accepted = { ...record, owner: record.status === 'running' ? this.#owner : undefined }
    for (const { onAccept } of this.#hooks) {
      if (onAccept === undefined) continue
      const { links, idempotencySeed } = onAccept(accepted, unit, context)
      accepted = {
        ...accepted,
        links: { ...accepted.links, ...links },
        ...(idempotencySeed === undefined ? {} : { idempotencySeed }),
      }
    }
    unit.add(this.store.accept(accepted, input))
    this.#fail('accept.before')
    await unit.commit()
    this.#fail('accept.after')
    this.#tell('checkpoint.accepted', accepted)
    if (accepted.status === 'queued') this.#sweepAt(this.now())
    return accepted
  }

  /** Runs a handler for an accepted run and makes what comes of it durable. */
  drive(record: RunRecord, run: Run, enter: () => Promise<Answer>, policy: RetryPolicy): Promise<Settled> {
    const settled = this.#drive(record, run, enter, policy).finally(() => {
      this.#live.delete(record.id)
      this.#wake(record.id)
      if (!this.#stopping) this.#sweepIfQueued()
    })
    this.#live.set(record.id, { run, settled })
    const { runTimeoutMs } = this.options
    if (runTimeoutMs !== undefined) {
      const timer = setTimeout(
        () => void this.cancel(record.id, { actor: 'run timeout' }).catch((error: unknown) => this.#report(error)),
        runTimeoutMs,
      )
      settled.finally(() => clearTimeout(timer)).catch(() => {})
    }
    return settled
  }

  /** The run of a record, as its handler sees it. */
  runOf(record: RunRecord, steps: Awaited<ReturnType<CheckpointStore['steps']>> = []): Run {
    return new Run(record, steps, this.#ports)
  }

  /** A fresh record, `queued` if asked or where there is no room to run it now. */
  newRecord(
    queued: boolean,
    fields: Pick<RunRecord, 'requestId' | 'operation' | 'version' | 'method' | 'route' | 'principal'>,
  ): RunRecord {
    const runs = !queued && this.hasRoom
    const now = this.now()
    return {
      ...fields,
      id: newRunId(now),
      status: runs ? 'running' : 'queued',
      owner: this.#owner,
      fence: runs ? 1 : 0,
      attempt: 1,
      recoveries: 0,
      stage: undefined,
      progress: undefined,
      data: undefined,
      reason: undefined,
      wakeAt: undefined,
      cancelRequested: false,
      links: {},
      idempotencySeed: undefined,
      settled: false,
      createdAt: now,
      updatedAt: now,
    }
  }

  async #drive(record: RunRecord, run: Run, enter: () => Promise<Answer>, policy: RetryPolicy): Promise<Settled> {
    const held = { id: record.id, fence: record.fence }
    const { response, error } = await enter().catch((thrown: unknown) => ({ response: undefined, error: thrown }))
    const verdict = verdictOn(run, error, record.attempt, policy, this.now(), this.#random)
    try {
      switch (verdict.kind) {
        case 'lost':
          this.#tell('checkpoint.lease_lost', record)
          return { kind: 'lost' }
        case 'suspend':
          return await this.#suspend(held, verdict.status, verdict.reason, verdict.wakeAt, verdict.attempt)
        case 'cancel':
          await run.compensate()
          return await this.#finish(
            record,
            'cancelled',
            'cancelled',
            problemOutcome(409, 'run_cancelled', 'The request was cancelled'),
          )
        case 'fail': {
          await run.compensate()
          const outcome = await failedOutcome(response, verdict, this.options.maxResponseBytes)
          return await this.#finish(record, 'failed', verdict.reason, outcome)
        }
        case 'complete': {
          const { outcome, streaming } = await capture(response!, this.options.maxResponseBytes ?? 1_048_576)
          const settled = await this.#finish(record, 'completed', undefined, outcome)
          return streaming === undefined || settled.kind !== 'outcome' ? settled : { ...settled, streaming }
        }
      }
    } catch (failure) {
      if (failure instanceof Error && 'code' in failure && failure.code === 'lease_lost') return { kind: 'lost' }
      throw failure
    }
  }

  async #suspend(
    held: Held,
    status: 'queued' | 'waiting' | 'parked',
    reason: string,
    wakeAt: number | undefined,
    attempt: number | undefined,
  ): Promise<Settled> {
    const record = (await this.store.get(held.id))!
    const unit = this.store.unit()
    unit.add(
      this.store.suspend(held, { status, reason, wakeAt, attempt: attempt ?? record.attempt, updatedAt: this.now() }),
    )
    try {
      await unit.commit()
    } catch (error) {
      if (refusalOf(error) === undefined) throw error
      return this.#adopted(held.id)
    }
    this.#tell(status === 'parked' ? 'checkpoint.parked' : 'checkpoint.waiting', { ...record, status, reason, wakeAt })
    if (wakeAt !== undefined) this.#sweepAt(wakeAt)
    return { kind: 'suspended', status, wakeAt }
  }

  async #finish(record: RunRecord, status: RunStatus, reason: string | undefined, outcome: Outcome): Promise<Settled> {
    const settles = this.#hooks.some(({ settle }) => settle !== undefined)
    const ended: RunRecord = { ...record, status, reason, owner: undefined, settled: !settles }
    const unit = this.store.unit()
    unit.add(this.store.finish({ id: record.id, fence: record.fence }, status, reason, outcome, this.now(), !settles))
    for (const { onOutcome } of this.#hooks) onOutcome?.(ended, outcome, unit)
    this.#fail('outcome.before')
    let durability: Durability
    try {
      durability = await unit.commit()
    } catch (error) {
      if (refusalOf(error) === undefined) throw error
      return this.#adopted(record.id)
    }
    this.#fail('outcome.after')
    this.#tell('checkpoint.finished', ended)
    if (settles) await this.#settle(ended, outcome).catch((error: unknown) => this.#report(error))
    return { kind: 'outcome', outcome, durability }
  }

  /** What another owner has recorded, for one that lost the race. */
  async #adopted(id: string): Promise<Settled> {
    const outcome = await this.store.outcome(id)
    return outcome === undefined ? { kind: 'lost' } : { kind: 'outcome', outcome, durability: undefined }
  }

  async #settle(run: RunRecord, outcome: Outcome): Promise<void> {
    for (const { settle } of this.#hooks) await settle?.(run, outcome)
    const unit = this.store.unit()
    unit.add(this.store.mark(run.id, 'settled', this.now()))
    await unit.commit()
  }

  /** Takes what is due: runs of dead owners, queued runs, waits that are over; and settles what outcomes still drive. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweep()
      .catch((error: unknown) => this.#report(error))
      .finally(() => {
        this.#sweeping = undefined
        const everyMs = ((this.options.leaseMs ?? 15_000) / 3) * (0.9 + 0.2 * this.#random())
        this.#sweepAt(this.now() + everyMs)
      })
    return this.#sweeping
  }

  async #sweep(): Promise<void> {
    clearTimeout(this.#timer)
    this.#nextSweepAt = Number.POSITIVE_INFINITY
    const pageSize = 100
    for (let after: string | undefined; !this.#stopping; ) {
      const page: RunRecord[] = await this.store.unfinished(this.#owner, pageSize, after)
      for (const record of page) await this.#recover(record).catch((error: unknown) => this.#report(error))
      after = page.at(-1)?.id
      if (page.length < pageSize || !this.hasRoom) break
    }
    for (const record of await this.store.unsettled(pageSize)) {
      const outcome = await this.store.outcome(record.id)
      if (outcome !== undefined) await this.#settle(record, outcome).catch((error: unknown) => this.#report(error))
    }
  }

  async #recover(record: RunRecord): Promise<void> {
    if (this.#live.has(record.id) || this.#stopping) return
    if (
      record.status === 'waiting' &&
      !record.cancelRequested &&
      (record.wakeAt === undefined || record.wakeAt > this.now())
    ) {
      if (record.wakeAt !== undefined) this.#sweepAt(record.wakeAt)
      return
    }
    const resumer = this.#resumers.get(record.operation)
    const handler = this.#byHand.get(record.operation)
    if ((resumer === undefined && handler === undefined && !record.cancelRequested) || !this.hasRoom) return
    const orphaned = record.status === 'running'
    const taken = await this.#take(record, orphaned)
    if (taken === undefined) return
    this.#tell('checkpoint.resumed', taken)
    if (taken.cancelRequested) {
      await this.#finish(
        taken,
        'cancelled',
        'cancelled',
        problemOutcome(409, 'run_cancelled', 'The request was cancelled'),
      )
      this.#wake(taken.id)
    } else if (taken.recoveries > (this.options.maxRecoveries ?? 10)) {
      await this.#finish(
        taken,
        'dead',
        'taken over too often',
        problemOutcome(500, 'run_dead', 'The request could not be finished'),
      )
      this.#wake(taken.id)
    } else if (resumer !== undefined) await this.#resume(taken, resumer)
    else if (handler !== undefined) this.#resumeByHand(taken, handler)
  }

  async #take(record: RunRecord, recovery: boolean): Promise<RunRecord | undefined> {
    const unit = this.store.unit()
    let taken: RunRecord | undefined
    unit.add(this.store.take(record.id, record.fence, this.#owner, recovery, this.now()), (result) => {
      taken = result as RunRecord
    })
    try {
      await unit.commit()
    } catch (error) {
      if (refusalOf(error) === undefined) throw error
    }
    return taken
  }

  async #resume(record: RunRecord, resumer: Resumer): Promise<void> {
    const operation = this.#operations.get(record.operation)!
    const input = await this.store.input(record.id)
    if (input === undefined) throw new CheckpointError('corrupt_record', `Run ${record.id} has no input`)
    const held = { id: record.id, fence: record.fence }
    if (operation.version !== record.version && operation.onVersion === 'park') {
      await this.#suspend(
        held,
        'parked',
        `accepted by version ${record.version}, this is ${operation.version}`,
        undefined,
        undefined,
      )
      return
    }
    const restart = operation.version !== record.version && operation.onVersion === 'restart'
    const run = this.runOf(record, restart ? [] : await this.store.steps(record.id))
    this.drive(record, run, () => resumer(run, record, input), operation.retry).catch((error: unknown) =>
      this.#report(error),
    )
  }

  #resumeByHand(record: RunRecord, handler: (checkpoint: Checkpoint) => unknown): void {
    this.#handHeld.set(record.id, { id: record.id, fence: record.fence })
    Promise.resolve()
      .then(() => handler(checkpointOf(record)))
      .catch((error: unknown) =>
        this.fail(record.id, { resume_error: error instanceof Error ? error.message : String(error) }),
      )
      .catch((error: unknown) => this.#report(error))
  }

  #sweepIfQueued(): void {
    if (this.#live.size === (this.options.maxConcurrentRuns ?? 1_000) - 1) this.#sweepAt(this.now())
  }

  #sweepAt(at: number): void {
    if (this.#stopping || at >= this.#nextSweepAt) return
    clearTimeout(this.#timer)
    this.#nextSweepAt = at
    this.#timer = setTimeout(() => void this.sweep(), Math.min(Math.max(0, at - this.now()), 2 ** 31 - 1))
  }

  get(id: string): Promise<RunRecord | undefined> {
    return this.store.get(id)
  }

  outcome(id: string): Promise<Outcome | undefined> {
    return this.store.outcome(id)
  }

  /** The answer of a finished run, as its first caller got it. */
  async response(id: string): Promise<Response | undefined> {
    const outcome = await this.store.outcome(id)
    return outcome === undefined ? undefined : responseOf(outcome, id)
  }

  /** The kept steps without their values. */
  async steps(id: string): Promise<
    readonly {
      readonly name: string
      readonly occurrence: number
      readonly state: string
      readonly startedAt: number
      readonly keptAt: number
      readonly bytes: number
    }[]
  > {
    return (await this.store.steps(id)).map(({ value, attempt: _, ...step }) => ({
      ...step,
      bytes: value?.length ?? 0,
    }))
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

  /** Resolves to the outcome when there is one, to `undefined` after `timeoutMs`. Woken in this process, polled across others. */
  async wait(
    id: string,
    { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<Outcome | undefined> {
    const deadline = performance.now() + timeoutMs
    for (;;) {
      const woken = this.#woken(
        id,
        Math.min(pollMs * (0.75 + this.#random() / 2), Math.max(0, deadline - performance.now())),
        signal,
      )
      const outcome = await this.store.outcome(id)
      if (outcome !== undefined || performance.now() >= deadline || signal?.aborted) return outcome
      await woken
    }
  }

  /** Answers a duplicate of a keyed request from the run behind the key, as its `Prefer` field asks. */
  attach(context: Context, id: string): Promise<Response | undefined> {
    return answerAttached(this, context, id)
  }

  /**
   * Ends a run that is not finished: a running one gets its signal aborted and fails at its next step, any other ends at once.
   * Throws `already_finished`, `not_found`.
   */
  async cancel(id: string, _by: { readonly actor: string }): Promise<'cancelling'> {
    await this.#mark(id, 'cancel')
    this.#live.get(id)?.run.stop(new CheckpointError('run_cancelled', 'The request was cancelled'))
    if (!this.#live.has(id)) await this.#now()
    return 'cancelling'
  }

  /** Goes on with a failed, dead, parked or waiting run from its last kept step. Throws `not_resumable`, `not_found`. */
  async retry(id: string, _by: { readonly actor: string }): Promise<'queued'> {
    await this.#mark(id, 'requeue')
    await this.#now()
    return 'queued'
  }

  /** The same as {@link retry}, under the name for parked runs. */
  resume(id: string, by: { readonly actor: string }): Promise<'queued'> {
    return this.retry(id, by)
  }

  async #now(): Promise<void> {
    await this.#sweeping
    await this.sweep()
  }

  async #mark(id: string, mark: 'cancel' | 'requeue'): Promise<void> {
    await this.start()
    const unit = this.store.unit()
    unit.add(this.store.mark(id, mark, this.now()))
    try {
      await unit.commit()
    } catch (error) {
      const refusal = refusalOf(error)
      if (refusal === undefined) throw error
      const code =
        refusal.reason === 'not_found'
          ? 'not_found'
          : refusal.reason === 'not_resumable'
            ? 'not_resumable'
            : 'already_finished'
      throw new CheckpointError(code, `Run ${id} cannot be changed: ${code.replaceAll('_', ' ')}`, { cause: error })
    }
  }

  /** Makes a checkpoint that this process holds; a crash leaves it to `onResume`. Resolves to its id. */
  async create({
    requestId,
    operation,
    data,
  }: {
    readonly requestId?: string
    readonly operation: string
    readonly data?: unknown
  }): Promise<string> {
    await this.start()
    const record: RunRecord = {
      ...this.newRecord(false, { requestId, operation, version: '1', method: byHand, route: '', principal: undefined }),
      status: 'running',
      fence: 1,
      owner: this.#owner,
      data: data === undefined ? undefined : encode(data),
    }
    const unit = this.store.unit()
    unit.add(this.store.accept(record, { url: '', headers: [], variables: '{}', body: new Uint8Array() }))
    await unit.commit()
    this.#handHeld.set(record.id, { id: record.id, fence: 1 })
    return record.id
  }

  /** Merges `patch` into the checkpoint's data; `stage` and `progress` (0 to 1) are its own. */
  async update(
    id: string,
    patch: { readonly stage?: string; readonly progress?: number; readonly [field: string]: unknown },
  ): Promise<void> {
    const record = await this.#mine(id)
    const { stored } = patchOf(patch, record.data === undefined ? undefined : decode(record.data), this.now())
    const unit = this.store.unit()
    unit.add(this.store.patch(this.#handHeld.get(id)!, stored))
    await this.#commitByHand(unit, id)
  }

  complete(id: string, patch: Readonly<Record<string, unknown>> = {}): Promise<void> {
    return this.#endByHand(id, 'completed', patch)
  }

  fail(id: string, patch: Readonly<Record<string, unknown>> = {}): Promise<void> {
    return this.#endByHand(id, 'failed', patch)
  }

  /** Every run and checkpoint that is not finished, oldest first. */
  async listIncomplete(): Promise<Checkpoint[]> {
    const all: RunRecord[] = []
    for (
      let page = await this.store.unfinished('', 100);
      ;
      page = await this.store.unfinished('', 100, page.at(-1)!.id)
    ) {
      all.push(...page)
      if (page.length < 100) return all.map(checkpointOf)
    }
  }

  /** What to do with checkpoints of `operation` that a dead process left. */
  onResume(operation: string, handler: (checkpoint: Checkpoint) => unknown): void {
    this.#byHand.set(operation, handler)
  }

  async #endByHand(
    id: string,
    status: 'completed' | 'failed',
    patch: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    const record = await this.#mine(id)
    const held = this.#handHeld.get(id)!
    const { stored, data } = patchOf(
      { progress: status === 'completed' ? 1 : (record.progress ?? 0), ...patch },
      record.data === undefined ? undefined : decode(record.data),
      this.now(),
    )
    const body = new TextEncoder().encode(encode(data))
    const unit = this.store.unit()
    unit.add(this.store.patch(held, stored))
    unit.add(
      this.store.finish(
        held,
        status,
        undefined,
        { status: status === 'completed' ? 200 : 500, headers: [], body, retained: true },
        this.now(),
      ),
    )
    await this.#commitByHand(unit, id)
    this.#handHeld.delete(id)
    this.#wake(id)
  }

  async #mine(id: string): Promise<RunRecord> {
    const record = await this.store.get(id)
    if (record === undefined) throw new CheckpointError('not_found', `There is no checkpoint ${id}`)
    if (finished.has(record.status))
      throw new CheckpointError('already_finished', `Checkpoint ${id} is ${record.status}`)
    if (!this.#handHeld.has(id)) throw new CheckpointError('lease_lost', `Checkpoint ${id} is not held by this process`)
    return record
  }

  async #commitByHand(unit: Unit, id: string): Promise<void> {
    try {
      await unit.commit()
    } catch (error) {
      if (refusalOf(error) === undefined) throw error
      throw new CheckpointError('lease_lost', `Checkpoint ${id} went on elsewhere`, { cause: error })
    }
  }

  #woken(id: string, afterMs: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const waiters = this.#waiters.get(id) ?? new Set()
      this.#waiters.set(id, waiters)
      const done = () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', done)
        waiters.delete(done)
        if (waiters.size === 0) this.#waiters.delete(id)
        resolve()
      }
      const timer = setTimeout(done, afterMs)
      waiters.add(done)
      signal?.addEventListener('abort', done)
    })
  }

  #wake(id: string): void {
    for (const done of this.#waiters.get(id) ?? []) done()
  }

  #fail(name: Failpoint): void {
    this.options.failpoint?.(name)
  }

  #tell(type: RunTransition['type'], run: RunRecord): void {
    try {
      this.options.onTransition?.({ type, run })
    } catch (error) {
      this.#report(error)
    }
  }

  #report(error: unknown): void {
    try {
      this.options.onError?.(error)
    } catch {
      // An observer's failure changes nothing.
    }
  }
}

async function failedOutcome(
  response: Response | undefined,
  { error }: { readonly error: ErrorClass },
  maxBytes = 1_048_576,
): Promise<Outcome> {
  const plain = response?.headers.get('content-type')?.startsWith('text/plain') === true && response.status === 500
  if (response === undefined || plain) return problemOutcome(500, error.code, 'The request failed')
  return (await capture(response, maxBytes)).outcome
}

function checkpointOf(record: RunRecord): Checkpoint {
  const { id, operation, requestId, status, stage, progress, data, recoveries } = record
  return {
    id,
    operation,
    requestId,
    status,
    stage,
    progress,
    data: data === undefined ? undefined : decode(data),
    recoveries,
  }
}

async function within(work: Promise<unknown>, timeoutMs: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeoutMs)
  })
  await Promise.race([work.catch(() => {}), timeout])
  clearTimeout(timer)
}
