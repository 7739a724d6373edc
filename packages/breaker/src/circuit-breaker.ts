import { attempt, type CallContext, judgeTime, type RunOptions, unwrap, type Watch } from './attempt.ts'
import { cockatiel, Era, type EraOwner, loadCockatiel, Outcome } from './era.ts'
import { CircuitBreakerOpenError, type Refuser } from './errors.ts'
import { type BreakerFigures, type BreakerJson, noFigures } from './figures.ts'
import { Hooks } from './hooks.ts'
import { type BreakerSettings, type CircuitBreakerOptions, checkOptions, period, rule, settingsOf } from './options.ts'
import { Permit, type Slot } from './permit.ts'
import type { BreakerLink, Probe } from './sharing.ts'
import { type BreakerSnapshot, parseSnapshot } from './snapshot.ts'
import type { BreakerTransition, CircuitState, ForcedMode, TransitionReason, TransitionType } from './transition.ts'
import { Trials } from './trials.ts'
import type { Verdict } from './verdict.ts'
import { RollingWindow } from './window.ts'

// How soon to ask again when the trials are taken and nobody can say when they end.
const trialsTakenRetryMs = 1_000

// The latest and, negated, the earliest time that a `Date` can hold (ECMA-262 §21.4.1.1).
const furthestTimeMs = 8.64e15

const elapsed = rule('a finite number', (value) => Number.isFinite(value))

/** Who does it, and why. */
export interface Operator {
  readonly actor: string
  readonly note?: string
}

/**
 * Stops calling what keeps failing: passes calls while closed, refuses them while open, and lets a few try when the wait
 * is over. Making one does nothing; cockatiel is loaded by the first call.
 */
export class CircuitBreaker {
  readonly name: string
  readonly #settings: BreakerSettings
  readonly #window: RollingWindow
  readonly #watched: boolean
  readonly #owner: EraOwner & Watch & Refuser
  readonly #hooks: Hooks
  readonly #trials: Trials
  readonly #figures = noFigures()
  #state: CircuitState = 'CLOSED'
  #forced: ForcedMode | undefined
  /** The policy that calls run in. None before the first call and while open. */
  #era: Era | undefined
  #openUntil = 0
  #lastFailureAt: number | undefined
  #lastError: unknown
  #link: BreakerLink | undefined

  constructor(options: CircuitBreakerOptions) {
    const settings = settingsOf(options)
    this.name = settings.name
    this.#settings = settings
    this.#window = new RollingWindow(settings)
    this.#hooks = new Hooks(settings)
    this.#trials = new Trials(settings.maxHalfOpenMs)
    this.#watched =
      settings.callTimeoutMs !== undefined || settings.slowCallMs !== undefined || settings.onOutcome !== undefined
    this.#owner = this.#makeOwner()
  }

