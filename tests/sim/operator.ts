import type { CheckpointManager, Decision } from '@gw/checkpoint'
import type { Appetite } from './appetite.ts'
import type { Chance } from './chance.ts'
import type { Faults } from './faults.ts'
import type { Journal } from './journal.ts'
import type { Loop } from './loop.ts'
import type { KnownRun, Model } from './model.ts'
import type { SimNode } from './node.ts'
import type { Instruction } from './program.ts'

/** What those who look after runs have at hand. */
export interface OperatorOptions {
  readonly loop: Loop
  readonly faults: Faults
  readonly nodes: readonly SimNode[]
  readonly model: Model
  readonly journal: Journal
  readonly appetite: Appetite
  readonly count: (what: string) => void
}

const usual = { look: 10, resolve: 6, retry: 4, fork: 3, cancel: 4 } as const
const resumable: ReadonlySet<string> = new Set(['waiting', 'failed', 'cancelled', 'dead'])
const unfinished: ReadonlySet<string> = new Set(['queued', 'running', 'waiting', 'parked'])
const by = { actor: 'operator' }
/** What a run, or a store with faults, may answer to a person. */
const expected: ReadonlySet<unknown> = new Set([
  'not_found',
  'not_resumable',
  'already_finished',
  'stale',
  'unavailable',
  'unknown',
  'refused',
])

/** It has something that it must take back, or is about to be parked. */
function isGoneOver({ record, steps }: KnownRun): boolean {
  const telling = ({ name }: { readonly name: string }) => name.startsWith('once-') || name.startsWith('undo-')
  return record.status === 'running' && record.fence > 1 && steps.some(telling)
}

/** A person who decides about runs that cannot go on by themselves, tries others again, and forks them. */
export class Operator {
  readonly #options: OperatorOptions
  readonly #chance: Chance

  constructor(chance: Chance, options: OperatorOptions) {
    this.#chance = chance
    this.#options = options
  }

  /** Does things to runs until the quiet end, and then only what parked runs need. */
  async live(): Promise<void> {
    const { loop, faults, appetite } = this.#options
    for (;;) {
      await loop.sleep(this.#chance.between(100, 2_500))
      const action = faults.quiet ? 'resolve' : appetite.pick(this.#chance, usual)
      if (action === 'resolve') this.#resolve()
      else if (action === 'retry') this.#retry()
      else if (action === 'fork') this.#fork()
      else if (action === 'cancel') this.#cancel()
    }
  }

  /** Runs were taken: one that is gone over again may be cancelled just then. */
  sawClaim(): void {
    if (this.#options.faults.quiet) return
    const run = this.#some(isGoneOver)
    if (run !== undefined && this.#chance.odds(0.2))
      this.#ask(
        'cancel_by_operator',
        (checkpoints) => checkpoints.cancel(run.record.id, by),
        this.#chance.pick([5, 300]),
      )
  }

  #resolve(): void {
    const run = this.#some(({ record }) => record.status === 'parked')
    if (run === undefined) return
    const { id } = run.record
    const decision = this.#decisionOn(run)
    const { journal } = this.#options
    if (decision.kind === 'fail') journal.mayFail(id)
    else if (decision.kind !== 'done') journal.mayRepeat(id)
    this.#ask(`resolve_${decision.kind}`, (checkpoints) => checkpoints.resolve(id, decision, by))
  }

  #decisionOn({ steps }: KnownRun): Decision {
    const under = steps.find(({ state, name }) => state === 'started' && name.startsWith('once-'))
    const kind = this.#chance.pick(['rerun', 'restart', 'done', 'done', 'fail'] as const)
    if (kind === 'fail') return { kind, reason: 'a person gave it up' }
    if (kind !== 'done') return { kind }
    if (under === undefined) return { kind: 'rerun' }
    // Which may be one that has its value, by mistake.
    const step = `${under.name}#${under.occurrence}`
    return { kind, step, value: { step, told: true } }
  }

  #retry(): void {
    // The answer of a key is for ever: what has one is forked and not tried again under it.
    const run = this.#some(({ record }) => record.links['key'] === undefined && resumable.has(record.status))
    if (run === undefined) return
    this.#options.journal.mayRepeat(run.record.id)
    this.#ask('retry', (checkpoints) => checkpoints.retry(run.record.id, by))
  }

  #fork(): void {
    const failed = ({ record }: KnownRun) => record.status === 'failed' || record.status === 'cancelled'
    const run = (this.#chance.odds(0.5) && this.#some(failed)) || this.#some(({ steps }) => steps.length > 0)
    if (run === undefined) return
    const kept = run.steps.filter(({ state }) => state === 'kept')
    const from = kept.length === 0 || this.#chance.odds(0.3) ? undefined : this.#chance.pick(kept)
    const program = this.#options.journal.programOf(run.record.id)
    const mended = program?.map((each): Instruction => (each.do === 'fail' ? { do: 'pause', ms: 1 } : each))
    this.#ask('fork', (checkpoints) =>
      checkpoints.fork(run.record.id, {
        ...by,
        ...(from === undefined ? {} : { fromStep: `${from.name}#${from.occurrence}` }),
        ...(mended === undefined || this.#chance.odds(0.5) ? {} : { body: JSON.stringify({ program: mended }) }),
      }),
    )
  }

  #cancel(): void {
    const run = this.#some(({ record }) => unfinished.has(record.status))
    if (run !== undefined) this.#ask('cancel_by_operator', (checkpoints) => checkpoints.cancel(run.record.id, by))
  }

  #some(of: (run: KnownRun) => boolean): KnownRun | undefined {
    const all = [...this.#options.model.runs.values()].filter((run) => !run.collected && of(run))
    return all.length === 0 ? undefined : this.#chance.pick(all)
  }

  /** Asks a node, and now and then a second one for the same, a little later. */
  #ask(what: string, work: (checkpoints: CheckpointManager) => Promise<unknown>, withinMs = 200): void {
    const { loop, nodes, journal, count } = this.#options
    for (let times = this.#chance.odds(0.2) ? 2 : 1; times > 0; times--) {
      const { life } = this.#chance.pick(nodes)
      if (life === undefined) continue
      loop.after(this.#chance.between(0, withinMs), life.host, `operator ${what}`, () => {
        work(life.checkpoints).then(
          () => count(what),
          (error: unknown) => {
            if (!expected.has((error as { code?: unknown }).code)) journal.reported(error)
          },
        )
      })
    }
  }
}
