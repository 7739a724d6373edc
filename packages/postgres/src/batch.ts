import type { Lock } from './database.ts'

/** The locks that units in transactions have: how many share a name, or `alone`. */
export class HeldLocks {
  readonly #held = new Map<string, number>()

  conflicts(locks: readonly Lock[]): boolean {
    for (const { name, shared } of locks) {
      const held = this.#held.get(name)
      if (held !== undefined && (held === alone || !shared)) return true
    }
    return false
  }

  take(locks: readonly Lock[]): void {
    for (const { name, shared } of locks) {
      const held = this.#held.get(name) ?? 0
      this.#held.set(name, shared && held !== alone ? held + 1 : alone)
    }
  }

  free(locks: readonly Lock[]): void {
    for (const { name } of locks) {
      const held = this.#held.get(name) ?? 0
      if (held > 1) this.#held.set(name, held - 1)
      else this.#held.delete(name)
    }
  }
}

const alone = -1

/** One entry a name; alone wins over shared. */
export function mergeLocks(locks: readonly Lock[]): readonly Lock[] {
  if (locks.length < 2) return locks
  const merged = new Map<string, Lock>()
  for (const lock of locks) if (!lock.shared || !merged.has(lock.name)) merged.set(lock.name, lock)
  return merged.size === locks.length ? locks : [...merged.values()]
}

/** Whether two writes of one unit must not be in one statement. */
export function overlap(a: readonly Lock[], b: readonly Lock[]): boolean {
  return a.some((one) => b.some((other) => one.name === other.name && !(one.shared && other.shared)))
}

/** What `chooseBatch` and `planGroups` need to know of a unit. */
export interface Batchable {
  readonly locks: readonly Lock[]
  readonly steps: readonly Step[]
  /** Units with the same shape have the same procedures at the same steps. */
  readonly shape: string
  /** Whether any of its procedures may take several statements, and so several round trips. */
  readonly slow: boolean
}

/** One write of a unit. */
export interface Step {
  readonly procedure: string
  readonly args: unknown
  /** It touches what an earlier write of the same run of procedures touches, so it needs a statement of its own. */
  readonly apart: boolean
}

/** Skipped units that are looked past in search of one that may go. */
const maxSkipped = 1_000

/**
 * Takes out of `queue`, in order, up to `max` units that conflict neither with each other, nor with what is `held`, nor with a
 * unit before them that has to wait. What is taken is held. A batch is all slow or all quick, as the first that may go: a quick
 * unit does not wait for the round trips of slow ones. `allowSlow` says whether it may be slow.
 */
export function chooseBatch<Unit extends Batchable>(
  queue: Unit[],
  held: HeldLocks,
  max: number,
  allowSlow: boolean,
): Unit[] {
  const chosen: Unit[] = []
  const skipped: Unit[] = []
  let waiting: HeldLocks | undefined
  let i = 0
  for (; i < queue.length && chosen.length < max && skipped.length < maxSkipped; i++) {
    const unit = queue[i]!
    const otherPace = chosen.length > 0 ? unit.slow !== chosen[0]!.slow : unit.slow && !allowSlow
    if (otherPace || held.conflicts(unit.locks) || waiting?.conflicts(unit.locks)) {
      waiting ??= new HeldLocks()
      waiting.take(unit.locks)
      skipped.push(unit)
    } else {
      held.take(unit.locks)
      chosen.push(unit)
    }
  }
  queue.splice(0, i, ...skipped)
  return chosen
}

/** All writes of one procedure at one place of the transaction. */
export interface Group<Unit> {
  readonly procedure: string
  readonly batch: unknown[]
  /** The unit and the step that each element of `batch` came from. */
  readonly units: Unit[]
  readonly steps: number[]
}

/**
 * Groups the writes of a batch by procedure, in an order in which every unit finds its own: a common supersequence of the
 * units' shapes, the longest laid first. A procedure comes twice where no single place would do.
 */
export function planGroups<Unit extends Batchable>(units: readonly Unit[]): Group<Unit>[] {
  const shapes = new Map<string, Unit>()
  for (const unit of units) if (!shapes.has(unit.shape)) shapes.set(unit.shape, unit)
  const longestFirst = [...shapes.values()].sort((a, b) => b.steps.length - a.steps.length)
  const groups: Group<Unit>[] = []
  for (const { steps } of longestFirst) place(steps, groups)
  const places = new Map<string, readonly number[]>()
  for (const [shape, { steps }] of shapes) places.set(shape, place(steps, groups))
  for (const unit of units) {
    const at = places.get(unit.shape)!
    for (let step = 0; step < at.length; step++) {
      const group = groups[at[step]!]!
      group.batch.push(unit.steps[step]!.args)
      group.units.push(unit)
      group.steps.push(step)
    }
  }
  return groups
}

/** Where each step goes, adding the groups that are missing. */
function place<Unit>(steps: readonly Step[], groups: Group<Unit>[]): readonly number[] {
  const at: number[] = []
  let from = 0
  for (const { procedure, apart } of steps) {
    const previous = at.at(-1)
    if (previous !== undefined && !apart && groups[previous]!.procedure === procedure) {
      at.push(previous)
      continue
    }
    let found = from
    while (found < groups.length && groups[found]!.procedure !== procedure) found++
    if (found === groups.length) {
      found = from
      groups.splice(found, 0, { procedure, batch: [], units: [], steps: [] })
    }
    at.push(found)
    from = found + 1
  }
  return at
}
