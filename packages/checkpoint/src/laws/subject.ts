import { queuedRun } from '../queued-run.ts'
import type { Outcome, RunInput, RunRecord, StepRecord } from '../run-record.ts'
import type { CheckpointStore, Claim, Claimed, Ending, Held, Statement } from '../store.ts'
import { refusalOf, type Write } from '../unit.ts'

/** A fresh, empty store, and what the suite must know of it. */
export interface StoreUnderTest {
  readonly store: CheckpointStore
  /** Called after the test. */
  close?(): Promise<void>
  /** Lets the store's clock go on; waits unless given. */
  elapse?(ms: number): Promise<void>
  /** A table of the user's own, for a transactional store. */
  readonly ledger?: {
    /** A statement that inserts one row, where `keep` carries statements. */
    readonly statement?: (id: string) => Statement
    /** A statement that fails. */
    readonly broken?: () => Statement
    /** Inserts one row in a transaction that `transact` gave. */
    readonly within?: (transaction: unknown, id: string) => Promise<void>
    count(id: string): Promise<number>
  }
}

/** One law, as a test of a fresh store. */
export type Law = (store: CheckpointStore, subject: StoreUnderTest) => Promise<void>

export type Laws = readonly (readonly [name: string, law: Law])[]

export const bytes: Uint8Array = Uint8Array.from({ length: 256 }, (_, i) => i)
export const alice = 'alice/1'
export const bob = 'bob/1'
export const long = 600_000

export const input: RunInput = { url: 'http://h/', headers: [], variables: '{}', body: new Uint8Array([1, 2]) }

let accepts = 0

export function record(changes: Partial<RunRecord> = {}): RunRecord {
  accepts++
  const request = {
    requestId: undefined,
    operation: 'job',
    version: '1',
    method: 'POST',
    route: '/jobs/:kind',
  } as const
  return {
    ...queuedRun({ ...request, principal: undefined, subject: undefined }, 1_700_000_000_000 + accepts),
    status: 'running',
    owner: alice,
    fence: 1,
    createdAt: 1,
    updatedAt: 2,
    ...changes,
  }
}

export function step(name: string, changes: Partial<StepRecord> = {}): StepRecord {
  return { name, occurrence: 1, state: 'kept', value: '"v"', attempt: 1, startedAt: 3, keptAt: 4, ...changes }
}

export function outcome(status: number): Outcome {
  return {
    status,
    headers: [
      ['link', '<a>'],
      ['link', '<b>'],
    ],
    body: bytes,
    retained: true,
  }
}

export function ending(status: Ending['status']): Ending {
  return { status, reason: undefined, outcome: outcome(200), settled: true, expiresAt: 1_000, updatedAt: 9 }
}

export function heldOf({ id, fence }: RunRecord): Held {
  return { id, fence }
}

export function writesOf(store: CheckpointStore, held: Held): Write[] {
  return [
    store.keep(held, [step('a')]),
    store.patch(held, { stage: 'never', updatedAt: 9 }),
    store.suspend(held, { status: 'waiting', reason: 'never', wakeAt: 9, attempt: 9, updatedAt: 9 }),
    store.finish(held, ending('completed')),
  ]
}

export async function accepted(store: CheckpointStore, changes: Partial<RunRecord> = {}): Promise<RunRecord> {
  const run = record(changes)
  await put(store, store.accept(run, input))
  return run
}

export function claim(store: CheckpointStore, changes: Partial<Claim> & { readonly owner: string }): Promise<Claimed> {
  const ask: Claim = { operations: ['job'], orphans: [], alone: false, limit: 100, now: 1_000, ...changes }
  return put(store, store.claim(ask)) as Promise<Claimed>
}

export async function commit(store: CheckpointStore, write: Write): Promise<unknown> {
  const unit = store.unit()
  let result: unknown
  unit.add(write, (value) => {
    result = value
  })
  await unit.commit()
  return result
}

export async function put(store: CheckpointStore, write: Write): Promise<unknown> {
  return commit(store, write)
}

export async function refused(store: CheckpointStore, write: Write): Promise<unknown> {
  try {
    await commit(store, write)
  } catch (error) {
    const refusal = refusalOf(error)
    if (refusal === undefined) throw error
    return refusal.reason
  }
  throw new Error('Expected the write to be refused')
}

export async function rejects(work: Promise<unknown>, reason?: string): Promise<void> {
  try {
    await work
  } catch (error) {
    if (reason !== undefined) equal(refusalOf(error)?.reason, reason)
    return
  }
  throw new Error('Expected a rejection')
}

export function elapse(subject: StoreUnderTest, ms: number): Promise<void> {
  return subject.elapse?.(ms) ?? new Promise((resolve) => setTimeout(resolve, ms))
}

export function equal(actual: unknown, expected: unknown): void {
  const [a, b] = [shown(actual), shown(expected)]
  if (a !== b) throw new Error(`Expected ${b}\n     got ${a}`)
}

/** A text that equal values share, whatever the order of their fields. */
export function shown(value: unknown): string {
  if (value instanceof Uint8Array) return `bytes(${[...value].join(' ')})`
  if (value instanceof Set) return `set(${[...value].map(shown).sort().join(', ')})`
  if (Array.isArray(value)) return `[${value.map(shown).join(', ')}]`
  if (typeof value !== 'object' || value === null)
    return typeof value === 'string' ? JSON.stringify(value) : String(value)
  const fields = Object.entries(value).filter(([, each]) => each !== undefined)
  return `{${fields
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, each]) => `${name}: ${shown(each)}`)
    .join(', ')}}`
}
