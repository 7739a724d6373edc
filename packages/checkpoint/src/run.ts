import { decode, encode } from './codec.ts'
import { CheckpointError } from './errors.ts'
import { DivergenceError, keyOf, Replay } from './replay.ts'
import type { RunRecord, StepRecord } from './run-record.ts'
import { sha256Hex } from './sha256.ts'
import type { CheckpointStore, Held, RunPatch, Statement } from './store.ts'
import { refusalOf } from './unit.ts'

/** What a step's function gets. */
export interface StepContext {
  /** How often this step was tried in this life of the run, from 1. */
  readonly attempt: number
  /** Aborts on cancel, on a lost lease and after `timeoutMs`. */
  readonly signal: AbortSignal
  readonly fence: number
  /** The same at every repeat of this step, also after a crash: for a provider to know a retry by. 64 hex characters. */
  readonly idempotencyKey: string
}

/** How a failed step is tried again within the handler. */
export interface StepRetry {
  /** 3 */
  readonly maxAttempts?: number
  /** 100 ms */
  readonly initialMs?: number
  /** 2 */
  readonly factor?: number
  /** 30 s */
  readonly maxMs?: number
  /** The part of each wait that is random: 0.2. */
  readonly jitterRatio?: number
  /** Which errors are tried again: all, unless given. */
  readonly retryable?: (error: unknown) => boolean
}

/** What {@link StepOptions.onCrash} answers when asked whether an effect happened. */
export type Verification<Value> = { readonly done: true; readonly value: Value } | { readonly done: false }

/** How one step runs. */
export interface StepOptions<Value> {
  readonly retry?: StepRetry
  /** After this the step's signal aborts and the step fails with `step_timeout`. */
  readonly timeoutMs?: number
  /** Takes the effect back when the run fails or is cancelled; last kept, first compensated. */
  readonly compensate?: (value: Value) => unknown
  /**
   * For work that must not run twice: its start is made durable first. A step that was under way at a crash is `rerun`
   * (the default, without a marker), the run is `park`ed for a person, or a function is asked whether the effect happened.
   */
  readonly onCrash?: 'rerun' | 'park' | (() => Verification<Value> | Promise<Verification<Value>>)
}

/** What a run needs of its manager. */
export interface RunPorts {
  readonly store: CheckpointStore
  readonly settleMs: number
  readonly now: () => number
  readonly random: () => number
  readonly failpoint: ((name: 'step.before' | 'step.after', run: Run) => void) | undefined
}

/** Statements, or a function that is called only when the step is not kept yet. */
export type Statements =
  | readonly Statement[]
  | ((context: StepContext) => readonly Statement[] | Promise<readonly Statement[]>)

interface Compensation {
  readonly key: string
  readonly undo: () => unknown
}

/** One durable request, as its handler sees it in `c.var.run`. */
export class Run {
  readonly id: string
  readonly requestId: string | undefined
  readonly operation: string
  readonly principal: string | undefined
  readonly fence: number
  /** How often the handler has been entered: retries and recoveries both count, from 1. */
  readonly attempt: number
  readonly #ports: RunPorts
  readonly #held: Held
  readonly #seed: string
  readonly #replay: Replay
  readonly #compensations: Compensation[] = []
  #controller: AbortController | undefined
  #stop: Error | undefined
  #data: unknown

