import { digits } from './archive.ts'
import { type RunBundle, readBundle, unpack } from './bundle.ts'
import { encode } from './codec.ts'
import type { ColdStore } from './cold.ts'
import { finished, type RunRecord, unfinished } from './run-record.ts'
import type { Seal } from './seal.ts'
import type { CheckpointStore } from './store.ts'

/** The figures of a store's backup. */
export interface BackupFigures {
  /** Every acknowledged write before this, in milliseconds since the epoch, is backed up; `undefined` before the first pass. */
  readonly cutAt: number | undefined
  readonly segments: number
  readonly runs: number
  readonly bytes: number
  readonly failures: number
  /** Runs that finished since, as far as this process knows. */
  readonly pendingRuns: number
}

/** One object of a backup: the state of some runs. */
export interface Segment {
  /** Every write before this is in the backup as far as it goes up to this segment. */
  readonly cutAt: number | undefined
  readonly runs: readonly RunBundle[]
}

/** Writes a store's runs to the cold store, pass by pass. */
export interface Backup {
  readonly figures: BackupFigures
  /** Says that a run is being finished in this process, or changed after its end. */
  touch(id: string): void
  /** Backs up what changed since the last pass; everything, where the last full backup is older than it may be. */
  pass(): Promise<void>
}

interface Known {
  readonly state: string
  readonly over: boolean
  readonly updatedAt: number
}

export interface BackupPorts {
  readonly store: CheckpointStore
  readonly cold: ColdStore
  readonly seal: Seal
  readonly fullBackupIntervalMs: number
  readonly now: () => number
}

const folder = 'backup/'
const pageSize = 500
const segmentLength = 1_048_576
/** How far the clocks of nodes, and a commit and the time it carries, may lie apart. */
const overlapMs = 60_000

/** The name of a segment. Generations are named by when their full backup began. */
export function segmentName(generation: number, sequence: number): string {
  return `${folder}${digits(generation)}/${digits(sequence)}`
}

/** Every segment there is, oldest first. */
export async function* segmentNames(cold: ColdStore): AsyncGenerator<string> {
  for (let after = folder; ; ) {
    const names = await cold.list(folder, { after, limit: pageSize })
    for (const name of names) if (/\/\d{15}$/.test(name)) yield name
    if (names.length < pageSize) return
    after = names.at(-1)!
  }
}

export async function readSegment(cold: ColdStore, seal: Seal, name: string): Promise<Segment | undefined> {
  const object = await cold.get(name)
  return object === undefined ? undefined : (unpack(await seal.open(object, { run: '', kind: name })) as Segment)
}

/** Tells the later of two states of one run: a revision grows with the row, and steps are only added under one revision. */
export function stateOf({
  record,
  steps,
}: Pick<RunBundle, 'record' | 'steps'>): readonly [revision: number, steps: number] {
  return [record.revision, steps.length]
}

/** Lets others on now and then: a store's reads may take no turn of the event loop. */
export function breather(): () => Promise<void> {
  let breaths = 0
  return async () => {
    if (++breaths % 32 === 0) await new Promise((resolve) => setTimeout(resolve, 0))
  }
}

