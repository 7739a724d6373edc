import { encode } from './codec.ts'
import { CheckpointError } from './errors.ts'
import type { LocalNode } from './local-node.ts'
import { problemOutcome } from './outcome.ts'
import { queuedRun } from './queued-run.ts'
import type { Recovery } from './recovery.ts'
import { messageOf } from './retry.ts'
import { finished, precluded, type RunInput, type RunRecord, type StepRecord } from './run-record.ts'
import type { Requeue } from './store.ts'
import { refusalOf, type Write } from './unit.ts'
import type { UnwindPlan } from './unwinding.ts'

/** Who did something to a run. */
export interface By {
  readonly actor: string
}

/**
 * What a person decides about a parked run: `rerun` goes on from the last kept step and runs what was under way again; a step with
 * its value counts as done; `restart` forgets every kept step; `fail` ends the run, taking its effects back.
 */
export type Decision =
  | { readonly kind: 'rerun' }
  | { readonly kind: 'restart' }
  | { readonly kind: 'done'; readonly step: string; readonly value: unknown }
  | { readonly kind: 'fail'; readonly reason: string }

/** Where a fork begins, and what is different in it. */
export interface ForkOptions extends By {
  /** The first step that runs again, as `charge#2` or `charge` for its first use; every step when absent. */
  readonly fromStep?: string
  /** Replaces the body of the request. */
  readonly body?: Uint8Array | string
  /** Replaces the version under which it runs. */
  readonly version?: string
}

/** What people do to runs from outside. */
export class Interventions {
  readonly #node: LocalNode
  readonly #recovery: Recovery

  constructor(node: LocalNode, recovery: Recovery) {
    this.#node = node
    this.#recovery = recovery
  }

