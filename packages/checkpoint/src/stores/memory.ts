import {
  finished,
  type Outcome,
  type RunInput,
  type RunRecord,
  type RunStatus,
  type StepRecord,
} from '../run-record.ts'
import type { CheckpointStore, Claim, Claimed, Kept, Past, RunQuery, StoreNews } from '../store.ts'
import {
  cancelled,
  claimable,
  claimed,
  collectable,
  ended,
  patched,
  refusalFor,
  removable,
  requeued,
  settledRun,
  signalled,
  suspended,
  type Transition,
} from '../transitions.ts'
import type { Durability, Unit, Write } from '../unit.ts'

/** How a memory store behaves. */
export interface MemoryCheckpointStoreOptions {
  /** Whether several managers in this process use it at once, with leases between them: `false`. */
  readonly shared?: boolean
  /** The store's clock, for leases; the wall clock unless given. */
  readonly now?: () => number
}

interface Payload {
  readonly input: RunInput
  readonly steps: StepRecord[]
  readonly outcome: Outcome | undefined
}

class Refused extends Error {
  override readonly name = 'Refused'
  readonly code = 'refused'
  readonly reason: string

  constructor(reason: string) {
    super(`The unit was refused: ${reason}`)
    this.reason = reason
  }
}

/** Rows in memory, with what takes a unit's changes back. */
class Tables {
  readonly runs = new Map<string, RunRecord>()
  readonly payloads = new Map<string, Payload>()
  readonly nodes = new Map<string, number>()
  readonly counts: Record<RunStatus, number> = noRuns()
  readonly active = new Set<string>()
  readonly unsettled = new Set<string>()
  /** Ascending. */
  readonly ids: string[] = []
  #undo: (() => void)[] = []

  atomically<Result>(work: () => Result): Result {
    this.#undo = []
    try {
      return work()
    } catch (error) {
      for (const undo of this.#undo.reverse()) undo()
      throw error
    }
  }

  set<Value>(map: Map<string, Value>, key: string, value: Value | undefined): void {
    const before = map.get(key)
    this.#undo.push(() => (before === undefined ? map.delete(key) : map.set(key, before)))
    if (value === undefined) map.delete(key)
    else map.set(key, value)
  }

  append(id: string, steps: readonly StepRecord[]): void {
    const all = this.payload(id).steps
    const { length } = all
    this.#undo.push(() => {
      all.length = length
    })
    all.push(...steps)
  }

  put(run: RunRecord): RunRecord {
    this.#replace(run.id, run)
    return run
  }

  delete(id: string): void {
    this.#replace(id, undefined)
    this.set(this.payloads, id, undefined)
  }

  payload(id: string): Payload {
    return this.payloads.get(id)!
  }

  at(id: string): number {
    let low = 0
    for (let high = this.ids.length; low < high; ) {
      const middle = (low + high) >> 1
      if (this.ids[middle]! < id) low = middle + 1
      else high = middle
    }
    return low
  }

  #replace(id: string, run: RunRecord | undefined): void {
    const before = this.runs.get(id)
    this.#undo.push(() => this.#index(id, before))
    this.#index(id, run)
  }

  #index(id: string, run: RunRecord | undefined): void {
    const before = this.runs.get(id)
    if (before !== undefined) this.counts[before.status]--
    if (run === undefined) {
      this.runs.delete(id)
      this.ids.splice(this.at(id), 1)
    } else {
      this.counts[run.status]++
      if (before === undefined) this.ids.splice(this.at(id), 0, id)
      this.runs.set(id, run)
    }
    toggle(this.active, id, run !== undefined && !finished.has(run.status))
    toggle(this.unsettled, id, run !== undefined && finished.has(run.status) && !run.settled)
  }
}

