import { CheckpointError } from '../errors.ts'
import { checkOptions, having, type OptionRule } from '../option-rules.ts'
import type { RunRecord, StepRecord } from '../run-record.ts'
import { createSeal, type SealOptions, sealRules } from '../seal.ts'
import { erasedOutcome, isErased, onlyOfSubjects, sealedPayloads } from '../sealed-payload.ts'
import type { CheckpointStore, Claimed } from '../store.ts'
import type { Durability, Unit, Write } from '../unit.ts'

export type { Keyring } from '../keyring.ts'
export type { SealKeys, SealOptions } from '../seal.ts'

/** What is sealed, and how. */
export interface SealedCheckpointStoreOptions extends SealOptions {
  readonly store: CheckpointStore
  /** Reads payloads that were stored before sealing began, as they are. Refused with `not_sealed` unless `true`. */
  readonly allowUnsealed?: boolean
  /** Seals the payloads of runs with a subject only, and leaves and reads all others as they are: `false`. Needs a keyring. */
  readonly subjectsOnly?: boolean
}

/** A write whose payloads are sealed when its unit commits, and whose result is opened after it. */
interface PendingWrite {
  readonly write: () => Promise<Write>
  readonly result?: (result: unknown) => Promise<unknown>
}

interface Added {
  readonly write: Write
  readonly onCommitted: ((result: unknown) => void) | undefined
}

/**
 * Seals what a store keeps of a run: request, step results, `update` data and response. The row's own columns (operation, principal,
 * request id, stage, links, the names of steps and of data fields) stay readable, because runs are looked up by them.
 *
 * The payloads of a run with a `subject` are sealed by the keyring, if one is given. After the subject's erasure they are gone: the
 * row says `payload_erased` in its `reason`, the response is a 410, and a run that was not over ends without having its answer kept.
 *
 * Its writes go only into units that it made.
 */
export function sealedCheckpointStore(options: SealedCheckpointStoreOptions): CheckpointStore {
  checkOptions(options, rules)
  const { store, allowUnsealed = false, subjectsOnly = false, ...sealing } = options
  if (subjectsOnly && sealing.keyring === undefined)
    throw new CheckpointError('invalid_option', 'Expected `keyring` where `subjectsOnly` is given')
  const sealed = sealedPayloads(createSeal(sealing), allowUnsealed || subjectsOnly)
  const payloads = subjectsOnly ? onlyOfSubjects(sealed) : sealed
  const pending = new WeakMap<Write, PendingWrite>()
  const subjects = subjectsOf(store, sealing.keyring !== undefined)

  function later(write: () => Promise<Write>, result?: PendingWrite['result']): Write {
    const placeholder: Write = { procedure: 'sealed', args: undefined }
    pending.set(placeholder, result === undefined ? { write } : { write, result })
    return placeholder
  }

  /** Whether it is known without a look that nothing of the run is sealed. */
  const nobodys = (id: string) => subjectsOnly && subjects.areNobodys(id)

  /** A write that carries no payload, whose result does. */
  function opening(write: Write, result: (result: unknown) => Promise<unknown>): Write {
    return later(async () => write, result)
  }

  const openRun = async (run: RunRecord): Promise<RunRecord> => {
    if (run.data === undefined) return run
    try {
      return { ...run, data: await payloads.openData(run.id, run.data) }
    } catch (error) {
      if (!isErased(error)) throw error
      return { ...run, data: undefined, reason: 'payload_erased' }
    }
  }
  const openRuns = (runs: readonly RunRecord[]): Promise<RunRecord[]> => Promise.all(runs.map(openRun))
  /** What was committed is so, also where the data of a run cannot be read: whoever needs that reads the run, and hears why not. */
  const openResult = (run: unknown): Promise<RunRecord> =>
    openRun(run as RunRecord).catch(() => ({ ...(run as RunRecord), data: undefined }))
  const sealSteps = async (
    run: string,
    steps: readonly StepRecord[],
    subject: string | undefined,
  ): Promise<StepRecord[]> => Promise.all(steps.map((step) => payloads.sealStep(run, step, subject)))

  const around: CheckpointStore = {
    ...store,
    unit: () => sealedUnit(store.unit(), pending),

    accept(run, input, past = {}) {
      const { id } = run
      const subject = subjects.learn(run)
      if (nobodys(id)) return store.accept(run, input, past)
      return later(async () => {
        const data = await payloads.sealData(id, run.data, subject)
        const { steps, outcome } = past
        return store.accept({ ...run, data }, await payloads.sealInput(id, input, subject), {
          ...(steps === undefined ? {} : { steps: await sealSteps(id, steps, subject) }),
          ...(outcome === undefined ? {} : { outcome: await payloads.sealOutcome(id, outcome, subject) }),
        })
      })
    },
    keep(held, steps, statements) {
      if (nobodys(held.id)) return store.keep(held, steps, statements)
      return later(async () =>
        store.keep(held, await sealSteps(held.id, steps, await subjects.of(held.id)), statements),
      )
    },
    patch: (held, patch) => {
      if ((patch.data === undefined && patch.merge === undefined) || nobodys(held.id)) return store.patch(held, patch)
      return later(async () => store.patch(held, await payloads.sealPatch(held.id, patch, await subjects.of(held.id))))
    },
    finish(held, ending) {
      if (nobodys(held.id)) return store.finish(held, ending)
      return later(async () => {
        const subject = await subjects.of(held.id)
        const outcome = await payloads.sealOutcome(held.id, ending.outcome, subject).catch((error: unknown) => {
          // A run outlives its subject's key only to end; its answer is not kept.
          if (!isErased(error)) throw error
          return payloads.sealOutcome(held.id, erasedOutcome, undefined)
        })
        return store.finish(held, { ...ending, outcome })
      })
    },
    claim: (claim) =>
      opening(store.claim(claim), async (result) => {
        const { runs, nextWakeAt } = result as Claimed
        for (const run of runs) subjects.learn(run)
        return { runs: await Promise.all(runs.map(openResult)), nextWakeAt } satisfies Claimed
      }),
    cancel: (id, updatedAt) => opening(store.cancel(id, updatedAt), openResult),
    signal: (id, name, value, updatedAt) =>
      later(async () => {
        const envelope = await payloads.sealSignal(id, name, value, await subjects.of(id))
        return store.signal(id, name, envelope, updatedAt)
      }, openResult),
    requeue: (requeue) =>
      later(async () => {
        const { id, keep } = requeue
        return store.requeue({ ...requeue, keep: await sealSteps(id, keep, await subjects.of(id)) })
      }),

    async get(id) {
      const run = await store.get(id)
      return run === undefined ? undefined : openRun(run)
    },
    async input(id) {
      const input = await store.input(id)
      return input === undefined ? undefined : payloads.openInput(id, input)
    },
    async steps(id) {
      const steps = await store.steps(id)
      // Bytes that nobody sealed may look like anything.
      if (subjectsOnly && (await subjects.of(id)) === undefined) return steps
      return Promise.all(steps.map((step) => payloads.openStep(id, step)))
    },
    async outcome(id) {
      const outcome = await store.outcome(id)
      return outcome === undefined ? undefined : payloads.openOutcome(id, outcome)
    },
    list: async (query) => openRuns(await store.list(query)),
    unsettled: async (limit) => openRuns(await store.unsettled(limit)),
  }
  if (store.transact === undefined) return around
  return {
    ...around,
    transact: (held, work) =>
      store.transact!(held, async (transaction) =>
        payloads.sealStep(held.id, await work(transaction), await subjects.of(held.id)),
      ),
  }
}

