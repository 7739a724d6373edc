import { decode, encode } from './codec.ts'
import { CheckpointError } from './errors.ts'
import { type Found, fresh, recordOf } from './found-step.ts'
import { DivergenceError, keyOf, Replay } from './replay.ts'
import { type Frequency, pendingStepsOf } from './retention.ts'
import { isFinal, lossOf } from './run-loss.ts'
import { attemptPortsOf, type RunListener, type RunPorts, type Statements } from './run-ports.ts'
import { type Links, type RunRecord, type StepRecord, textOf } from './run-record.ts'
import { patchOf, type RunUpdate } from './run-update.ts'
import { sha256Hex } from './sha256.ts'
import { type AttemptPorts, attempt, type StepContext, type StepOptions, type Verification } from './step.ts'
import type { Held, Kept, Statement } from './store.ts'
import type { Unit } from './unit.ts'
import { Effects, type UnwindPlan } from './unwinding.ts'
import { fetchOnce, type KeptResponse } from './upstream.ts'
import { Waits } from './waits.ts'

/** One durable request, as its handler sees it in `c.var.run`. */
export class Run {
  readonly id: string
  readonly requestId: string | undefined
  readonly operation: string
  readonly principal: string | undefined
  readonly subject: string | undefined
  readonly fence: number
  /** How often the handler has been entered: retries and recoveries both count, from 1. */
  readonly attempt: number
  /** What the parts around it keep with it, such as its trace. */
  readonly links: Links
  readonly #ports: RunPorts
  readonly #held: Held
  readonly #seed: string
  readonly #replay: Replay
  readonly #waits: Waits
  readonly #maxPending: number
  readonly #effects = new Effects()
  #pending: StepRecord[] = []
  #controller: AbortController | undefined
  #stop: Error | undefined
  #plan: UnwindPlan | undefined
  #attemptPorts: AttemptPorts | undefined
  #listener: RunListener | undefined

  constructor(record: RunRecord, steps: readonly StepRecord[], ports: RunPorts, frequency: Frequency = 'every-step') {
    this.id = record.id
    this.requestId = record.requestId
    this.operation = record.operation
    this.principal = record.principal
    this.subject = record.subject
    this.fence = record.fence
    this.attempt = record.attempt + record.recoveries
    this.links = record.links
    this.#ports = ports
    this.#held = { id: record.id, fence: record.fence }
    this.#seed = record.idempotencySeed ?? record.id
    this.#replay = new Replay(steps, ports.settleMs, ports.timers)
    this.#waits = new Waits(ports.timers)
    this.#maxPending = pendingStepsOf(frequency)
    if (steps.length > 0) this.#recall(steps)
  }

  /** Aborts when the run is cancelled or this process has lost it. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#stop !== undefined) this.#controller.abort(this.#stop)
    }
    return this.#controller.signal
  }

  /** Why the run must not go on in this process, if so. */
  get stopped(): Error | undefined {
    return this.#stop
  }