  /**
   * Calls `fn` unless the breaker is open, and gives back what it gives. Rejects with `CircuitBreakerOpenError` when it
   * did not call.
   */
  run<Result>(
    fn: (context: CallContext) => Result | PromiseLike<Result>,
    options?: RunOptions<Result>,
  ): Promise<Result> {
    if (this.#state === 'OPEN') {
      const now = this.#settings.now()
      if (this.#forced === 'open' || now < this.#openUntil) return this.#refuse(now)
    }
    const era = this.#era
    if (era === undefined || this.#state !== 'CLOSED') return this.#enter(fn, options)
    return this.#pass(era, fn, options)
  }

  /**
   * A permission to call, for what starts and ends in different places. Say what became of it; one that is disposed of
   * undecided says nothing. Rejects with `CircuitBreakerOpenError`.
   */
  async permit(): Promise<Permit> {
    if (cockatiel() === undefined) await loadCockatiel()
    const now = this.#settings.now()
    const slot = this.#state === 'CLOSED' ? this.#closedSlot() : this.#admit(now)
    if (slot === undefined) throw this.#refusal(now)
    return new Permit(slot, {
      classify: this.#settings.classify,
      ended: (verdict) => judgeTime(this.#owner, slot.era, now, verdict),
    })
  }

  /** `OPEN` stays so until a call comes after the wait: see `ready`. */
  get state(): CircuitState {
    if (this.#state === 'HALF_OPEN') this.#watchdog(this.#settings.now())
    return this.#state
  }

  /** Whether it is open and the next call will be a trial. */
  get ready(): boolean {
    return this.state === 'OPEN' && this.#forced === undefined && this.#settings.now() >= this.#openUntil
  }

  /** What an operator has decided, if anybody has. */
  get forced(): ForcedMode | undefined {
    return this.#forced
  }

  /** Counted failures in the window; failures in a row when `consecutive`. */
  get failureCount(): number {
    return this.#window.failureCount(this.#settings.now())
  }

  /** Failed calls in the window by all calls in it, to a tenth of the window. 0 without calls. */
  get failureRate(): number {
    return this.#window.failureRate(this.#settings.now())
  }

  get lastFailureTime(): Date | undefined {
    return this.#lastFailureAt === undefined ? undefined : this.#wall(this.#lastFailureAt)
  }

  /** When the first trial may be made; only while open, and not when forced. */
  get nextAttemptTime(): Date | undefined {
    return this.state === 'OPEN' && this.#forced === undefined ? this.#wall(this.#openUntil) : undefined
  }

  get figures(): BreakerFigures {
    void this.state
    return { ...this.#figures, warnings: this.#hooks.warnings }
  }

  toJSON(): BreakerJson {
    return {
      state: this.state,
      failure_count: this.failureCount,
      failure_rate: this.failureRate,
      last_failure: this.lastFailureTime?.toISOString() ?? null,
      next_attempt: this.nextAttemptTime?.toISOString() ?? null,
    }
  }

  /** What an error says, by `expectedErrors` and `ignoreErrors`. */
  classify(error: unknown): Verdict {
    return this.#settings.classify(error)
  }

  /** Tells `listener` of every transition, until the returned function is called. */
  subscribe(listener: (transition: BreakerTransition) => unknown): () => void {
    return this.#hooks.subscribe(listener)
  }

  /** Closed and empty, and nobody's decision any more. What still runs is late and changes nothing. */
  reset(operator: Operator): void {
    this.#forced = undefined
    this.#window.clear()
    this.#enterState('CLOSED', 'breaker.reset', 'operator', operator)
  }

  /** Refuses every call until `reset`. */
  forceOpen(operator: Operator): void {
    this.#forced = 'open'
    this.#enterState('OPEN', 'breaker.forced_open', 'operator', operator)
  }

  /** Passes every call until `reset`, whatever fails. */
  forceClose(operator: Operator): void {
    this.#forced = 'closed'
    this.#window.clear()
    this.#enterState('CLOSED', 'breaker.forced_closed', 'operator', operator)
  }

  /** Metrics only: passes every call, counts on, and notes in `suppressed` where it would have opened. Until `reset`. */
  disable(operator: Operator): void {
    this.#forced = 'disabled'
    this.#enterState('CLOSED', 'breaker.disabled', 'operator', operator)
  }

  /** Opens now, for `openMs` or the time given. Does nothing when it is open already or when somebody forced it. */
  trip(options: { readonly openMs?: number } = {}): void {
    checkOptions(options, { openMs: period }, [])
    if (this.#forced !== undefined || this.state === 'OPEN') return
    this.#open('tripped', this.#settings.now() + (options.openMs ?? this.#openPeriod()))
  }

  /** The state as JSON, for `hydrate` after a restart. */
  snapshot(): BreakerSnapshot {
    const now = this.#settings.now()
    const state = this.state
    const { openMs, openJitterRatio } = this.#settings
    // Who tripped it may have asked for more than a snapshot can say.
    const remainingMs = Math.min(this.#openUntil - now, openMs * (1 + openJitterRatio))
    return {
      version: 1,
      state,
      forced: this.#forced ?? null,
      openRemainingMs: state === 'OPEN' && this.#forced === undefined ? Math.max(0, remainingMs) : 0,
      failureAgesMs: this.#window.failureAgesMs(now),
      streak: this.#window.streak,
      lastFailureAgeMs: this.#lastFailureAt === undefined ? null : Math.max(0, now - this.#lastFailureAt),
    }
  }

  /**
   * Takes over what `snapshot` gave, `elapsedMs` after it did. Half-open comes back open and ready for trials. What is not
   * a snapshot leaves the breaker closed, with a warning; the answer is whether it was one.
   */
  hydrate(snapshot: unknown, options: { readonly elapsedMs?: number } = {}): boolean {
    checkOptions(options, { elapsedMs: elapsed }, [])
    const parsed = parseSnapshot(snapshot, this.#settings)
    this.#forced = undefined
    this.#window.clear()
    this.#lastFailureAt = undefined
    if (typeof parsed === 'string') {
      this.#enterState('CLOSED', 'breaker.hydrated', 'snapshot')
      this.#hooks.warn('snapshot_invalid', `The snapshot was not taken over: ${parsed}`)
      return false
    }
    const elapsedMs = Math.max(0, options.elapsedMs ?? 0)
    const now = this.#settings.now()
    for (const age of parsed.failureAgesMs) {
      if (age + elapsedMs < this.#settings.rollingWindowMs) this.#window.count(now, now - age - elapsedMs)
    }
    this.#window.streak = parsed.streak
    if (parsed.lastFailureAgeMs !== null) this.#lastFailureAt = now - parsed.lastFailureAgeMs - elapsedMs
    this.#forced = parsed.forced ?? undefined
    this.#openUntil = now + Math.max(0, parsed.openRemainingMs - elapsedMs)
    this.#enterState(parsed.state === 'CLOSED' ? 'CLOSED' : 'OPEN', 'breaker.hydrated', 'snapshot')
    return true
  }

  /**
   * Puts a half-open breaker's trials and its closing into the hands of a cluster; `undefined` takes them back. Used by
   * `shareBreakers`.
   */
  link(link: BreakerLink | undefined): void {
    this.#link = link
  }

  /** Whether calls have a time limit, and a context's signal is more than the caller's. */
  get timesCalls(): boolean {
    return this.#settings.callTimeoutMs !== undefined
  }

  /** The periods and counts that a cluster goes by. */
  get terms(): { readonly openMs: number; readonly halfOpenMaxCalls: number; readonly rollingWindowMs: number } {
    return this.#settings
  }

  /** The cluster has opened, for so long. */
  openByCluster(openMs: number): void {
    if (this.#forced !== undefined) return
    const openUntil = this.#settings.now() + openMs
    if (this.#state === 'OPEN') this.#openUntil = openUntil
    else this.#open('cluster', openUntil)
  }

  /** The cluster has closed. */
  closeByCluster(): void {
    if (this.#forced !== undefined || this.#state === 'CLOSED') return
    this.#window.clear()
    this.#enterState('CLOSED', 'breaker.closed', 'cluster')
  }

  #enter<Result>(
    fn: (context: CallContext) => Result | PromiseLike<Result>,
    options: RunOptions<Result> | undefined,
  ): Promise<Result> {
    if (cockatiel() === undefined) return loadCockatiel().then(() => this.#enter(fn, options))
    if (options?.signal?.aborted === true) return this.#abandoned(options.signal)
    if (this.#state === 'CLOSED') return this.#pass(this.#closedEra(), fn, options)
    const now = this.#settings.now()
    const slot = this.#admit(now)
    return slot === undefined ? this.#refuse(now) : this.#try(slot, fn, options)
  }

  #pass<Result>(
    era: Era,
    fn: (context: CallContext) => Result | PromiseLike<Result>,
    options: RunOptions<Result> | undefined,
  ): Promise<Result> {
    if (options !== undefined || this.#watched) return this.#watch(era, fn, options)
    return era.policy.execute(fn as (context: CallContext) => Result)
  }

  async #watch<Result>(
    era: Era,
    fn: (context: CallContext) => Result | PromiseLike<Result>,
    options: RunOptions<Result> | undefined,
  ): Promise<Result> {
    if (options?.signal?.aborted === true) return this.#abandoned(options.signal)
    try {
      return await era.policy.execute(() => attempt(fn, options, this.#owner, era))
    } catch (error) {
      return unwrap<Result>(error)
    }
  }

  async #try<Result>(
    slot: Slot,
    fn: (context: CallContext) => Result | PromiseLike<Result>,
    options: RunOptions<Result> | undefined,
  ): Promise<Result> {
    try {
      const result = await attempt(fn, options, this.#owner, slot.era)
      await slot.settle('ok', undefined)
      return result
    } catch (error) {
      const outcome = error instanceof Outcome ? error : undefined
      const verdict = outcome === undefined ? this.classify(error) : outcome.verdict
      await slot.settle(verdict, outcome?.threw === true ? outcome.result : undefined)
      return unwrap<Result>(error)
    }
  }

  #abandoned(signal: AbortSignal): Promise<never> {
    this.#figures.neutral++
    return Promise.reject(signal.reason)
  }

  #closedEra(): Era {
    this.#era ??= new Era(cockatiel()!, this.#owner, false)
    return this.#era
  }

  #closedSlot(): Slot {
    const era = this.#closedEra()
    return {
      era,
      admittedAt: 0,
      settle: async (verdict, error) => {
        if (verdict === 'neutral') this.#figures.neutral++
        else if (!era.live) this.#figures.late++
        else await era.report(verdict === 'ok' ? undefined : new Outcome(verdict, true, error))
      },
    }
  }

  /** A slot for a trial, which starts half-open when the wait is over; `undefined` refuses the call. */
  #admit(now: number): Slot | undefined {
    if (this.#state === 'HALF_OPEN') this.#watchdog(now)
    if (this.#state === 'OPEN' && (this.#forced === 'open' || now < this.#openUntil)) return undefined
    if (this.#era?.failing === true) return undefined
    const taken = this.#trials.out(now) + (this.#era?.successes ?? 0)
    if (taken >= this.#settings.halfOpenMaxCalls) return undefined
    let probe: Probe | undefined
    if (this.#link !== undefined) {
      const answer = this.#link.probe()
      if (answer === 'none') return undefined
      if (answer !== 'alone') probe = answer
    }
    if (this.#state === 'OPEN') {
      this.#era = new Era(cockatiel()!, this.#owner, true)
      this.#move('HALF_OPEN', 'breaker.half_opened', 'open_elapsed')
    }
    this.#figures.trials++
    const slot: Slot = {
      era: this.#era!,
      admittedAt: now,
      settle: (verdict, error) => this.#settleTrial(slot, probe, verdict, error),
    }
    this.#trials.add(slot)
    return slot
  }

  async #settleTrial(slot: Slot, probe: Probe | undefined, said: Verdict | 'slow', error: unknown): Promise<void> {
    const { era } = slot
    const verdict = said === 'slow' ? 'failure' : said
    const now = this.#settings.now()
    // It may have hung without anybody looking.
    if (this.#state === 'HALF_OPEN') this.#watchdog(now)
    probe?.settle(era.live ? verdict : 'neutral')
    if (!era.live || era.failing || verdict === 'neutral') {
      if (verdict === 'neutral') this.#figures.neutral++
      else this.#figures.late++
      this.#trials.free(slot)
      return
    }
    this.#trials.noted(now)
    if (verdict === 'ok') {
      this.#figures.successes++
      era.successes++
      this.#trials.free(slot)
      await era.report(undefined)
      return
    }
    era.failing = true
    await era.report(new Outcome('failure', true, error))
    this.#trials.free(slot)
  }

  /** Ends half-open when a trial hangs, which is a failure, or when the trials that it lacks do not come. */
  #watchdog(now: number): void {
    const overdue = this.#trials.overdue(this.#era, now)
    if (overdue === undefined) return
    this.#figures.hung += overdue.hung
    this.#open(overdue.reason, overdue.since + (overdue.hung > 0 ? this.#openPeriod() : 0))
  }

  #open(reason: TransitionReason, openUntil: number): void {
    this.#openUntil = openUntil
    this.#figures.opened++
    this.#enterState('OPEN', 'breaker.opened', reason)
  }

  #openPeriod(): number {
    const { openMs, openJitterRatio, random } = this.#settings
    return openJitterRatio === 0 ? openMs : openMs * (1 + openJitterRatio * random())
  }

  /** Ends the era, so that what runs in it is late, and moves on. */
  #enterState(to: CircuitState, type: TransitionType, reason: TransitionReason, operator?: Operator): void {
    this.#era?.end()
    this.#era = undefined
    this.#move(to, type, reason, operator)
  }

  #move(to: CircuitState, type: TransitionType, reason: TransitionReason, operator?: Operator): void {
    const from = this.#state
    this.#state = to
    if (!this.#hooks.listened && this.#link === undefined) return
    const now = this.#settings.now()
    const transition: BreakerTransition = {
      type,
      name: this.name,
      from,
      to,
      reason,
      ...(operator === undefined ? {} : { actor: operator.actor }),
      ...(operator?.note === undefined ? {} : { note: operator.note }),
      ...(this.#forced === undefined ? {} : { forced: this.#forced }),
      at: new Date(this.#settings.wallNow()),
      failureCount: this.#window.failureCount(now),
      ...(to === 'OPEN' && this.#forced === undefined ? { openForMs: Math.max(0, this.#openUntil - now) } : {}),
    }
    this.#hooks.moved(transition)
    this.#link?.moved(transition)
  }

  #wall(at: number): Date {
    const wallMs = this.#settings.wallNow() + (at - this.#settings.now())
    return new Date(Math.min(furthestTimeMs, Math.max(-furthestTimeMs, wallMs)))
  }

  /** Rejects a moment later, when the caller listens: a promise that is born rejected is first reported as unhandled. */
  #refuse(now: number): Promise<never> {
    const refusal = this.#refusal(now)
    return new Promise((_, reject) => queueMicrotask(() => reject(refusal)))
  }

  #refusal(now: number): CircuitBreakerOpenError {
    this.#figures.rejected++
    const state = this.#state
    const openUntil = state === 'OPEN' && this.#forced === undefined ? this.#openUntil : undefined
    const { openMs } = this.#settings
    const remainingMs = openUntil !== undefined ? openUntil - now : this.#forced === 'open' ? openMs : 0
    const retryAfterMs = remainingMs > 0 ? remainingMs : Math.min(openMs, trialsTakenRetryMs)
    return CircuitBreakerOpenError.of(this.#owner, state, retryAfterMs, openUntil, this.#lastError)
  }

  /** What cockatiel's policy and a watched call tell the breaker. */
  #makeOwner(): EraOwner & Watch & Refuser {
    const settings = this.#settings
    const figures = this.#figures
    const window = this.#window
    return {
      name: this.name,
      settings,
      wall: (at) => this.#wall(at),
      halfOpenMaxCalls: settings.halfOpenMaxCalls,
      classify: settings.classify,
      settled: (verdict, error) => {
        if (verdict === 'neutral') {
          figures.neutral++
          return undefined
        }
        const now = settings.now()
        if (verdict === 'ok') {
          figures.successes++
          window.ok(now)
          return undefined
        }
        figures.failures++
        this.#lastFailureAt = now
        this.#lastError = error
        const reason = window.failure(now)
        if (reason === undefined || this.#forced === undefined) return reason
        figures.suppressed++
        return undefined
      },
      trialFailed: (error) => {
        const now = settings.now()
        figures.failures++
        this.#lastFailureAt = now
        this.#lastError = error
        window.count(now)
      },
      late: () => {
        figures.late++
      },
      opened: (reason) => this.#open(reason, settings.now() + this.#openPeriod()),
      closed: () => {
        window.clear()
        this.#move('CLOSED', 'breaker.closed', 'trials_succeeded')
      },
      slow: (era) => {
        if (!era.live) return false
        figures.slow++
        if (this.#state === 'HALF_OPEN') return true
        const reached = window.slow(settings.now())
        if (reached && this.#forced !== undefined) figures.suppressed++
        return reached && this.#forced === undefined
      },
      timedOut: () => {
        figures.timedOut++
      },
      outcome: (startedAtMs, durationMs, verdict) =>
        this.#hooks.tell(() => settings.onOutcome?.({ startedAtMs, durationMs, verdict })),
    }
  }
}
