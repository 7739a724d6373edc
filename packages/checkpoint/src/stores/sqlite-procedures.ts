import type { Connection, Procedures, SqlValue } from '@gw/sqlite'
import { crcOf } from '../crc32.ts'
import type { RunRecord, RunStatus, StepRecord, StepState } from '../run-record.ts'
import type {
  Claim,
  Claimed,
  Ending,
  Held,
  Kept,
  Past,
  Pulse,
  Requeue,
  RunPatch,
  Statement,
  Suspension,
} from '../store.ts'
import {
  cancelled,
  claimed,
  ended,
  patched,
  type Refusal,
  refusalFor,
  removable,
  requeued,
  settledRun,
  signalled,
  suspended,
  type Transition,
} from '../transitions.ts'
import {
  inputSeq,
  outcomeRow,
  outcomeSeq,
  type Payload,
  type PayloadRow,
  payloadRow,
  stepOf,
  stepPayload,
  stepRow,
} from './payload-row.ts'
import { columns, fromRow, type RunRow, toRow, wholeRuns } from './run-row.ts'

/** What every read of runs begins with. */
export const select: string = `SELECT ${columns.join(', ')}, crc FROM gw_run`
const insert = `INSERT INTO gw_run VALUES (${columns.map(() => '?').join(', ')}, ?) ON CONFLICT DO NOTHING`
const statusAt = columns.indexOf('status')
const selectHeld = `SELECT cancel_requested, (SELECT max(seq) FROM gw_run_payload WHERE run = gw_run.id AND seq < ${outcomeSeq}) AS seq
  FROM gw_run WHERE id = ? AND fence = ? AND status = 'running'`

/** A row of a few columns' new values: a column that is named costs its indexes, also where its value stays. */
function update(connection: Connection, before: RunRecord, after: RunRecord): void {
  const old = toRow(before)
  const row = toRow(after)
  let set = ''
  const params: SqlValue[] = []
  for (let i = 1; i < columns.length; i++) {
    if (row[i] === old[i]) continue
    set += `${columns[i]} = ?, `
    params.push(row[i]!)
  }
  connection.run(`UPDATE gw_run SET ${set}crc = ? WHERE id = ?`, ...params, crcOf(row), after.id)
}

function countRuns(connection: Connection, status: RunStatus, change: number): void {
  connection.run(
    'INSERT INTO gw_run_count VALUES (?, ?) ON CONFLICT (status) DO UPDATE SET runs = runs + excluded.runs',
    status,
    change,
  )
}

function read(connection: Connection, id: string): RunRecord | undefined {
  const row = connection.get<RunRow>(`${select} WHERE id = ?`, id)
  return row === undefined ? undefined : fromRow(row)
}

/** Writes what a transition came to over the row it came from. */
function write(connection: Connection, before: RunRecord | undefined, transition: Transition): RunRecord {
  if (typeof transition === 'string') return connection.refuse(transition satisfies Refusal)
  update(connection, before!, transition)
  if (transition.status !== before!.status) {
    countRuns(connection, before!.status, -1)
    countRuns(connection, transition.status, 1)
  }
  return transition
}

function putPayload(connection: Connection, { run, seq, kind, head, body, crc }: PayloadRow): void {
  connection.run('INSERT INTO gw_run_payload VALUES (?, ?, ?, ?, ?, ?)', run, seq, kind, head, body, crc)
}

function stepRows(connection: Connection, run: string): PayloadRow[] {
  return connection.all<PayloadRow>(
    `SELECT * FROM gw_run_payload WHERE run = ? AND seq > ${inputSeq} AND seq < ${outcomeSeq} ORDER BY seq`,
    run,
  )
}

function erase(connection: Connection, run: RunRecord): void {
  connection.run('DELETE FROM gw_run_payload WHERE run = ?', run.id)
  connection.run('DELETE FROM gw_run WHERE id = ?', run.id)
  countRuns(connection, run.status, -1)
}

function leaseRuns(connection: Connection, owner: string): boolean {
  const node = connection.get<{ expires_at: number }>('SELECT expires_at FROM gw_run_node WHERE owner = ?', owner)
  return node !== undefined && node.expires_at > Date.now()
}