const rules: Readonly<Record<string, OptionRule>> = {
  ...sealRules,
  store: { ...having('a checkpoint store', 'accept', 'keep', 'finish'), required: true },
  allowUnsealed: { expected: '`true` or `false`', accepts: (value) => typeof value === 'boolean' },
  subjectsOnly: { expected: '`true` or `false`', accepts: (value) => typeof value === 'boolean' },
}

/** Seals what is pending when it commits, in the order in which writes were added. */
function sealedUnit(unit: Unit, pending: WeakMap<Write, PendingWrite>): Unit {
  const added: Added[] = []
  return {
    add: (write, onCommitted) => void added.push({ write, onCommitted }),
    async commit(): Promise<Durability> {
      if (added.every(({ write }) => !pending.has(write))) {
        for (const { write, onCommitted } of added) unit.add(write, onCommitted)
        return unit.commit()
      }
      const results: (() => Promise<void>)[] = []
      const writes = await Promise.all(added.map(({ write }) => pending.get(write)?.write() ?? write))
      for (const [i, { write, onCommitted }] of added.entries()) {
        const open = pending.get(write)?.result
        if (open === undefined || onCommitted === undefined) unit.add(writes[i]!, onCommitted)
        else unit.add(writes[i]!, (result) => results.push(async () => onCommitted(await open(result))))
      }
      const durability = await unit.commit()
      for (const result of results) await result()
      return durability
    },
  }
}

/** Remembers whose data a run is, because most writes name only the run. */
function subjectsOf(store: CheckpointStore, used: boolean) {
  const known = new Map<string, string | undefined>()
  const learn = ({ id, subject }: RunRecord): string | undefined => {
    if (!used) return undefined
    if (known.size >= 10_000) known.delete(known.keys().next().value!)
    known.set(id, subject)
    return subject
  }
  return {
    learn,
    areNobodys: (id: string) => known.has(id) && known.get(id) === undefined,
    async of(id: string): Promise<string | undefined> {
      if (!used || known.has(id)) return known.get(id)
      const run = await store.get(id)
      return run === undefined ? undefined : learn(run)
    },
  }
}