  /** Ends the run in this process: its signal aborts and every further step throws `reason`. */
  stop(reason: Error): void {
    // A run that takes its effects back is on its way to that end, and must get there.
    if (this.#plan !== undefined && 'code' in reason && reason.code === 'run_cancelled') return
    // What this process can no longer know or do weighs more than a cancellation: another life ends the run as it should.
    if (this.#stop !== undefined && (isFinal(this.#stop) || !isFinal(reason))) return
    this.#stop = reason
    this.#waits.stop(reason)
    this.#controller?.abort(reason)
    this.#listener?.stopped(reason)
  }

  /** The first kept step that the handler never asked for. */
  get unrequested(): string | undefined {
    return this.#plan === undefined ? this.#replay.unrequested : undefined
  }

  /**
   * Runs `work` once and keeps its result, or gives back what was kept. The result is durable before this resolves (see
   * {@link Frequency}). Steps are told apart by name and by how often the name was used before, so that `Promise.all` replays right.
   */
  async step<Value>(
    name: string,
    work: (context: StepContext) => Value | Promise<Value>,
    options: StepOptions<Value> = {},
  ): Promise<Value> {
    const occurrence = this.#begin(name)
    try {
      const found = this.#find(name, occurrence)
      const { kept, marker } = found === undefined ? fresh : await found
      if (kept !== undefined) {
        const value = decode(textOf(kept)) as Value
        this.#effects.add(name, occurrence, value, options.compensate)
        return value
      }
      const key = keyOf(name, occurrence)
      const startedAt = this.#ports.now()
      const { onCrash = 'rerun', compensate, retry, timeoutMs } = options
      const verified = marker === undefined ? undefined : await this.#afterCrash(key, onCrash)
      let value: Value
      if (verified?.done) value = verified.value
      else {
        if (onCrash !== 'rerun' && marker === undefined)
          await this.#keep(recordOf(name, occurrence, 'started', undefined, startedAt, startedAt), true)
        value = await attempt(this.#attempts, key, work, retry, timeoutMs)
      }
      await this.#keep(
        recordOf(name, occurrence, 'kept', encode(value), startedAt, this.#ports.now()),
        onCrash !== 'rerun' || compensate !== undefined,
      )
      this.#effects.made(name, occurrence)
      this.#effects.add(name, occurrence, value, compensate)
      return value
    } finally {
      this.#waits.end()
    }
  }

  /**
   * Runs the user's SQL and keeps the step in **one** transaction: exactly once. On SQLite it takes statements, or a function that
   * gives them, and resolves to the rows that each changed. Tables that begin with `gw_` are the gateway's own and refused.
   */
  transaction(name: string, statements: Statements): Promise<number[]>
  /** On PostgreSQL it takes a function, which gets the transaction; what it resolves to is kept. */
  transaction<Transaction, Value>(
    name: string,
    work: (transaction: Transaction, context: StepContext) => Promise<Value>,
  ): Promise<Value>
  async transaction(
    name: string,
    work: Statements | ((transaction: never, context: StepContext) => Promise<unknown>),
  ): Promise<unknown> {
    const occurrence = this.#begin(name)
    try {
      const { store } = this.#ports
      const key = keyOf(name, occurrence)
      if (!store.transactional || (store.transact !== undefined && typeof work !== 'function'))
        throw new CheckpointError(
          'not_transactional',
          store.transactional
            ? `Expected a function for \`transaction(${name})\`: this store gives it the transaction`
            : `Expected a transactional store for \`transaction(${name})\`; this one keeps runs only`,
        )
      const { kept } = (await this.#find(name, occurrence)) ?? fresh
      if (kept !== undefined) return decode(textOf(kept))
      await this.#flush()
      const startedAt = this.#ports.now()
      if (store.transact !== undefined)
        return await this.#transact(name, occurrence, work as (transaction: unknown, context: StepContext) => unknown)
      const statements = work as Statements
      const list =
        typeof statements === 'function'
          ? await attempt(this.#attempts, key, statements, undefined, undefined)
          : statements
      for (const [sql] of list) {
        if (/\bgw_/i.test(sql))
          throw new CheckpointError(
            'internal_table',
            `\`${key}\` names a table that begins with gw_, which is the gateway's own`,
          )
      }
      const step = recordOf(name, occurrence, 'kept', '[]', startedAt, this.#ports.now())
      return (await this.#commitSteps([step], list)).changed
    } finally {
      this.#waits.end()
    }
  }

  /** Records where the run is, for people. `progress` is 0 to 1. Other fields are merged into the run's data. */
  async update(patch: RunUpdate): Promise<void> {
    if (this.#plan !== undefined) return
    this.#check()
    const { store, now } = this.#ports
    const stored = patchOf(patch, now())
    const unit = store.unit()
    this.flushInto(unit)
    unit.add(store.patch(this.#held, stored))
    await this.#commit(unit)
    this.#ports.changed(this.id)
  }

  /**
   * A step that sends a request with an `Idempotency-Key` of its own, and keeps status, headers and bytes of the answer. An answer
   * that says to come back (429, 502, 503, 504) is not kept: it throws `upstream_unavailable`, which is retryable and carries the
   * answer's `Retry-After`.
   */
  async fetch(
    name: string,
    url: string | URL,
    init: RequestInit = {},
    options: StepOptions<KeptResponse> = {},
  ): Promise<Response> {
    const { status, headers, body } = await this.step(name, (context) => fetchOnce(url, init, context), options)
    return new Response(body.length === 0 ? null : body, { status, headers })
  }

  /** Goes on after `ms`, also in another process. While nothing else of the run is under way, it holds no process at all. */
  async sleep(name: string, ms: number): Promise<void> {
    if (!(Number.isFinite(ms) && ms >= 0))
      throw new CheckpointError('invalid_option', `Expected \`ms\` to be a finite number from 0, got \`${ms}\``)
    const occurrence = this.#begin(name)
    let active = true
    try {
      const { now } = this.#ports
      const { kept } = (await this.#find(name, occurrence)) ?? fresh
      const wakeAt = kept === undefined ? Math.ceil(now() + ms) : (decode(textOf(kept)) as number)
      if (kept === undefined) await this.#keep(recordOf(name, occurrence, 'kept', encode(wakeAt), now(), now()), true)
      if (this.#plan !== undefined || wakeAt <= now()) return
      this.#check()
      active = false
      await this.#waits.until({ reason: `sleeps in ${keyOf(name, occurrence)}`, wakeAt })
    } finally {
      if (active) this.#waits.end()
    }
  }

  /**
   * Waits for the next signal of this name, sent with `POST /requests/{id}/signals/{name}` or `checkpoints.signal`, and resolves to
   * what it brought; `undefined` after `timeoutMs`. A signal that came before is not lost.
   */
  async waitFor<Value = unknown>(
    name: string,
    { timeoutMs }: { readonly timeoutMs?: number } = {},
  ): Promise<Value | undefined> {
    if (timeoutMs !== undefined && !(Number.isFinite(timeoutMs) && timeoutMs > 0))
      throw new CheckpointError(
        'invalid_option',
        `Expected \`timeoutMs\` to be a finite number above 0, got \`${timeoutMs}\``,
      )
    const occurrence = this.#begin(name)
    let active = true
    try {
      const { now } = this.#ports
      const { kept, marker } = (await this.#find(name, occurrence)) ?? fresh
      if (kept !== undefined) return decode(textOf(kept)) as Value | undefined
      const wakeAt =
        marker === undefined
          ? timeoutMs === undefined
            ? undefined
            : Math.ceil(now() + timeoutMs)
          : (decode(textOf(marker)) as number | undefined)
      if (marker === undefined)
        await this.#keep(recordOf(name, occurrence, 'started', encode(wakeAt), now(), now()), true)
      let value = this.#waits.signal(name, occurrence)
      if (value === undefined && (wakeAt === undefined || wakeAt > now())) {
        this.#check()
        active = false
        value = await this.#waits.untilSignal(name, occurrence, { reason: `waits for the signal ${name}`, wakeAt })
        active = true
      }
      await this.#keep(recordOf(name, occurrence, 'kept', value ?? encode(undefined), now(), now()), true)
      return value === undefined ? undefined : (decode(value) as Value)
    } finally {
      if (active) this.#waits.end()
    }
  }

  /** Gives the run a signal that was sent to it while it is here. */
  deliver(signal: StepRecord): void {
    if (this.#stop === undefined) this.#waits.deliver(signal.name, signal.occurrence, textOf(signal))
  }

  /** Who hears that the run must not go on here, or does nothing but wait. */
  listen(listener: RunListener): void {
    this.#listener = listener
    this.#waits.onIdle = (wait) => {
      this.#listener = undefined
      this.stop(new CheckpointError('run_parked', wait.reason))
      listener.idle(wait)
    }
  }

  get signalsSeen(): number {
    return this.#waits.signalsSeen
  }

  /** How the run ends after its effects are taken back, once that is decided. */
  get plan(): UnwindPlan | undefined {
    return this.#plan
  }

  /** Lets the handler only give back what was kept, so that its compensations become known. */
  rewind(plan: UnwindPlan): void {
    this.#plan ??= plan
  }

  /** Takes the kept effects back, last kept first, each once, after the plan is durable. Resolves to the plan that holds. */
  async unwind(plan: UnwindPlan): Promise<UnwindPlan> {
    this.#plan ??= plan
    if (this.#effects.none) return this.#plan
    this.#stop = undefined
    this.#controller = undefined
    await this.#effects.takeBack(this.#plan, {
      now: this.#ports.now,
      attempts: this.#attempts,
      keep: (step) => this.#commitSteps([step]),
      stopped: () => this.#stop !== undefined,
    })
    return this.#plan
  }

  /** Adds what is finished and not durable yet to a unit of the run's own. */
  flushInto(unit: Unit): void {
    if (this.#pending.length === 0) return
    const steps = this.#pending
    this.#pending = []
    unit.add(this.#ports.store.keep(this.#held, steps), (result) => this.#told(result as Kept))
  }

  #recall(steps: readonly StepRecord[]): void {
    for (const step of steps) {
      this.#effects.recall(step)
      if (step.state === 'signal') this.#waits.deliver(step.name, step.occurrence, textOf(step))
      else if (step.state === 'unwinding') this.#plan = decode(textOf(step)) as UnwindPlan
    }
  }

  #begin(name: string): number {
    this.#check()
    this.#waits.begin()
    return this.#replay.occurrence(name)
  }

  /** What replay knows of a use of a name; `undefined` when it is new and may run at once: the common case costs no promise. */
  #find(name: string, occurrence: number): Found | Promise<Found> | undefined {
    if (this.#plan !== undefined && !this.#replay.isKept(name, occurrence))
      throw new CheckpointError('run_unwinding', 'The effects of this run are being taken back')
    const found = this.#replay.find(name, occurrence)
    if (found === undefined) return undefined
    if (!(found instanceof Promise)) return found as Found
    return found.catch((error: unknown) => {
      if (error instanceof DivergenceError) this.stop(error)
      throw error
    }) as Promise<Found>
  }

  #check(): void {
    if (this.#stop !== undefined) throw this.#stop
  }

  async #afterCrash<Value>(
    key: string,
    onCrash: NonNullable<StepOptions<Value>['onCrash']>,
  ): Promise<Verification<Value>> {
    if (onCrash === 'rerun') return { done: false }
    if (onCrash !== 'park') return onCrash()
    const parked = new CheckpointError(
      'run_parked',
      `${key} was under way when its process died; decide whether it happened`,
    )
    this.stop(parked)
    throw parked
  }

  get #attempts(): AttemptPorts {
    this.#attemptPorts ??= attemptPortsOf(
      this,
      this.#ports,
      () => this.#check(),
      (key) => sha256Hex(`${this.#seed}\n${key}`),
    )
    return this.#attemptPorts
  }

  async #transact(
    name: string,
    occurrence: number,
    work: (transaction: unknown, context: StepContext) => unknown,
  ): Promise<unknown> {
    const { store, now } = this.#ports
    const key = keyOf(name, occurrence)
    const startedAt = now()
    this.#ports.failpoint?.('step.before', this)
    let value: unknown
    let failed: { readonly error: unknown } | undefined
    try {
      const kept = await store.transact!(this.#held, async (transaction) => {
        failed = undefined
        try {
          value = await attempt(this.#attempts, key, (context) => work(transaction, context), undefined, undefined)
        } catch (error) {
          failed = { error }
          throw error
        }
        return recordOf(name, occurrence, 'kept', encode(value), startedAt, now())
      })
      this.#told(kept)
    } catch (error) {
      if (failed !== undefined && error === failed.error) throw error
      throw this.#lost(error)
    }
    this.#ports.failpoint?.('step.after', this)
    this.#ports.changed(this.id)
    return value
  }

  /** Keeps a step, at once or together with the next ones. */
  async #keep(step: StepRecord, now: boolean): Promise<void> {
    this.#pending.push(step)
    if (now || this.#pending.length >= this.#maxPending) await this.#flush()
    else this.#check()
  }

  async #flush(): Promise<void> {
    if (this.#pending.length === 0) return
    const steps = this.#pending
    this.#pending = []
    await this.#commitSteps(steps)
  }

  async #commitSteps(steps: readonly StepRecord[], statements?: readonly Statement[]): Promise<Kept> {
    if (this.#stop !== undefined && isFinal(this.#stop)) throw this.#stop
    const { store, failpoint, changed } = this.#ports
    failpoint?.('step.before', this)
    const unit = store.unit()
    let kept: Kept | undefined
    unit.add(store.keep(this.#held, steps, statements), (result) => {
      kept = result as Kept
    })
    await this.#commit(unit)
    failpoint?.('step.after', this)
    changed(this.id)
    this.#told(kept!)
    return kept!
  }

  #told({ cancelRequested }: Kept): void {
    if (cancelRequested && this.#plan === undefined)
      this.stop(new CheckpointError('run_cancelled', 'The request was cancelled'))
  }

  async #commit(unit: Unit): Promise<void> {
    try {
      await unit.commit()
    } catch (error) {
      throw this.#lost(error)
    }
  }

  /** Stops the run where a failed write has lost it; gives back what to throw. */
  #lost(error: unknown): unknown {
    const loss = lossOf(this.id, error)
    if (loss === undefined) return error
    this.stop(loss)
    return loss
  }
}