/** Runs of the operations in a JSON array, or to be cancelled whatever they are. */
const mine = '(cancel_requested = 1 OR operation IN (SELECT value FROM json_each(?)))'
/** What a claim reads, each in the order of an index. */
const claimable = {
  queued: `${select} WHERE status = 'queued' AND ${mine} ORDER BY id LIMIT ?`,
  due: `${select} WHERE status = 'waiting' AND wake_at <= ? AND ${mine} ORDER BY wake_at LIMIT ?`,
  running: `${select} WHERE status = 'running' AND owner = ? AND ${mine} ORDER BY id LIMIT ?`,
  nextOwner: `SELECT owner FROM gw_run WHERE status = 'running' AND owner > ? ORDER BY owner LIMIT 1`,
  nextWake: `SELECT min(wake_at) AS at FROM gw_run WHERE status = 'waiting' AND wake_at > ?`,
}

/** The arguments of the writes that every request makes; names once a write would cost more than the values. */
export type AcceptArgs = readonly [row: ReturnType<typeof toRow>, input: Payload, past: Past | undefined]
/** The steps lie flat: state, head, value. */
export type KeepArgs = readonly [
  id: string,
  fence: number,
  steps: readonly (string | Uint8Array)[],
  statements: readonly Statement[],
]
export type FinishArgs = readonly [
  id: string,
  fence: number,
  status: Ending['status'],
  reason: string | undefined,
  settled: boolean,
  expiresAt: number,
  updatedAt: number,
  ...outcome: Payload,
]

/** Steps as {@link KeepArgs} takes them. */
export function flat(steps: readonly StepRecord[]): (string | Uint8Array)[] {
  const values: (string | Uint8Array)[] = []
  for (const step of steps) values.push(step.state, ...stepPayload(step))
  return values
}

/** The name under which the writer thread finds a write: this module, and the export in it. */
export function procedureOf(name: string): string {
  return `${import.meta.url}#checkpoint.${name}`
}

