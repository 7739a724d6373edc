import { archiveOf } from '../archive.ts'
import { type BackupFigures, backupOf } from '../backup.ts'
import { isCold, type RunBundle } from '../bundle.ts'
import type { ColdStore } from '../cold.ts'
import { coldMover } from '../cold-mover.ts'
import { CheckpointError } from '../errors.ts'
import { aboveZero, aFunction, checkOptions, having, type OptionRule, zeroOrMore } from '../option-rules.ts'
import { type CacheFigures, payloadCache } from '../payload-cache.ts'
import { periodic } from '../periodic.ts'
import { finished, type RunRecord } from '../run-record.ts'
import { createSeal, type SealOptions, sealRulesWithoutKeyring } from '../seal.ts'
import type { CheckpointStore } from '../store.ts'

export { type Restored, type RestoreOptions, restore } from '../restore.ts'

/** The tiers and what moves between them. The seal options say how whole objects are sealed in the cold store. */
export interface TieredCheckpointStoreOptions extends Omit<SealOptions, 'keyring'> {
  /** The one tier that acknowledges. */
  readonly primary: CheckpointStore
  /** What the payloads of finished runs may take in memory: 64 MiB. 0 keeps none. */
  readonly cacheBytes?: number
  readonly cold?: ColdStore
  /** Moves a completed run's payloads to `cold` this long after its end; never, unless given. */
  readonly coldAfterMs?: number
  /** Backs up to `cold` this often; never, unless given. What is acknowledged between the last backup and a total loss is lost. */
  readonly backupIntervalMs?: number
  /** Backs everything up anew this often, and drops what is older than the full backup before: 24 h. */
  readonly fullBackupIntervalMs?: number
  /** Hears of a pass that failed; it comes again by itself. */
  readonly onError?: (error: unknown) => void
  readonly now?: () => number
  readonly random?: () => number
}

/** The figures of the tiers. */
export interface TierFigures {
  readonly memory: CacheFigures
  readonly cold: {
    /** `unknown` until the first use, `refused` where the server does not answer for its part. */
    readonly state: 'off' | 'unknown' | 'ready' | 'refused'
    /** Completed runs that were found due and are not moved yet; it is counted up to 10,000. */
    readonly backlog: number
    readonly moved: number
    readonly failures: number
    /** Runs that stay in the primary because the cold store has another run of that id and revision. */
    readonly conflicts: number
    readonly lastError: string | undefined
  }
  readonly backup: BackupFigures | undefined
}

/** A store whose finished runs are cached in memory and move on to a cold store, and which is backed up there. */
export interface TieredCheckpointStore extends CheckpointStore {
  readonly primary: CheckpointStore
  tiers(): TierFigures
  /** Moves what is due now. Comes by itself after `open`. */
  moveCold(): Promise<void>
  /** Backs up what changed. Comes by itself after `open`. */
  backup(): Promise<void>
  /** Ends what comes by itself, after a last backup unless told not to. The primary is its maker's to close. */
  close(options?: { readonly backup?: boolean }): Promise<void>
}

/**
 * Puts a memory cache before `primary` and a cold store behind it.
 *
 * 1. The primary alone acknowledges: writes go to it and no further.
 * 2. A run's row never leaves the primary before its time, so lists, counts and fences stay those of the primary. The payloads of a
 *    completed, settled run move: put, read back, and only then dropped, in one unit that names the row's revision.
 * 3. Payloads are read from memory, from the primary, from the cold store, in that order, and what a finished run has is then in memory.
 * 4. A cold object goes when its run may be collected.
 */
