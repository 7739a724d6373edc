/**
 * What a breaker has to do, said as plainly as possible: no cockatiel, no buckets, no promises. The machine is compared with
 * it after every command of a schedule.
 */
export interface Configuration {
  readonly failureThreshold: number
  readonly rollingWindowMs: number
  readonly openMs: number
  readonly halfOpenMaxCalls: number
  readonly maxHalfOpenMs: number
  readonly consecutive: boolean
  readonly failureRatio: number | undefined
  readonly minimumCalls: number
}

export type Verdict = 'ok' | 'failure' | 'neutral'

/** A call that is being made. */
export interface ModelCall {
  readonly generation: number
  readonly trial: boolean
  readonly startedAt: number
}

export class Reference {
  nowMs = 1_000
  state: 'CLOSED' | 'OPEN' | 'HALF_OPEN' = 'CLOSED'
  forced: 'open' | 'closed' | 'disabled' | undefined
  openUntil = 0
  lastFailureAt: number | undefined
  successes = 0
  failures = 0
  neutral = 0
  rejected = 0
  late = 0
  opened = 0
  hung = 0
  suppressed = 0
  #generation = 0
  /** Every call since the window was last empty. */
  #calls: { readonly at: number; readonly failed: boolean }[] = []
  #trials: ModelCall[] = []
  #goodTrials = 0
  #triedAt = 0
  readonly #configuration: Configuration

  constructor(configuration: Configuration) {
    this.#configuration = configuration
  }

  get failureCount(): number {
    const { consecutive, rollingWindowMs } = this.#configuration
    if (consecutive) {
      const lastGood = this.#calls.findLastIndex(({ failed }) => !failed)
      return this.#calls.length - 1 - lastGood
    }
    return this.#calls.filter(({ at, failed }) => failed && this.nowMs - at < rollingWindowMs).length
  }

  /** Of the calls of this tenth of a window and the ten before. */
  get failureRate(): number {
    const tenth = (at: number): number => Math.floor(at / (this.#configuration.rollingWindowMs / 10))
    const recent = this.#calls.filter(({ at }) => tenth(this.nowMs) - tenth(at) <= 10)
    return recent.length === 0 ? 0 : recent.filter(({ failed }) => failed).length / recent.length
  }

  get ready(): boolean {
    return this.state === 'OPEN' && this.forced === undefined && this.nowMs >= this.openUntil
  }

  /** Trials that are out and not given up. */
  get trialsOut(): number {
    return this.#trials.filter(({ startedAt }) => this.nowMs - startedAt < this.#configuration.maxHalfOpenMs).length
  }

  /** What time alone does. */
  look(): void {
    const { maxHalfOpenMs, openMs } = this.#configuration
    if (this.state !== 'HALF_OPEN') return
    const own = this.#trials.filter(({ generation }) => generation === this.#generation)
    if (own.length > 0) {
      const hung = own.filter(({ startedAt }) => this.nowMs - startedAt >= maxHalfOpenMs)
      if (hung.length === 0) return
      this.hung += hung.length
      this.#open(Math.min(...hung.map(({ startedAt }) => startedAt)) + maxHalfOpenMs + openMs)
    } else if (this.nowMs - this.#triedAt >= maxHalfOpenMs) this.#open(this.#triedAt + maxHalfOpenMs)
  }

  /** `undefined`: refused. */
  start(): ModelCall | undefined {
    this.look()
    if (this.state === 'CLOSED') return { generation: this.#generation, trial: false, startedAt: this.nowMs }
    const waits = this.state === 'OPEN' && !this.ready
    const good = this.state === 'HALF_OPEN' ? this.#goodTrials : 0
    if (waits || this.trialsOut + good >= this.#configuration.halfOpenMaxCalls) {
      this.rejected++
      return undefined
    }
    if (this.state === 'OPEN') {
      this.#move('HALF_OPEN')
      this.#goodTrials = 0
    }
    const call: ModelCall = { generation: this.#generation, trial: true, startedAt: this.nowMs }
    this.#trials.push(call)
    this.#triedAt = this.nowMs
    return call
  }

  settle(call: ModelCall, verdict: Verdict): void {
    this.look()
    this.#trials = this.#trials.filter((trial) => trial !== call)
    if (verdict === 'neutral') this.neutral++
    else if (call.generation !== this.#generation) this.late++
    else if (call.trial) this.#settleTrial(verdict)
    else {
      this.#count(verdict)
      if (verdict === 'failure' && this.#hasReason()) {
        if (this.forced === undefined) this.#open(this.nowMs + this.#configuration.openMs)
        else this.suppressed++
      }
    }
  }

  reset(): void {
    this.forced = undefined
    this.#calls = []
    this.#move('CLOSED')
  }

  force(mode: 'open' | 'closed' | 'disabled'): void {
    this.forced = mode
    if (mode === 'closed') this.#calls = []
    this.#move(mode === 'open' ? 'OPEN' : 'CLOSED')
  }

  trip(): void {
    this.look()
    if (this.forced === undefined && this.state !== 'OPEN') this.#open(this.nowMs + this.#configuration.openMs)
  }

  #settleTrial(verdict: Verdict): void {
    this.#triedAt = this.nowMs
    if (verdict === 'failure') {
      this.#count('failure')
      this.#open(this.nowMs + this.#configuration.openMs)
      return
    }
    this.successes++
    this.#goodTrials++
    if (this.#goodTrials < this.#configuration.halfOpenMaxCalls) return
    this.#calls = []
    this.state = 'CLOSED'
  }

  #count(verdict: Verdict): void {
    this.#calls.push({ at: this.nowMs, failed: verdict === 'failure' })
    if (verdict === 'ok') this.successes++
    else {
      this.failures++
      this.lastFailureAt = this.nowMs
    }
  }

  #hasReason(): boolean {
    const { failureThreshold, failureRatio, minimumCalls, rollingWindowMs } = this.#configuration
    if (this.failureCount >= failureThreshold) return true
    if (failureRatio === undefined) return false
    const tenth = (at: number): number => Math.floor(at / (rollingWindowMs / 10))
    const calls = this.#calls.filter(({ at }) => tenth(this.nowMs) - tenth(at) <= 10).length
    return calls >= minimumCalls && this.failureRate >= failureRatio
  }

  #open(until: number): void {
    this.openUntil = until
    this.opened++
    this.#move('OPEN')
  }

  #move(state: 'CLOSED' | 'OPEN' | 'HALF_OPEN'): void {
    this.state = state
    this.#generation++
  }
}
