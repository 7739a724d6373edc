import type { CheckpointStore, Held, Requeue, RunRecord, Statement, StepRecord } from '@gw/checkpoint'
import { memoryCheckpointStore } from '@gw/checkpoint/memory'
import type { DedupStore, KeyLink, NewClaim } from '@gw/dedup'
import { memoryDedupStore } from '@gw/dedup/memory'

/** A write as a package made it, and what it is about, for those who watch the database. */
export interface Noted {
  readonly procedure: string
  readonly args: unknown
  readonly note: Note
}

/** What a write does. */
export type Note =
  | { readonly kind: 'accept'; readonly run: RunRecord }
  | { readonly kind: 'keep' | 'patch' | 'suspend' | 'finish'; readonly held: Held }
  | { readonly kind: 'claim'; readonly owner: string; readonly now: number }
  | { readonly kind: 'collect'; readonly now: number }
  | { readonly kind: 'key_claim'; readonly claim: NewClaim }
  | { readonly kind: 'key_complete' | 'key_release' | 'key_extend'; readonly link: KeyLink }
  | { readonly kind: 'cancel' | 'signal'; readonly id: string }
  | { readonly kind: 'requeue'; readonly id: string; readonly requeue: Requeue }
  | { readonly kind: 'beat' | 'leave' | 'settle' | 'other' }

/** A run's payload, as the memory store has it. */
export interface RunPayload {
  readonly input: { readonly body: Uint8Array }
  readonly steps: readonly StepRecord[]
  readonly outcome: { readonly status: number; readonly body: Uint8Array } | undefined
}

/** The tables of the memory store. */
export interface RunTables {
  readonly runs: ReadonlyMap<string, RunRecord>
  readonly payloads: ReadonlyMap<string, RunPayload>
  readonly nodes: ReadonlyMap<string, number>
  set<Value>(map: Map<string, Value>, key: string, value: Value | undefined): void
}

/** A key's row, as the memory store has it. */
export interface KeyRow {
  readonly key: string
  readonly token: string
  readonly fence: number
  readonly link: string | undefined
  readonly leaseUntil: number
  readonly windowMs: number
  readonly response: { readonly status: number; readonly body: Uint8Array | undefined } | undefined
  readonly expiresAt: number
}

/** What an applied unit came to. */
export type Applied =
  | { readonly results: readonly unknown[] }
  | { readonly refused: string }
  | { readonly torn: true }
  | { readonly failed: unknown }

export interface DatabaseOptions {
  /** The clock that leases and windows are measured by. */
  readonly clock: () => number
  /** Called after each unit that was applied. */
  readonly watched: (notes: readonly Note[]) => void
  /** For a planted bug: keeps the half of a torn unit. */
  readonly keepsTorn: boolean
}

/**
 * What the nodes share: runs, keys and the rows of handlers, in one database, whose units are all or nothing. The transitions are
 * those of the packages' own memory stores.
 */
export class SimDatabase {
  readonly runStore: CheckpointStore
  readonly keyStore: DedupStore
  readonly tables: RunTables
  readonly keys: ReadonlyMap<string, KeyRow>
  /** How often each row of a handler was written. */
  readonly rows = new Map<string, number>()
  readonly clock: () => number
  readonly #watched: (notes: readonly Note[]) => void
  readonly #keepsTorn: boolean

  constructor({ clock, watched, keepsTorn }: DatabaseOptions) {
    this.clock = clock
    this.#watched = watched
    this.#keepsTorn = keepsTorn
    this.runStore = memoryCheckpointStore({ shared: true, now: clock })
    this.keyStore = memoryDedupStore({ monotonic: clock })
    this.tables = this.runStore.database as RunTables
    this.keys = this.keyStore.database as ReadonlyMap<string, KeyRow>
  }

  /** Keeps steps together with rows of the handler's own, in one write. */
  keepWithRows(held: Held, steps: readonly StepRecord[], statements: readonly Statement[]): Noted {
    const changed = statements.map(() => 1)
    const last = steps.at(-1)!
    const kept = this.runStore.keep(held, [...steps.slice(0, -1), { ...last, value: JSON.stringify(changed) }])
    const args = () => {
      const result = (kept.args as () => object)()
      for (const [, [row] = []] of statements)
        this.tables.set(this.rows, String(row), (this.rows.get(String(row)) ?? 0) + 1)
      return { ...result, changed }
    }
    return { procedure: kept.procedure, args, note: { kind: 'keep', held } }
  }

  /** Applies all of a unit's writes or none of them; `tornAt` is where the server dies in the middle of them. */
  apply(writes: readonly Noted[], tornAt: number | undefined): Applied {
    const results: unknown[] = []
    const unit = this.runStore.unit()
    const ofKeys: number[] = []
    let failure: unknown
    let done = false
    const guarded = (args: unknown) => () => {
      try {
        return (args as () => unknown)()
      } catch (error) {
        failure = error
        throw error
      }
    }
    for (const [i, write] of writes.entries()) {
      if (i === tornAt) {
        if (this.#keepsTorn) break
        unit.add({ procedure: 'memory', args: guarded(() => tear()) })
      }
      if (write.procedure !== 'memory') ofKeys.push(i)
      else {
        unit.add({ procedure: 'memory', args: guarded(write.args) }, (result) => {
          results[i] = result
        })
      }
    }
    if (ofKeys.length > 0) {
      // The stores have tables of their own: the keys' part goes last, so that its refusal takes everything before it back.
      const args = guarded(() => this.#applyKeys(ofKeys, writes, results))
      unit.add({ procedure: 'memory', args })
    }
    unit.add({ procedure: 'memory', args: () => undefined }, () => {
      done = true
    })
    unit.commit().catch(() => {})
    if (done) {
      this.#watched(writes.map(({ note }) => note))
      return tornAt === undefined ? { results } : { torn: true }
    }
    if (failure instanceof Torn) return { torn: true }
    const reason: unknown = (failure as { reason?: unknown }).reason
    return typeof reason === 'string' ? { refused: reason } : { failed: failure }
  }

  /** Tells the watchers of a call to the keys that is not a unit. */
  noteKeys(note: Note): void {
    this.#watched([note])
  }

  #applyKeys(at: readonly number[], writes: readonly Noted[], results: unknown[]): undefined {
    const unit = this.keyStore.unit()
    let applied = 0
    for (const i of at) {
      unit.add(writes[i]!, (result) => {
        results[i] = result
        applied++
      })
    }
    unit.commit().catch(() => {})
    if (applied < at.length) throw Object.assign(new Error('held'), { reason: 'held' })
  }
}

class Torn extends Error {}

function tear(): never {
  throw new Torn('The server died in the middle of a unit')
}