export function tieredCheckpointStore(options: TieredCheckpointStoreOptions): TieredCheckpointStore {
  checkOptions(options, rules)
  const {
    primary,
    cold,
    coldAfterMs,
    backupIntervalMs,
    cacheBytes = 67_108_864,
    fullBackupIntervalMs = 86_400_000,
  } = options
  const { namespace = 'gw', compressAboveBytes = 1_024, compression, keys } = options
  const { now = () => Date.now(), random = () => Math.random(), onError = () => {} } = options
  if (cold === undefined && (coldAfterMs !== undefined || backupIntervalMs !== undefined))
    throw new CheckpointError('invalid_option', 'Expected `cold` where `coldAfterMs` or `backupIntervalMs` is given')

  const seal = createSeal({
    namespace,
    compressAboveBytes,
    ...(compression === undefined ? {} : { compression }),
    ...(keys === undefined ? {} : { keys }),
  })
  const cache = payloadCache(cacheBytes)
  const archive = cold === undefined ? undefined : archiveOf(cold, seal, namespace)
  const backup =
    cold === undefined || backupIntervalMs === undefined
      ? undefined
      : backupOf({ store: primary, cold, seal, fullBackupIntervalMs, now })
  const mover =
    archive === undefined || coldAfterMs === undefined
      ? undefined
      : coldMover({ store: primary, archive, coldAfterMs, now })
  let state: TierFigures['cold']['state'] = cold === undefined ? 'off' : 'unknown'
  let failures = 0
  let lastError: string | undefined
  const removed = new Map<string, RunRecord>()

  const report = (error: unknown) => {
    try {
      onError(error)
    } catch {
      // An observer's failure changes nothing.
    }
  }

  /** Nothing is put before the server has shown that it honours the condition. */
  async function usable(): Promise<void> {
    if (state === 'ready') return
    try {
      await cold!.probe()
      state = 'ready'
    } catch (error) {
      const passing = error instanceof CheckpointError && /^cold_un/.test(error.code)
      state = passing ? 'unknown' : 'refused'
      throw error
    }
  }

  /** Objects of runs that were removed by name; others go at their time. */
  async function dropRemoved(): Promise<void> {
    for (const [id, record] of removed) {
      if ((await primary.get(id)) === undefined) await archive!.remove(record)
      removed.delete(id)
    }
  }

  async function moveDue(): Promise<void> {
    try {
      await mover!.find()
      await usable()
      await mover!.move()
      await dropRemoved()
      await archive!.expire(now() - graceMs)
      lastError = undefined
    } catch (error) {
      failures++
      lastError = error instanceof Error ? error.message : String(error)
      throw error
    }
  }

  async function backUp(): Promise<void> {
    await usable()
    await backup!.pass()
  }

  /** The payloads of a run that is cold; `undefined` for any other. */
  async function fromCold(record: RunRecord): Promise<RunBundle | undefined> {
    const bundle = await archive?.get(record)
    if (bundle === undefined) return undefined
    const { input, steps, outcome } = bundle
    cache.put(record.id, { input, steps, ...(outcome === undefined ? {} : { outcome }) })
    return bundle
  }

  /** Whether what is kept of the run cannot change any more, so that it may be in memory. */
  const isFinal = (record: RunRecord | undefined): record is RunRecord => record?.status === 'completed'

  function missing(id: string): CheckpointError {
    return new CheckpointError(
      'cold_unavailable',
      `The payloads of run ${id} are in the cold store, where they are not found`,
    )
  }

  const moves =
    mover === undefined
      ? undefined
      : periodic({
          everyMs: Math.min(60_000, Math.max(1_000, coldAfterMs! / 4)),
          work: moveDue,
          onError: report,
          random,
        })
  const backups =
    backupIntervalMs === undefined
      ? undefined
      : periodic({ everyMs: backupIntervalMs, work: backUp, onError: report, random })
  const periods = [moves, backups].filter((each) => each !== undefined)

  return {
    ...primary,
    primary,
    async open() {
      await primary.open()
      for (const period of periods) period.start()
    },

    accept(run, input, past) {
      if (finished.has(run.status)) backup?.touch(run.id)
      return primary.accept(run, input, past)
    },
    finish(held, ending) {
      backup?.touch(held.id)
      mover?.touch(held.id)
      return primary.finish(held, ending)
    },
    settle(id) {
      backup?.touch(id)
      return primary.settle(id)
    },
    collect(time, limit) {
      cache.clear()
      return primary.collect(time, limit)
    },
    remove(runs) {
      for (const { id } of runs) {
        cache.drop(id)
        if (archive === undefined) continue
        const noted = primary.get(id).then((run) => void (run !== undefined && removed.set(id, run)))
        noted.catch(report)
      }
      return primary.remove(runs)
    },

    async input(id) {
      const cached = cache.get(id, 'input')
      if (cached !== undefined) return cached
      const input = await primary.input(id)
      if (input === undefined || !isCold(input)) return input
      const record = await primary.get(id)
      if (record === undefined) return undefined
      const bundle = await fromCold(record)
      if (bundle === undefined) throw missing(id)
      return bundle.input
    },
    async steps(id) {
      const cached = cache.get(id, 'steps')
      if (cached !== undefined) return [...cached]
      const steps = await primary.steps(id)
      if (steps.length > 0) return steps
      const record = await primary.get(id)
      if (archive === undefined || !isFinal(record)) return steps
      const input = await primary.input(id)
      if (input === undefined || !isCold(input)) return steps
      const bundle = await fromCold(record)
      if (bundle === undefined) throw missing(id)
      return [...bundle.steps]
    },
    async outcome(id) {
      const cached = cache.get(id, 'outcome')
      if (cached !== undefined) return cached
      const outcome = await primary.outcome(id)
      if (outcome !== undefined && cacheBytes === 0) return outcome
      const record = await primary.get(id)
      if (!isFinal(record)) return outcome
      if (outcome !== undefined) {
        cache.put(id, { outcome })
        return outcome
      }
      const input = await primary.input(id)
      // It may have finished, or been moved, between the reads above.
      if (input === undefined || !isCold(input)) return primary.outcome(id)
      const bundle = await fromCold(record)
      if (bundle === undefined) throw missing(id)
      return bundle.outcome
    },

    tiers: () => ({
      memory: cache.figures,
      cold: {
        state,
        backlog: mover?.backlog ?? 0,
        moved: mover?.moved ?? 0,
        conflicts: mover?.conflicts ?? 0,
        failures,
        lastError,
      },
      backup: backup?.figures,
    }),
    moveCold: async () => moves?.now(),
    backup: async () => backups?.now(),
    async close({ backup: last = true } = {}) {
      await Promise.all(periods.map((period) => period.stop()))
      if (last && backup !== undefined) await backUp().catch(report)
    },
  }
}

/** How long a cold object outlives its run, whose row is collected by other clocks. */
const graceMs = 3_600_000

const rules: Readonly<Record<string, OptionRule>> = {
  ...sealRulesWithoutKeyring,
  primary: { ...having('a checkpoint store', 'accept', 'keep', 'finish'), required: true },
  cacheBytes: zeroOrMore,
  cold: having('a cold store', 'put', 'get', 'list', 'remove', 'probe'),
  coldAfterMs: zeroOrMore,
  backupIntervalMs: aboveZero,
  fullBackupIntervalMs: aboveZero,
  onError: aFunction,
  now: aFunction,
  random: aFunction,
}