/** Keeps runs in this process's memory: for tests, and for what may be lost with the process. */
export function memoryCheckpointStore(options: MemoryCheckpointStoreOptions = {}): CheckpointStore {
  const { shared = false, now = () => Date.now() } = options
  const tables = new Tables()
  const { runs, payloads, nodes } = tables
  const listeners = new Set<(news: StoreNews) => void>()

  const tell = (news: StoreNews) => {
    for (const listener of listeners) listener(news)
  }
  const changed = (transition: Transition): RunRecord => {
    if (typeof transition === 'string') throw new Refused(transition)
    return tables.put(transition)
  }
  const write = (apply: () => unknown): Write => ({ procedure: 'memory', args: apply })

  return {
    durable: false,
    shared,
    transactional: false,
    database: tables,
    async open() {},
    unit: () => memoryUnit(tables, tell),

    accept: (run, input, { steps = [], outcome }: Past = {}) =>
      write(() => {
        if (runs.has(run.id)) throw new Refused('exists')
        tables.put(run)
        tables.set(payloads, run.id, { input, steps: [...steps], outcome })
        return run.status === 'queued' ? told({ kind: 'queued' }) : undefined
      }),
    keep: (held, steps, statements = []) =>
      write((): Kept => {
        if (statements.length > 0) throw new Refused('not_transactional')
        const run = runs.get(held.id)
        const refusal = refusalFor(run, held)
        if (refusal !== undefined) throw new Refused(refusal)
        tables.append(held.id, steps)
        return { changed: [], cancelRequested: run!.cancelRequested }
      }),
    patch: (held, patch) => write(() => void changed(patched(runs.get(held.id), held, patch))),
    suspend: (held, suspension) =>
      write(() => {
        const { status } = changed(suspended(runs.get(held.id), held, suspension))
        return status === 'queued' ? told({ kind: 'queued' }, status) : status
      }),
    finish: (held, ending) =>
      write(() => {
        changed(ended(runs.get(held.id), held, ending))
        tables.set(payloads, held.id, { ...tables.payload(held.id), outcome: ending.outcome })
        return told({ kind: 'finished', id: held.id })
      }),
    beat: (owner, leaseMs) =>
      write(() => {
        const lapsed = (nodes.get(owner) ?? Number.NEGATIVE_INFINITY) <= now()
        tables.set(nodes, owner, now() + leaseMs)
        const cancelRequested: string[] = []
        for (const id of tables.active) {
          const run = runs.get(id)!
          if (run.status === 'running' && run.owner === owner && run.cancelRequested) cancelRequested.push(id)
        }
        return { lapsed, cancelRequested }
      }),
    leave: (owner) => write(() => tables.set(nodes, owner, undefined)),
    claim: (claim) => write(() => take(tables, claim, now())),
    cancel: (id, updatedAt) =>
      write(() => {
        const run = changed(cancelled(runs.get(id), updatedAt))
        return told(run.status === 'queued' ? { kind: 'queued' } : { kind: 'cancel', id }, run)
      }),
    signal: (id, name, value, updatedAt) =>
      write(() => {
        const run = changed(signalled(runs.get(id), updatedAt))
        const occurrence = tables
          .payload(id)
          .steps.filter((step) => step.state === 'signal' && step.name === name).length
        tables.append(id, [
          {
            name,
            occurrence: occurrence + 1,
            state: 'signal',
            value,
            attempt: 1,
            startedAt: updatedAt,
            keptAt: updatedAt,
          },
        ])
        return told(run.status === 'queued' ? { kind: 'queued' } : { kind: 'signal', id }, run)
      }),
    requeue: (requeue) =>
      write(() => {
        const { id, drop, keep } = requeue
        changed(requeued(runs.get(id), requeue))
        const { input, steps } = tables.payload(id)
        const dropped = new Set(drop.map(nameOf))
        tables.set(payloads, id, {
          input,
          steps: [...steps.filter((step) => !dropped.has(nameOf(step))), ...keep],
          outcome: undefined,
        })
        return told({ kind: 'queued' })
      }),
    settle: (id) => write(() => void changed(settledRun(runs.get(id)))),
    collect: (at, limit) =>
      write(() => {
        const over = tables.ids.filter((id) => collectable(runs.get(id)!, at)).slice(0, limit)
        for (const id of over) tables.delete(id)
        return over.length
      }),
    remove: (all) =>
      write(() => {
        for (const { id, revision } of all) {
          if (!removable(runs.get(id), revision)) throw new Refused('stale')
          tables.delete(id)
        }
      }),

    get: async (id) => runs.get(id),
    input: async (id) => payloads.get(id)?.input,
    steps: async (id) => [...(payloads.get(id)?.steps ?? [])],
    outcome: async (id) => payloads.get(id)?.outcome,
    async list(query) {
      const found: RunRecord[] = []
      const from = query.before === undefined ? tables.ids.length : tables.at(query.before)
      for (let i = from - 1; i >= 0 && found.length < query.limit; i--) {
        const run = runs.get(tables.ids[i]!)!
        if (matches(run, query)) found.push(run)
      }
      return found
    },
    counts: async () => ({ ...tables.counts }),
    owners: async () => [...nodes].map(([owner, expiresAt]) => ({ owner, leaseRemainingMs: expiresAt - now() })),
    held: async (owner) =>
      [...tables.active]
        .map((id) => runs.get(id)!)
        .filter((run) => run.status === 'running' && run.owner === owner)
        .map(({ id, fence }) => ({ id, fence })),
    unsettled: async (limit) =>
      [...tables.unsettled]
        .sort()
        .slice(0, limit)
        .map((id) => runs.get(id)!),
    async listen(listener) {
      listeners.add(listener)
      return async () => void listeners.delete(listener)
    },
  }
}