/** The writes of this store; run by the writer thread. */
export const procedures: Procedures = {
  accept(connection: Connection, [row, input, past]: AcceptArgs): void {
    const id = row[0] as string
    if (connection.run(insert, ...row, crcOf(row)) === 0) connection.refuse('exists')
    putPayload(connection, payloadRow(id, inputSeq, 'input', input))
    if (past !== undefined) {
      const { steps = [], outcome } = past
      for (const [i, step] of steps.entries()) putPayload(connection, stepRow(id, i + 1, step))
      if (outcome !== undefined) putPayload(connection, outcomeRow(id, outcome))
    }
    countRuns(connection, row[statusAt] as RunStatus, 1)
  },

  keep(connection: Connection, [id, fence, steps, statements]: KeepArgs): Kept {
    const owned = connection.get<{ seq: number; cancel_requested: number }>(selectHeld, id, fence)
    if (owned === undefined) return connection.refuse(refusalFor(read(connection, id), { id, fence }))
    const changed = statements.map(([sql, params = []]) => connection.run(sql, ...(params as readonly SqlValue[])))
    let { seq } = owned
    for (let i = 0; i < steps.length; i += 3) {
      const last = i + 3 === steps.length
      const head = steps[i + 1] as string
      const value = statements.length > 0 && last ? JSON.stringify(changed) : steps[i + 2]!
      putPayload(connection, payloadRow(id, ++seq, steps[i] as StepState, [head, value]))
    }
    return { changed, cancelRequested: owned.cancel_requested === 1 }
  },

  patch(connection: Connection, { held, patch }: { held: Held; patch: RunPatch }): void {
    const run = read(connection, held.id)
    write(connection, run, patched(run, held, patch))
  },

  suspend(connection: Connection, { held, suspension }: { held: Held; suspension: Suspension }): RunStatus {
    const run = read(connection, held.id)
    return write(connection, run, suspended(run, held, suspension)).status
  },

  finish(connection: Connection, args: FinishArgs): void {
    const [id, fence, status, reason, settled, expiresAt, updatedAt, head, body] = args
    const run = read(connection, id)
    write(connection, run, ended(run, { id, fence }, { status, reason, settled, expiresAt, updatedAt }))
    putPayload(connection, payloadRow(id, outcomeSeq, 'outcome', [head, body]))
  },

  beat(connection: Connection, { owner, leaseMs }: { owner: string; leaseMs: number }): Pulse {
    const now = Date.now()
    const before = connection.get<{ expires_at: number }>('SELECT expires_at FROM gw_run_node WHERE owner = ?', owner)
    connection.run('INSERT OR REPLACE INTO gw_run_node VALUES (?, ?)', owner, now + leaseMs)
    const asked = connection.all<{ id: string }>(
      `SELECT id FROM gw_run WHERE status = 'running' AND owner = ? AND cancel_requested = 1`,
      owner,
    )
    return { lapsed: before === undefined || before.expires_at <= now, cancelRequested: asked.map(({ id }) => id) }
  },

  leave(connection: Connection, { owner }: { owner: string }): void {
    connection.run('DELETE FROM gw_run_node WHERE owner = ?', owner)
  },

  claim(connection: Connection, { claim }: { claim: Claim }): Claimed {
    const { owner, orphans, alone, limit, now } = claim
    const operations = JSON.stringify(claim.operations)
    const found: RunRow[] = []
    for (const { id, fence } of orphans) {
      const row = connection.get<RunRow>(`${select} WHERE id = ? AND ${mine}`, id, operations)
      if (row?.status === 'running' && row.fence === fence && row.owner === owner) found.push(row)
    }
    for (let at: string | undefined = ''; at !== undefined; ) {
      at = connection.get<{ owner: string }>(claimable.nextOwner, at)?.owner
      if (at === undefined || at === owner || (!alone && leaseRuns(connection, at))) continue
      found.push(...connection.all<RunRow>(claimable.running, at, operations, limit))
    }
    found.push(...connection.all<RunRow>(claimable.queued, operations, limit))
    found.push(...connection.all<RunRow>(claimable.due, now, operations, limit))
    const runs = wholeRuns(found)
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .slice(0, limit)
      .map((run) => write(connection, run, claimed(run, claim)))
    return { runs, nextWakeAt: connection.get<{ at: number | null }>(claimable.nextWake, now)?.at ?? undefined }
  },

  cancel(connection: Connection, { id, updatedAt }: { id: string; updatedAt: number }): RunRecord {
    const run = read(connection, id)
    return write(connection, run, cancelled(run, updatedAt))
  },

  signal(
    connection: Connection,
    { id, name, value, updatedAt }: { id: string; name: string; value: string | Uint8Array; updatedAt: number },
  ): RunRecord {
    const before = read(connection, id)
    const run = write(connection, before, signalled(before, updatedAt))
    const rows = stepRows(connection, id)
    const occurrence = rows.map(stepOf).filter((step) => step.state === 'signal' && step.name === name).length + 1
    const signal: StepRecord = {
      name,
      occurrence,
      state: 'signal',
      value,
      attempt: 1,
      startedAt: updatedAt,
      keptAt: updatedAt,
    }
    putPayload(connection, stepRow(id, (rows.at(-1)?.seq ?? inputSeq) + 1, signal))
    return run
  },

  requeue(connection: Connection, { requeue }: { requeue: Requeue }): void {
    const { id, drop, keep } = requeue
    const before = read(connection, id)
    write(connection, before, requeued(before, requeue))
    connection.run(`DELETE FROM gw_run_payload WHERE run = ? AND seq = ${outcomeSeq}`, id)
    const rows = stepRows(connection, id)
    const dropped = new Set(drop.map(nameOf))
    for (const row of rows)
      if (dropped.has(nameOf(stepOf(row))))
        connection.run('DELETE FROM gw_run_payload WHERE run = ? AND seq = ?', id, row.seq)
    let seq = rows.at(-1)?.seq ?? inputSeq
    for (const step of keep) putPayload(connection, stepRow(id, ++seq, step))
  },

  settle(connection: Connection, { id }: { id: string }): void {
    const run = read(connection, id)
    write(connection, run, settledRun(run))
  },

  collect(connection: Connection, { now, limit }: { now: number; limit: number }): number {
    const over = connection.all<RunRow>(
      `${select} WHERE expires_at <= ? AND settled = 1 AND status IN ('completed', 'failed', 'cancelled', 'dead') ORDER BY expires_at LIMIT ?`,
      now,
      limit,
    )
    for (const row of over) erase(connection, fromRow(row))
    return over.length
  },

  remove(connection: Connection, { runs }: { runs: readonly { id: string; revision: number }[] }): void {
    for (const { id, revision } of runs) {
      const run = read(connection, id)
      if (!removable(run, revision)) connection.refuse('stale')
      erase(connection, run!)
    }
  },
}

function nameOf({ name, occurrence, state }: Pick<StepRecord, 'name' | 'occurrence' | 'state'>): string {
  return `${state} ${occurrence} ${name}`
}
