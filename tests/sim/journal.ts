import type { RunRecord, StepRecord } from '@gw/checkpoint'
import type { Model } from './model.ts'
import { type Instruction, stepsOf } from './program.ts'

/** An answer as a client or the network sees it. */
export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly body: string
}

/** Problems that say nothing about the outcome of a run. */
const passing: ReadonlySet<unknown> = new Set([
  'idempotency_request_in_flight',
  'lease_lost',
  'run_interrupted',
  'outcome_unknown',
  'already_finished',
  'not_finished',
])

/** What the faults of a store come to in errors. */
const expected: ReadonlySet<unknown> = new Set(['unavailable', 'unknown', 'refused', 'storage_unknown', 'lease_lost'])

/** The run's own answer, if the reply is one. */
export function finalRunOf({ status, headers, body }: Reply): string | undefined {
  const run = headers.get('gw-run')
  if (run === null || status === 202) return undefined
  return passing.has(codeOf({ body })) ? undefined : run
}

export function codeOf({ body }: Pick<Reply, 'body'>): unknown {
  return body.startsWith('{') ? (JSON.parse(body) as { code?: unknown }).code : undefined
}

/** What nodes do outside of their database, and what must be true of it when it happens. */
export class Journal {
  /** How often each effect happened, by run and step. */
  readonly effects = new Map<string, number>()
  readonly #acknowledged = new Map<string, number>()
  readonly #stepKeys = new Map<string, string>()
  readonly #answers = new Map<string, string>()
  readonly #plain = new Map<string, string>()
  readonly #plainFences = new Set<string>()
  readonly #failures = new Map<string, number>()
  readonly #nothingRan = new Set<string>()
  readonly #programs = new Map<string, readonly Instruction[]>()
  readonly #thrown = new Map<string, number>()
  /** How often people let a run repeat what must not happen twice. */
  readonly #repeats = new Map<string, number>()
  readonly #givenUp = new Set<string>()
  readonly #model: Model
  readonly #stepsAreDurable: boolean
  readonly #broken: (rule: string, what: string) => void
  entries = 0

  /** `stepsAreDurable`: a step is kept before the next begins, as it is unless a route's frequency says otherwise. */
  constructor(model: Model, broken: (rule: string, what: string) => void, stepsAreDurable: boolean) {
    this.#model = model
    this.#broken = broken
    this.#stepsAreDurable = stepsAreDurable
  }

  /** An effect of a step happens in the world. */
  effect(run: string, step: string, fence: number, key: string): void {
    const name = `${run} ${step}`
    const count = (this.effects.get(name) ?? 0) + 1
    this.effects.set(name, count)
    const kept = this.#acknowledged.get(name)
    // An owner that lost its lease may be at it without knowing: only one that came after the step was kept must know.
    if (kept !== undefined && kept <= fence)
      this.#broken('S1 a kept step never runs again', `${name} ran under fence ${fence} and was kept under ${kept}`)
    const before = this.#stepKeys.get(name)
    if (before !== undefined && before !== key) this.#broken('S4 one key a step', `${name} has two idempotency keys`)
    this.#stepKeys.set(name, key)
  }

  /** A handler heard that a step is kept. */
  acknowledged(run: string, step: string, fence: number): void {
    if (!this.#stepsAreDurable) return
    const name = `${run} ${step}`
    if (!this.#acknowledged.has(name)) this.#acknowledged.set(name, fence)
    const known = this.#model.runs.get(run)
    const [, action, occurrence] = /^(.*)#(\d+)$/.exec(step)!
    const there = known?.steps.some((kept) => kept.name === action && String(kept.occurrence) === occurrence)
    if (there !== true) this.#broken('S1 a step is durable first', `${name} was acknowledged and is not kept`)
  }

  /** A handler begins to carry out its request. */
  entered(run: string, program: readonly Instruction[]): void {
    this.#programs.set(run, program)
  }

  programOf(run: string): readonly Instruction[] | undefined {
    return this.#programs.get(run)
  }

  /** A handler throws an error that may be tried again. */
  threw(run: string): void {
    this.#thrown.set(run, (this.#thrown.get(run) ?? 0) + 1)
  }

  /** A person asks that a run goes on, whatever it did before; what was kept may be forgotten. */
  mayRepeat(run: string): void {
    this.#repeats.set(run, (this.#repeats.get(run) ?? 0) + 1)
  }

  /** A person asks that a run ends. */
  mayFail(run: string): void {
    this.#givenUp.add(run)
  }

  /** A run was put back into the queue, without some of what it kept. */
  reopened(run: string, dropped: readonly { readonly name: string; readonly occurrence: number }[]): void {
    for (const { name, occurrence } of dropped) this.#acknowledged.delete(`${run} ${name}#${occurrence}`)
  }

  /** How often a flaky handler has failed before, for this run. */
  failuresOf(run: string): number {
    const count = this.#failures.get(run) ?? 0
    this.#failures.set(run, count + 1)
    return count
  }

  /** A handler without a run was entered under a key's claim. */
  plainEntered(key: string, fence: number): void {
    const name = `${key} ${fence}`
    if (this.#plainFences.has(name)) this.#broken('dedup L4 fence', `${key} was entered twice under fence ${fence}`)
    this.#plainFences.add(name)
  }

  /** A node gives an answer away. */
  sent(reply: Reply, requestId: string, key: string | undefined): void {
    const run = reply.headers.get('gw-run')
    const code = codeOf(reply)
    if (code === 'storage_unavailable') this.#nothingRan.add(requestId)
    if (run === null) {
      const status = reply.headers.get('idempotency-status')
      if (key !== undefined && (status === 'stored' || status === 'replayed')) this.#plainAnswer(key, reply)
      return
    }
    const known = this.#model.runs.get(run)
    if (code === 'outcome_unknown') return
    if (known === undefined) {
      this.#broken('P1 accepted is durable', `${reply.status} for ${run}, which is not in the database`)
      return
    }
    if (finalRunOf(reply) === undefined) return
    if (known.outcome === undefined || known.outcome.status !== reply.status || known.outcome.body !== reply.body)
      this.#broken(
        'P1 answers are durable first',
        `${reply.status} ${reply.body} for ${run}, kept ${JSON.stringify(known.outcome)}`,
      )
    if (key !== undefined) this.#answer(key, run, reply)
  }

  #answer(key: string, run: string, reply: Reply): void {
    const answer = `${reply.status} ${run} ${reply.headers.get('content-type')} ${reply.body}`
    const before = this.#answers.get(key) ?? answer
    this.#answers.set(key, answer)
    if (before !== answer) this.#broken('P2 one result a key', `${key} was answered ${before} and ${answer}`)
  }

  #plainAnswer(key: string, reply: Reply): void {
    const answer = `${reply.status} ${reply.headers.get('content-type')} ${reply.headers.get('x-entry')} ${reply.body}`
    const before = this.#plain.get(key) ?? answer
    this.#plain.set(key, answer)
    if (before !== answer) this.#broken('P2 one result a key', `${key} was answered ${before} and ${answer}`)
  }