export function backupOf({ store, cold, seal, fullBackupIntervalMs, now }: BackupPorts): Backup {
  /** Runs that this process may have finished since they were backed up. */
  const touched = new Set<string>()
  /** What is backed up of the runs that may be met again in the next pass. */
  const known = new Map<string, Known>()
  /** What was touched when the pass under way read it. */
  const reading = new Set<string>()
  const figures = { segments: 0, runs: 0, bytes: 0, failures: 0 }
  let cutAt: number | undefined
  let generation: number | undefined
  let sequence = 0
  let scanned = false
  const breath = breather()

  /** Finds the newest generation, and after the first time only a newer one than that. */
  async function locate(): Promise<void> {
    const after = generation === undefined ? folder : segmentName(generation, sequence)
    let last: string | undefined
    for (let from = after; ; ) {
      const names = await cold.list(folder, { after: from, limit: pageSize })
      last = names.findLast((name) => /\/\d{15}$/.test(name)) ?? last
      if (names.length < pageSize) break
      from = names.at(-1)!
    }
    if (last === undefined) return
    generation = Number(last.slice(folder.length, folder.length + 15))
    sequence = Number(last.slice(-15))
    cutAt ??= (await readSegment(cold, seal, last))?.cutAt
  }

  async function putSegment(bytes: Uint8Array, runs: number): Promise<void> {
    for (;;) {
      sequence++
      const name = segmentName(generation!, sequence)
      const object = await seal.seal(bytes, { run: '', kind: name })
      if ((await cold.put(name, object)) === 'exists') {
        await locate()
        continue
      }
      figures.segments++
      figures.runs += runs
      figures.bytes += object.length
      return
    }
  }

  /** Collects runs into segments of a bearable size. Each is encoded as it comes, because a whole segment at once would hold others up. */
  function segments(at: number) {
    let states: (readonly [id: string, Known])[] = []
    let texts: string[] = []
    let length = 0
    const flush = async (cut: number | undefined) => {
      const bytes = new TextEncoder().encode(`{"cutAt":${encode(cut)},"runs":[${texts.join(',')}]}`)
      const written = states
      states = []
      texts = []
      length = 0
      await putSegment(bytes, written.length)
      for (const [id, state] of written) known.set(id, state)
    }
    return {
      async add(bundle: RunBundle): Promise<void> {
        const { id, status, updatedAt } = bundle.record
        const state = String(stateOf(bundle))
        if (known.get(id)?.state === state) return
        const text = encode(bundle)
        texts.push(text)
        states.push([id, { state, over: finished.has(status), updatedAt }])
        length += text.length
        if (length >= segmentLength) await flush(cutAt)
      },
      /** The last segment of a pass, also an empty one, says up to when there was nothing more. */
      end: () => flush(at),
    }
  }

  /** Reads a run for a pass. One that is not over stays touched: its end may be committed after it was read. */
  async function read(id: string): Promise<RunBundle | undefined> {
    await breath()
    const wasTouched = touched.delete(id)
    if (wasTouched) reading.add(id)
    const bundle = await readBundle(store, id)
    if (wasTouched && bundle !== undefined && !finished.has(bundle.record.status)) touched.add(id)
    return bundle
  }

  async function* listed(query: { readonly status?: readonly RunRecord['status'][]; readonly updatedFrom?: number }) {
    for (let before: string | undefined; ; ) {
      const page: RunRecord[] = await store.list({
        ...query,
        ...(before === undefined ? {} : { before }),
        limit: pageSize,
      })
      yield* page
      if (page.length < pageSize) return
      before = page.at(-1)!.id
    }
  }

  /** A run that nobody runs keeps no steps, so its row tells whether it changed. */
  function isKnown({ id, revision, status }: RunRecord): boolean {
    return status !== 'running' && known.get(id)?.state.startsWith(`${revision},`) === true
  }

  async function full(at: number): Promise<void> {
    generation = at
    sequence = 0
    known.clear()
    const out = segments(at)
    for await (const { id } of listed({})) {
      const bundle = await read(id)
      if (bundle !== undefined) await out.add(bundle)
    }
    await out.end()
    await cold.put(`${folder}${digits(generation)}/complete`, new Uint8Array())
    await prune(generation)
  }

  async function incremental(at: number): Promise<void> {
    const out = segments(at)
    const ids = new Set(touched)
    for await (const run of listed({ status: unfinished })) if (!isKnown(run)) ids.add(run.id)
    if (!scanned || store.shared)
      for await (const run of listed({ updatedFrom: (cutAt ?? 0) - overlapMs })) if (!isKnown(run)) ids.add(run.id)
    for (const id of ids) {
      const bundle = await read(id)
      if (bundle !== undefined) await out.add(bundle)
    }
    await out.end()
  }

  /** Leaves this generation and the last complete one before it. */
  async function prune(newest: number): Promise<void> {
    const names: string[] = []
    for (let after = folder; ; ) {
      const page = await cold.list(folder, { after, limit: pageSize })
      names.push(...page)
      if (page.length < pageSize) break
      after = page.at(-1)!
    }
    const generationOf = (name: string) => Number(name.slice(folder.length, folder.length + 15))
    const complete = names.filter((name) => name.endsWith('/complete') && generationOf(name) < newest)
    const oldest = complete.length === 0 ? 0 : generationOf(complete.at(-1)!)
    // The mark goes first, so that half a generation never counts as a complete one.
    const over = names
      .filter((name) => generationOf(name) < oldest)
      .sort((a, b) => Number(b.endsWith('/complete')) - Number(a.endsWith('/complete')))
    for (const name of over) await cold.remove(name)
  }

  return {
    get figures() {
      return { ...figures, cutAt, pendingRuns: touched.size }
    },
    touch: (id) => void touched.add(id),
    async pass() {
      const at = now()
      try {
        await locate()
        if (generation === undefined || at - generation >= fullBackupIntervalMs) await full(at)
        else await incremental(at)
      } catch (error) {
        figures.failures++
        for (const id of reading) touched.add(id)
        throw error
      } finally {
        reading.clear()
      }
      cutAt = at
      scanned = true
      for (const [id, { over, updatedAt }] of known) if (over && updatedAt < at - 2 * overlapMs) known.delete(id)
    },
  }
}
