import { archiveOf } from './archive.ts'
import { readSegment, segmentNames, stateOf } from './backup.ts'
import { coldInput, type RunBundle } from './bundle.ts'
import type { ColdStore } from './cold.ts'
import { checkOptions, having, type OptionRule } from './option-rules.ts'
import { finished, type RunRecord } from './run-record.ts'
import { createSeal, type SealOptions, sealRulesWithoutKeyring } from './seal.ts'
import type { CheckpointStore } from './store.ts'
import { refusalOf } from './unit.ts'

/** Where to restore from and to. The seal options are those that the tiered store had. */
export interface RestoreOptions extends Omit<SealOptions, 'keyring'> {
  readonly cold: ColdStore
  /**
   * The store that was backed up, now empty or half restored and not open yet: never a sealed one around it. A tiered store on the same cold store gets
   * the rows of runs that lie there, any other store gets their payloads too.
   */
  readonly into: CheckpointStore
  readonly now?: () => number
}

/** What a restore brought back. */
export interface Restored {
  readonly runs: number
  /** Runs that `into` had already; they were left as they are. */
  readonly present: number
  /** Unfinished runs among those brought back; they are queued, waiting or parked. */
  readonly unfinished: number
  readonly segments: number
  /** Everything that was acknowledged before this is back, in milliseconds since the epoch; `undefined` without a backup. */
  readonly cutAt: number | undefined
}

/** What a fence grows by, so that an owner on the lost machine that is still alive stays behind every owner to come. */
const fenceGap = 1_000_000

/**
 * Brings back every run of a cold store: those that were moved there and those of its backups, payloads to the byte. Runs whose time is
 * over are left out. An unfinished run is queued where it was running. Safe to repeat after a failure: what is there already stays.
 */
export async function restore(options: RestoreOptions): Promise<Restored> {
  checkOptions(options, rules)
  const { cold, into, now = () => Date.now(), ...sealing } = options
  const seal = createSeal(sealing)
  const archive = archiveOf(cold, seal, sealing.namespace ?? 'gw')
  const staysCold = 'primary' in into
  // What comes by itself after a tiered store is opened must not meet a store that is half restored.
  const store = staysCold ? (into.primary as CheckpointStore) : into
  await store.open()
  let [runs, present, unfinished, segments] = [0, 0, 0, 0]
  let cutAt: number | undefined

  async function install(bundle: RunBundle, asCold: boolean): Promise<void> {
    const { record, input, steps, outcome } = bundle
    const unit = store.unit()
    if (asCold) unit.add(store.accept(record, coldInput))
    else unit.add(store.accept(asRestored(record), input, { steps, ...(outcome === undefined ? {} : { outcome }) }))
    try {
      await unit.commit()
    } catch (error) {
      if (refusalOf(error)?.reason !== 'exists') throw error
      present++
      return
    }
    runs++
    if (!finished.has(record.status)) unfinished++
  }

  for await (const page of archive.pages(now())) for (const bundle of page) await install(bundle, staysCold)

  const newest = new Map<string, readonly [name: string, revision: number, steps: number]>()
  for await (const name of segmentNames(cold)) {
    const segment = await readSegment(cold, seal, name)
    if (segment === undefined) continue
    segments++
    if (segment.cutAt !== undefined) cutAt = Math.max(cutAt ?? 0, segment.cutAt)
    for (const bundle of segment.runs) {
      const [revision, steps] = stateOf(bundle)
      const best = newest.get(bundle.record.id)
      if (best === undefined || revision > best[1] || (revision === best[1] && steps >= best[2]))
        newest.set(bundle.record.id, [name, revision, steps])
    }
  }
  for (const name of new Set([...newest.values()].map(([name]) => name))) {
    const segment = await readSegment(cold, seal, name)
    for (const bundle of segment?.runs ?? []) {
      const { id, expiresAt } = bundle.record
      const isNewest = newest.get(id)?.[0] === name && String(newest.get(id)) === String([name, ...stateOf(bundle)])
      if (isNewest && (expiresAt === undefined || expiresAt > now())) await install(bundle, false)
    }
  }
  return { runs, present, unfinished, segments, cutAt }
}

function asRestored(record: RunRecord): RunRecord {
  if (finished.has(record.status)) return record
  const { status, fence, revision } = record
  return {
    ...record,
    status: status === 'running' ? 'queued' : status,
    owner: undefined,
    fence: fence + fenceGap,
    revision: revision + 1,
  }
}

const rules: Readonly<Record<string, OptionRule>> = {
  ...sealRulesWithoutKeyring,
  cold: { ...having('a cold store', 'put', 'get', 'list', 'remove'), required: true },
  into: { ...having('a checkpoint store', 'open', 'unit', 'accept'), required: true },
  now: { expected: 'a function', accepts: (value) => typeof value === 'function' },
}