  /** A request was not answered at all. */
  crashed(error: unknown): void {
    this.#broken('a request is answered', error instanceof Error ? (error.stack ?? error.message) : String(error))
  }

  /** A node reports an error that nobody else hears: what a store says is expected, anything else is a bug. */
  reported(error: unknown): void {
    const code = (error as { code?: unknown }).code
    if (!expected.has(code))
      this.#broken('no unexpected error', error instanceof Error ? (error.stack ?? error.message) : String(error))
  }

  /** A run that ended otherwise than well has taken back each effect that can be, and one that ended well none. */
  #undone({ id, status }: RunRecord, steps: readonly StepRecord[]): void {
    for (const { name, occurrence, state } of steps) {
      if (state !== 'kept' || !name.startsWith('undo-')) continue
      const undone = this.effects.has(`${id} undo ${name}#${occurrence}`)
      if (undone !== (status === 'failed' || status === 'cancelled') && status !== 'dead')
        this.#broken('S3 compensation', `${id} is ${status}, ${name}#${occurrence} was ${undone ? '' : 'not '}undone`)
    }
  }

  /** What a run came to fits what its handler was told to do. */
  #came({ id, status, attempt }: RunRecord, outcome: { readonly body: string } | undefined): void {
    const program = this.#programs.get(id)
    if (attempt > 1 + (this.#thrown.get(id) ?? 0))
      this.#broken(
        'O3 attempts',
        `${id} is at attempt ${attempt}, and its handler failed ${this.#thrown.get(id)} times`,
      )
    if (program === undefined || this.#givenUp.has(id)) return
    const fails = program.some((instruction) => instruction.do === 'fail')
    if (fails ? status === 'completed' : status === 'failed')
      this.#broken('O3 the handler decides', `${id} is ${status}: ${JSON.stringify(program)}`)
    for (const step of stepsOf(program)) {
      const count = this.effects.get(`${id} ${step}`) ?? 0
      if (step?.startsWith('once-') && count > 1 + (this.#repeats.get(id) ?? 0))
        this.#broken('S3 not rerun blindly', `${step} of ${id} happened ${count} times`)
    }
    if (status !== 'completed' || outcome === undefined) return
    const { values } = JSON.parse(outcome.body) as { values: readonly ({ readonly step?: string } | null)[] }
    const steps = stepsOf(program)
    if (values.length !== steps.length || steps.some((step, i) => step !== undefined && values[i]?.step !== step))
      this.#broken('S1 a step has its own value', `${id} expected ${steps}, got ${outcome.body}`)
  }

  /** What can only be said when everything is over. */
  end(rows: ReadonlyMap<string, number>): void {
    for (const requestId of this.#nothingRan) {
      const run = this.#model.runOfRequest(requestId)
      if (run !== undefined) this.#broken('P4 unknown is said', `${requestId} was told that nothing ran; ${run} did`)
    }
    for (const { record, steps, outcome, reopened } of this.#model.runs.values()) {
      if (reopened === 0 || record.status !== 'completed') this.#undone(record, steps)
      this.#came(record, outcome)
    }
    for (const [row, count] of rows)
      if (count < 1 || count > 1 + (this.#repeats.get(row.split(' ')[0]!) ?? 0))
        this.#broken('S5 exactly once', `the row ${row} was written ${count} times`)
  }
}
