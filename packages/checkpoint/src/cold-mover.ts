import type { Archive } from './archive.ts'
import { breather } from './backup.ts'
import { coldInput, isCold, readBundle } from './bundle.ts'
import { finished, type RunRecord } from './run-record.ts'
import type { CheckpointStore } from './store.ts'
import { refusalOf } from './unit.ts'

/** Moves the payloads of completed runs from a store to an archive. */
export interface ColdMover {
  /** Runs found due and not moved yet. */
  readonly backlog: number
  readonly moved: number
  readonly conflicts: number
  /** Says that a run is being finished in this process. */
  touch(id: string): void
  /** Finds what is due, without the archive, so that a backlog shows while that is away. */
  find(): Promise<void>
  /** Moves what was found, and finds the rest; resolves to how many runs were moved. What fails stays in the backlog. */
  move(): Promise<number>
}

export interface ColdMoverPorts {
  readonly store: CheckpointStore
  readonly archive: Archive
  readonly coldAfterMs: number
  readonly now: () => number
}

const pageSize = 100
const maxBacklog = 10_000
const movesAtOnce = 8

/**
 * Run ids sort by creation, and no run is over before it began: so each pass looks at the runs created since the last one, up to the
 * creation time at which they may be due, and at the few older ones that were not over then.
 */
export function coldMover({ store, archive, coldAfterMs, now }: ColdMoverPorts): ColdMover {
  const due = new Set<string>()
  const early = new Set<string>()
  const breath = breather()
  let moved = 0
  let conflicts = 0
  /** Runs created before this were looked at. */
  let sweptTo = 0
  let sweep: { readonly to: number; before: string } | undefined

  async function sort(run: RunRecord | undefined, id: string): Promise<void> {
    await breath()
    early.delete(id)
    if (run === undefined || (finished.has(run.status) && run.status !== 'completed')) return
    if (run.status !== 'completed' || !run.settled || run.updatedAt > now() - coldAfterMs) early.add(id)
    else {
      const input = await store.input(id)
      if (input !== undefined && !isCold(input)) due.add(id)
    }
  }

  async function find(): Promise<void> {
    for (const id of [...early]) await sort(await store.get(id), id)
    const to = now() - coldAfterMs + 1
    sweep ??= { to, before: firstIdAt(to) }
    while (due.size < maxBacklog) {
      const page = await store.list({ before: sweep.before, limit: pageSize })
      const fresh = page.filter(({ createdAt }) => createdAt >= sweptTo)
      for (const run of fresh) await sort(run, run.id)
      if (fresh.length < pageSize) {
        sweptTo = Math.max(sweptTo, sweep.to)
        sweep = undefined
        return
      }
      sweep.before = page.at(-1)!.id
    }
  }

  async function moveOne(id: string): Promise<boolean> {
    const bundle = await readBundle(store, id)
    if (bundle === undefined || bundle.record.status !== 'completed') return false
    const { record } = bundle
    if ((await archive.put(bundle)) === 'conflict') {
      conflicts++
      return false
    }
    const unit = store.unit()
    unit.add(store.remove([record]))
    unit.add(store.accept(record, coldInput))
    try {
      await unit.commit()
    } catch (error) {
      // It was changed, moved or removed meanwhile. The object is what was moved, or goes at its time.
      if (refusalOf(error) === undefined) throw error
      return false
    }
    return true
  }

  async function moveDue(): Promise<number> {
    let count = 0
    const queue = [...due]
    const failures: unknown[] = []
    const work = async () => {
      for (let id = queue.pop(); id !== undefined && failures.length === 0; id = queue.pop()) {
        try {
          if (await moveOne(id)) count++
          due.delete(id)
        } catch (error) {
          failures.push(error)
        }
      }
    }
    await Promise.all(Array.from({ length: movesAtOnce }, work))
    moved += count
    if (failures.length > 0) throw failures[0]
    return count
  }

  return {
    get backlog() {
      return due.size
    },
    get moved() {
      return moved
    },
    get conflicts() {
      return conflicts
    },
    touch(id) {
      if (createdAtOf(id) < sweptTo) early.add(id)
    },
    find,
    async move() {
      let count = await moveDue()
      while (sweep !== undefined) {
        await find()
        count += await moveDue()
      }
      return count
    },
  }
}

/** What sorts before every run id of `ms` and after, and after all earlier ones. */
function firstIdAt(ms: number): string {
  const hex = Math.max(0, Math.trunc(ms)).toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}`
}

function createdAtOf(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
}