  constructor(record: RunRecord, steps: readonly StepRecord[], ports: RunPorts) {
    this.id = record.id
    this.requestId = record.requestId
    this.operation = record.operation
    this.principal = record.principal
    this.fence = record.fence
    this.attempt = record.attempt + record.recoveries
    this.#ports = ports
    this.#held = { id: record.id, fence: record.fence }
    this.#seed = record.idempotencySeed ?? record.id
    this.#replay = new Replay(steps, ports.settleMs)
    this.#data = record.data === undefined ? undefined : decode(record.data)
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
    if (this.#stop !== undefined) return
    this.#stop = reason
    this.#controller?.abort(reason)
  }

  /** The first kept step that the handler never asked for. */
  get unrequested(): string | undefined {
    return this.#replay.unrequested
  }

  /**
   * Runs `work` once and keeps its result, or gives back what was kept. The result is durable before this resolves.
   * Steps are told apart by name and by how often the name was used before, so that `Promise.all` replays right.
   */
  async step<Value>(
    name: string,
    work: (context: StepContext) => Value | Promise<Value>,
    options: StepOptions<Value> = {},
  ): Promise<Value> {
    const { key, occurrence, kept, marker } = await this.#enter(name)
    let value: Value
    if (kept !== undefined) value = decode(kept.value!) as Value
    else {
      const startedAt = this.#ports.now()
      const verified = marker === undefined ? undefined : await this.#afterCrash(key, options)
      if (verified?.done) value = verified.value
      else {
        const { onCrash = 'rerun' } = options
        if (onCrash !== 'rerun')
          await this.#keep({
            name,
            occurrence,
            state: 'started',
            value: undefined,
            attempt: 1,
            startedAt,
            keptAt: startedAt,
          })
        value = await this.#attempt(key, work, options)
      }
      await this.#keep({
        name,
        occurrence,
        state: 'kept',
        value: encode(value),
        attempt: 1,
        startedAt,
        keptAt: this.#ports.now(),
      })
    }
    const { compensate } = options
    if (compensate !== undefined) this.#compensations.push({ key, undo: () => compensate(value) })
    return value
  }

  /**
   * Runs the user's SQL and keeps the step in **one** transaction: exactly once. Resolves to the rows that each statement
   * changed. Tables that begin with `gw_` are the gateway's own and refused.
   */
  async transaction(name: string, statements: Statements): Promise<number[]> {
    if (!this.#ports.store.transactional) {
      throw new CheckpointError(
        'not_transactional',
        `Expected a transactional store for \`transaction(${name})\`; this one keeps runs only`,
      )
    }
    const { key, occurrence, kept } = await this.#enter(name)
    if (kept !== undefined) return decode(kept.value!) as number[]
    const startedAt = this.#ports.now()
    const list = typeof statements === 'function' ? await this.#attempt(key, statements, {}) : statements
    for (const [sql] of list) {
      if (/\bgw_/i.test(sql))
        throw new CheckpointError(
          'internal_table',
          `\`${key}\` names a table that begins with gw_, which is the gateway's own`,
        )
    }
    return (await this.#keep(
      { name, occurrence, state: 'kept', value: '[]', attempt: 1, startedAt, keptAt: this.#ports.now() },
      list,
    )) as number[]
  }

  /** Records where the run is, for people. `progress` is 0 to 1. Other fields are merged into the run's data. */
  async update(patch: {
    readonly stage?: string
    readonly progress?: number
    readonly [field: string]: unknown
  }): Promise<void> {
    this.#check()
    const unit = this.#ports.store.unit()
    const { stored, data } = patchOf(patch, this.#data, this.#ports.now())
    this.#data = data
    unit.add(this.#ports.store.patch(this.#held, stored))
    await this.#commit(unit)
  }

  /** A step that sends a request with an `Idempotency-Key` of its own, and keeps status, headers and text of the answer. */
  async fetch(name: string, url: string | URL, init: RequestInit = {}): Promise<Response> {
    const { status, headers, body } = await this.step(name, async ({ idempotencyKey, signal }) => {
      const sent = new Headers(init.headers)
      if (!sent.has('idempotency-key')) sent.set('idempotency-key', idempotencyKey)
      const response = await fetch(url, { ...init, headers: sent, signal })
      return {
        status: response.status,
        headers: [...response.headers],
        body: new Uint8Array(await response.arrayBuffer()),
      }
    })
    return new Response(body.length === 0 ? null : body, { status, headers })
  }

  /** Undoes what was kept, last first, each as a step of its own. */
  async compensate(): Promise<void> {
    this.#stop = undefined
    for (const { key, undo } of this.#compensations.reverse()) {
      await this.step(`compensate ${key}`, async () => {
        await undo()
      })
    }
  }

  /** Resolves what replay knows of the next use of `name`. */
  async #enter(name: string): Promise<{ key: string; occurrence: number; kept?: StepRecord; marker?: StepRecord }> {
    this.#check()
    const occurrence = this.#replay.occurrence(name)
    const found = this.#replay.find(name, occurrence)
    const key = keyOf(name, occurrence)
    if (found === undefined) return { key, occurrence }
    try {
      const replayed = await found
      if ('kept' in replayed) return { key, occurrence, kept: replayed.kept }
      return replayed.marker === undefined ? { key, occurrence } : { key, occurrence, marker: replayed.marker }
    } catch (error) {
      if (error instanceof DivergenceError) this.stop(error)
      throw error
    }
  }

  #check(): void {
    if (this.#stop !== undefined) throw this.#stop
  }

  async #afterCrash<Value>(key: string, { onCrash = 'rerun' }: StepOptions<Value>): Promise<Verification<Value>> {
    if (onCrash === 'rerun') return { done: false }
    if (onCrash !== 'park') return onCrash()
    const parked = new CheckpointError(
      'run_parked',
      `${key} was under way when its process died; decide whether it happened`,
    )
    this.stop(parked)
    throw parked
  }

  async #attempt<Value>(
    key: string,
    work: (context: StepContext) => Value | Promise<Value>,
    { retry, timeoutMs }: Pick<StepOptions<Value>, 'retry' | 'timeoutMs'>,
  ): Promise<Value> {
    const maxAttempts = retry === undefined ? 1 : (retry.maxAttempts ?? 3)
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#once(key, attempt, work, timeoutMs)
      } catch (error) {
        this.#check()
        if (attempt >= maxAttempts || retry?.retryable?.(error) === false) throw error
        const { initialMs = 100, factor = 2, maxMs = 30_000, jitterRatio = 0.2 } = retry!
        const waitMs =
          Math.min(maxMs, initialMs * factor ** (attempt - 1)) * (1 + jitterRatio * (this.#ports.random() - 0.5))
        await new Promise((resolve) => setTimeout(resolve, waitMs))
        this.#check()
      }
    }
  }

  #once<Value>(
    key: string,
    attempt: number,
    work: (context: StepContext) => Value | Promise<Value>,
    timeoutMs: number | undefined,
  ): Value | Promise<Value> {
    const run = this
    const timeout = timeoutMs === undefined ? undefined : new AbortController()
    const context: StepContext = {
      attempt,
      fence: this.fence,
      get signal() {
        return timeout === undefined ? run.signal : AbortSignal.any([run.signal, timeout.signal])
      },
      get idempotencyKey() {
        return sha256Hex(`${run.#seed}\n${key}`)
      },
    }
    if (timeout === undefined) return work(context)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const error = new CheckpointError('step_timeout', `${key} took longer than ${timeoutMs} ms`)
        timeout.abort(error)
        reject(error)
      }, timeoutMs)
      Promise.resolve()
        .then(() => work(context))
        .then(resolve, reject)
        .finally(() => clearTimeout(timer))
    })
  }

  async #keep(step: StepRecord, statements?: readonly Statement[]): Promise<unknown> {
    this.#check()
    this.#ports.failpoint?.('step.before', this)
    const unit = this.#ports.store.unit()
    let result: unknown
    unit.add(this.#ports.store.keep(this.#held, step, statements), (changed) => {
      result = changed
    })
    await this.#commit(unit)
    this.#ports.failpoint?.('step.after', this)
    return result
  }

  async #commit(unit: ReturnType<CheckpointStore['unit']>): Promise<void> {
    try {
      await unit.commit()
    } catch (error) {
      if (refusalOf(error) === undefined) throw error
      const lost = new CheckpointError(
        'lease_lost',
        `Run ${this.id} goes on elsewhere; this process may not write to it`,
        { cause: error },
      )
      this.stop(lost)
      throw lost
    }
  }
}

/** Splits what `update` was given into the columns and the data it is merged into. */
export function patchOf(
  {
    stage,
    progress,
    ...fields
  }: { readonly stage?: string; readonly progress?: number; readonly [field: string]: unknown },
  before: unknown,
  updatedAt: number,
): { readonly stored: RunPatch; readonly data: unknown } {
  if (progress !== undefined && !(progress >= 0 && progress <= 1)) {
    throw new CheckpointError(
      'invalid_progress',
      `Expected \`progress\` to be a number from 0 to 1, got \`${progress}\``,
    )
  }
  const merged = Object.keys(fields).length > 0
  const data = merged ? { ...(before as object | undefined), ...fields } : before
  return {
    data,
    stored: {
      updatedAt,
      ...(stage === undefined ? {} : { stage }),
      ...(progress === undefined ? {} : { progress }),
      ...(merged ? { data: encode(data) } : {}),
    },
  }
}