  async cancel(id: string, { actor }: By): Promise<'cancelling' | 'cancelled'> {
    const run = await this.#change<RunRecord>(id, this.#node.store.cancel(id, this.#node.now()))
    this.#node.tell('checkpoint.cancel_requested', run, actor)
    this.#recovery.cancelHere(id)
    if (this.#node.live.has(id)) return 'cancelling'
    await this.#recovery.sweepNow()
    // It may be back in its handler to take its effects back.
    const { live, timers, wakeups } = this.#node
    for (const deadline = timers.monotonic() + 1_000; live.has(id) && timers.monotonic() < deadline; )
      await wakeups.next(id, 1_000)
    return (await this.#node.store.get(id))?.status === 'cancelled' ? 'cancelled' : 'cancelling'
  }

  async signal(id: string, name: string, value: unknown, by: By): Promise<void> {
    const node = this.#node
    const signalled = await this.#change<RunRecord>(id, node.store.signal(id, name, encode(value), node.now()))
    node.tell('checkpoint.signalled', signalled, by.actor)
    if (node.live.has(id)) await this.#recovery.deliverSignals(id)
    else this.#recovery.sweepAt(node.now())
  }

  /** Goes on with a failed, dead, cancelled, parked or waiting run. Steps whose effects were taken back run again. */
  async retry(id: string, { actor }: By): Promise<'queued'> {
    const run = await this.#found(id)
    const steps = await this.#node.store.steps(id)
    const undone = undoneOf(steps)
    const drop = steps.filter((step) =>
      step.state === 'unwinding'
        ? true
        : (step.state === 'kept' || step.state === 'started') && undone.has(nameOf(step)),
    )
    await this.#requeue(run, { drop, keep: [] })
    this.#node.tell('checkpoint.retried', run, actor)
    return 'queued'
  }

  async resolve(id: string, decision: Decision, { actor }: By): Promise<'queued'> {
    const run = await this.#found(id)
    if (run.status !== 'parked') throw new CheckpointError('not_resumable', `Run ${id} is ${run.status}, not parked`)
    const steps = await this.#node.store.steps(id)
    await this.#requeue(run, this.#resolution(run, steps, decision))
    this.#node.tell('checkpoint.resolved', run, actor)
    return 'queued'
  }

  /** Makes a run of its own from a run's input and the steps before `fromStep`. Resolves to its id. */
  async fork(id: string, { fromStep, body, version, actor }: ForkOptions): Promise<string> {
    const node = this.#node
    const run = await this.#found(id)
    // Effects of a run that is under way may be taken back any moment, from under the fork.
    if (run.status !== 'parked' && !finished.has(run.status))
      throw new CheckpointError('not_resumable', `Run ${id} is ${run.status}; it can be forked once it has ended`)
    const [input, steps] = await Promise.all([node.store.input(id), node.store.steps(id)])
    if (input === undefined) {
      await this.#found(id)
      throw new CheckpointError('corrupt_record', `Run ${id} has no input`)
    }
    const kept = steps.filter(({ state }) => state === 'kept')
    const at = fromStep === undefined ? 0 : kept.findIndex((step) => isNamed(step, fromStep))
    if (at < 0) throw new CheckpointError('not_found', `Run ${id} kept no step ${fromStep}`)
    if ((await node.store.get(id))?.revision !== run.revision)
      throw new CheckpointError('stale', `Run ${id} went on while it was read`)
    const undone = undoneOf(steps)
    // What was taken back is known as such, so that the handler may make it again whatever was kept after it.
    const past = [
      ...kept.slice(0, at).filter((step) => !undone.has(nameOf(step))),
      ...steps.filter((step) => step.state === 'undone' && undone.has(nameOf(step))),
    ]
    const now = node.now()
    const forked: RunRecord = {
      ...queuedRun({ ...run, version: version ?? run.version }, now),
      links: { forkedFrom: id },
    }
    const bytes = typeof body === 'string' ? new TextEncoder().encode(body) : body
    const edited: RunInput = bytes === undefined ? input : { ...input, body: bytes }
    await node.commit(node.store.accept(forked, edited, { steps: past }))
    node.tell('checkpoint.forked', forked, actor)
    this.#recovery.sweepAt(now)
    return forked.id
  }

  #resolution(run: RunRecord, steps: readonly StepRecord[], decision: Decision): Pick<Requeue, 'drop' | 'keep'> {
    const now = this.#node.now()
    switch (decision.kind) {
      case 'rerun':
        return { drop: steps.filter(({ state }) => state === 'started'), keep: [] }
      case 'restart':
        return { drop: steps.filter(({ state }) => state !== 'signal'), keep: [] }
      case 'done': {
        const named = steps.filter((step) => isNamed(step, decision.step))
        const marker = named.find(({ state }) => state === 'started')
        if (marker === undefined || named.some(({ state }) => state === 'kept'))
          throw new CheckpointError('not_found', `Run ${run.id} has no step ${decision.step} under way`)
        return { drop: [marker], keep: [{ ...marker, state: 'kept', value: encode(decision.value), keptAt: now }] }
      }
      case 'fail': {
        const outcome = problemOutcome(500, 'run_failed', 'The request was given up')
        const plan: UnwindPlan = { status: 'failed', reason: messageOf(decision.reason), outcome }
        const marker: StepRecord = {
          ...signalOf('$unwind'),
          state: 'unwinding',
          value: encode(plan),
          startedAt: now,
          keptAt: now,
        }
        return { drop: steps.filter(({ state }) => state === 'unwinding'), keep: [marker] }
      }
    }
  }

  async #requeue(run: RunRecord, { drop, keep }: Pick<Requeue, 'drop' | 'keep'>): Promise<void> {
    const { store, now } = this.#node
    const { id, revision } = run
    const names = drop.map(({ name, occurrence, state }) => ({ name, occurrence, state }))
    await this.#change(id, store.requeue({ id, revision, drop: names, keep, updatedAt: now() }))
    await this.#recovery.sweepNow()
  }

  async #found(id: string): Promise<RunRecord> {
    const run = await this.#node.store.get(id)
    if (run === undefined) throw new CheckpointError('not_found', `There is no run ${id}`)
    if (run.method === precluded) throw new CheckpointError('not_resumable', `Run ${id} was never accepted`)
    return run
  }

  async #change<Result>(id: string, write: Write): Promise<Result> {
    try {
      return await this.#node.commit<Result>(write)
    } catch (error) {
      const reason = refusalOf(error)?.reason
      if (reason === undefined) throw error
      const code =
        reason === 'not_found' || reason === 'not_resumable' || reason === 'stale' ? reason : 'already_finished'
      throw new CheckpointError(code, `Run ${id} cannot be changed: ${code.replaceAll('_', ' ')}`, { cause: error })
    }
  }
}

function signalOf(name: string): StepRecord {
  return { name, occurrence: 1, state: 'signal', value: undefined, attempt: 1, startedAt: 0, keptAt: 0 }
}

/** The steps whose effects were taken back, and not made again since. */
function undoneOf(steps: readonly StepRecord[]): ReadonlySet<string> {
  const undone = new Set<string>()
  for (const step of steps) {
    if (step.state === 'undone') undone.add(nameOf(step))
    else if (step.state === 'kept') undone.delete(nameOf(step))
  }
  return undone
}

function nameOf({ name, occurrence }: StepRecord): string {
  return `${name}#${occurrence}`
}

function isNamed(step: StepRecord, text: string): boolean {
  return nameOf(step) === text || (step.occurrence === 1 && step.name === text)
}