class Told {
  readonly news: StoreNews
  readonly result: unknown

  constructor(news: StoreNews, result: unknown) {
    this.news = news
    this.result = result
  }
}

function told(news: StoreNews, result?: unknown): Told {
  return new Told(news, result)
}

function memoryUnit(tables: Tables, tell: (news: StoreNews) => void): Unit {
  const writes: { readonly write: Write; readonly onCommitted: ((result: unknown) => void) | undefined }[] = []
  return {
    add(write, onCommitted) {
      writes.push({ write, onCommitted })
    },
    async commit(): Promise<Durability> {
      const results = tables.atomically(() => writes.map(({ write }) => (write.args as () => unknown)()))
      for (const [i, result] of results.entries()) {
        writes[i]!.onCommitted?.(result instanceof Told ? result.result : result)
        if (result instanceof Told) tell(result.news)
      }
      return 'memory'
    },
  }
}

function take(tables: Tables, claim: Claim, now: number): Claimed {
  const lives = (owner: string) => (tables.nodes.get(owner) ?? Number.NEGATIVE_INFINITY) > now
  let nextWakeAt: number | undefined
  const found: RunRecord[] = []
  for (const id of [...tables.active].sort()) {
    const run = tables.runs.get(id)!
    if (found.length < claim.limit && claimable(run, claim, lives)) found.push(run)
    else if (
      run.status === 'waiting' &&
      run.wakeAt !== undefined &&
      run.wakeAt > claim.now &&
      !(nextWakeAt !== undefined && nextWakeAt <= run.wakeAt)
    )
      nextWakeAt = run.wakeAt
  }
  return { runs: found.map((run) => tables.put(claimed(run, claim))), nextWakeAt }
}

function matches(run: RunRecord, query: RunQuery): boolean {
  const { status, createdFrom, createdTo, updatedFrom, updatedTo } = query
  return (
    (status === undefined || (typeof status === 'string' ? run.status === status : status.includes(run.status))) &&
    (query.operation === undefined || run.operation === query.operation) &&
    (query.principal === undefined || run.principal === query.principal) &&
    (query.requestId === undefined || run.requestId === query.requestId) &&
    (query.stage === undefined || run.stage === query.stage) &&
    (createdFrom === undefined || run.createdAt >= createdFrom) &&
    (createdTo === undefined || run.createdAt < createdTo) &&
    (updatedFrom === undefined || run.updatedAt >= updatedFrom) &&
    (updatedTo === undefined || run.updatedAt < updatedTo)
  )
}

function nameOf({ name, occurrence, state }: Pick<StepRecord, 'name' | 'occurrence' | 'state'>): string {
  return `${state} ${occurrence} ${name}`
}

function toggle(set: Set<string>, id: string, there: boolean): void {
  if (there) set.add(id)
  else set.delete(id)
}

function noRuns(): Record<RunStatus, number> {
  return { queued: 0, running: 0, waiting: 0, parked: 0, completed: 0, failed: 0, cancelled: 0, dead: 0 }
}
