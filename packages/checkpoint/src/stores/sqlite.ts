import type { Connection, Procedures, SqlValue, StoreDatabase } from '@gw/sqlite'
import { crcOf } from '../crc32.ts'
import type { RunRecord, RunStatus, StepRecord, StepState } from '../run-record.ts'
import type {
  CheckpointStore,
  Claim,
  Claimed,
  Ending,
  Held,
  Kept,
  Past,
  Pulse,
  Requeue,
  RunPatch,
  RunQuery,
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
  inputOf,
  inputPayload,
  inputSeq,
  outcomeOf,
  outcomePayload,
  outcomeRow,
  outcomeSeq,
  type Payload,
  type PayloadRow,
  payloadRow,
  stepOf,
  stepPayload,
  stepRow,
} from './payload-row.ts'
import { listingsOf, mergedListings, type OneListing } from './run-listing.ts'
import { columns, endedBadly, fromRow, type RunRow, toRow } from './run-row.ts'

/** What a SQLite store is made on. */
export interface SqliteCheckpointStoreOptions {
  /** An open database of `@gw/sqlite`, or a Durable Object's; whoever opened it closes it. */
  readonly db: StoreDatabase
}

const migrations = [
  `CREATE TABLE gw_run (
    id TEXT PRIMARY KEY, request_id TEXT, operation TEXT NOT NULL, version TEXT NOT NULL, method TEXT NOT NULL, route TEXT NOT NULL,
    principal TEXT, subject TEXT, status TEXT NOT NULL, owner TEXT, fence INTEGER NOT NULL, revision INTEGER NOT NULL,
    attempt INTEGER NOT NULL, recoveries INTEGER NOT NULL, stage TEXT, progress REAL, data TEXT, reason TEXT, wake_at INTEGER,
    cancel_requested INTEGER NOT NULL, signals INTEGER NOT NULL, links TEXT NOT NULL, idempotency_seed TEXT, settled INTEGER NOT NULL,
    expires_at INTEGER, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, crc INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX gw_run_running ON gw_run (owner, id) WHERE status = 'running';
  CREATE INDEX gw_run_queued ON gw_run (id) WHERE status = 'queued';
  CREATE INDEX gw_run_waiting ON gw_run (wake_at) WHERE status = 'waiting';
  CREATE INDEX gw_run_parked ON gw_run (id) WHERE status = 'parked';
  CREATE INDEX gw_run_unsettled ON gw_run (id) WHERE settled = 0 AND status IN ('completed', 'failed', 'cancelled', 'dead');
  CREATE INDEX gw_run_expires ON gw_run (expires_at) WHERE expires_at IS NOT NULL;
  CREATE INDEX gw_run_operation ON gw_run (operation, id);
  CREATE INDEX gw_run_principal ON gw_run (principal, id);
  CREATE INDEX gw_run_request ON gw_run (request_id) WHERE request_id IS NOT NULL;
  CREATE TABLE gw_run_payload (run TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, head TEXT NOT NULL, body BLOB NOT NULL,
    crc INTEGER NOT NULL, PRIMARY KEY (run, seq));
  CREATE TABLE gw_run_count (status TEXT PRIMARY KEY, runs INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE gw_run_node (owner TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) WITHOUT ROWID;`,
  ['waiting', ...endedBadly]
    .map((status) => `CREATE INDEX gw_run_all_${status} ON gw_run (id) WHERE status = '${status}';`)
    .join('\n'),
]

const select = `SELECT ${columns.join(', ')}, crc FROM gw_run`
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
  nextWake: `SELECT min(wake_at) AS at FROM gw_run WHERE status = 'waiting' AND wake_at IS NOT NULL`,
}

/** The arguments of the writes that every request makes; names once a write would cost more than the values. */
type AcceptArgs = readonly [row: ReturnType<typeof toRow>, input: Payload, past: Past | undefined]
/** The steps lie flat: state, head, value. */
type KeepArgs = readonly [
  id: string,
  fence: number,
  steps: readonly (string | Uint8Array)[],
  statements: readonly Statement[],
]
type FinishArgs = readonly [
  id: string,
  fence: number,
  status: Ending['status'],
  reason: string | undefined,
  settled: boolean,
  expiresAt: number,
  updatedAt: number,
  ...outcome: Payload,
]

function flat(steps: readonly StepRecord[]): (string | Uint8Array)[] {
  const values: (string | Uint8Array)[] = []
  for (const step of steps) values.push(step.state, ...stepPayload(step))
  return values
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
    const runs = found
      .map(fromRow)
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .slice(0, limit)
      .map((run) => write(connection, run, claimed(run, claim)))
    return { runs, nextWakeAt: connection.get<{ at: number | null }>(claimable.nextWake)?.at ?? undefined }
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

const conditions: readonly (readonly [field: keyof RunQuery, sql: string])[] = [
  ['operation', 'operation = ?'],
  ['principal', 'principal = ?'],
  ['requestId', 'request_id = ?'],
  ['stage', 'stage = ?'],
  ['createdFrom', 'created_at >= ?'],
  ['createdTo', 'created_at < ?'],
  ['updatedFrom', 'updated_at >= ?'],
  ['updatedTo', 'updated_at < ?'],
  ['before', 'id < ?'],
]

/** Where the runs of a status are found, if they are few. */
const indexes: Readonly<Partial<Record<RunStatus, string>>> = {
  queued: 'gw_run_queued',
  running: 'gw_run_running',
  waiting: 'gw_run_all_waiting',
  parked: 'gw_run_parked',
  failed: 'gw_run_all_failed',
  cancelled: 'gw_run_all_cancelled',
  dead: 'gw_run_all_dead',
}

function queryOf({ status, limit, ...query }: OneListing): { readonly sql: string; readonly params: SqlValue[] } {
  const where: string[] = []
  const params: SqlValue[] = []
  // Without the index by its name SQLite goes over all runs in the order of their ids.
  const index = status === undefined ? undefined : indexes[status]
  const indexed = index === undefined ? '' : ` INDEXED BY ${index}`
  if (status !== undefined) where.push(`status = '${status}'`)
  for (const [field, sql] of conditions) {
    const value = query[field as keyof typeof query]
    if (value === undefined) continue
    where.push(sql)
    params.push(value)
  }
  const filter = where.length === 0 ? '' : `WHERE ${where.join(' AND ')}`
  return { sql: `${select}${indexed} ${filter} ORDER BY id DESC LIMIT ?`, params: [...params, limit] }
}

const accept = `${import.meta.url}#checkpoint.accept`
const keep = `${import.meta.url}#checkpoint.keep`
const finish = `${import.meta.url}#checkpoint.finish`

/** Keeps runs in the embedded database; one process at a time. */
export function sqliteCheckpointStore({ db }: SqliteCheckpointStoreOptions): CheckpointStore {
  const named = (name: string, args: unknown) => ({ procedure: `${import.meta.url}#checkpoint.${name}`, args })
  const payload = (id: string, seq: number) =>
    db.reader.get<PayloadRow>('SELECT * FROM gw_run_payload WHERE run = ? AND seq = ?', id, seq)
  return {
    durable: true,
    shared: false,
    transactional: true,
    database: db,
    open: () => db.migrate('checkpoint', migrations, procedures),
    unit: () => db.unit(),

    accept: (run, input, past) => ({
      procedure: accept,
      args: [toRow(run), inputPayload(input), past] satisfies AcceptArgs,
    }),
    keep: ({ id, fence }, steps, statements = []) => ({
      procedure: keep,
      args: [id, fence, flat(steps), statements] satisfies KeepArgs,
    }),
    patch: (held, patch) => named('patch', { held, patch }),
    suspend: (held, suspension) => named('suspend', { held, suspension }),
    finish({ id, fence }, { outcome, status, reason, settled, expiresAt, updatedAt }) {
      const [head, body] = outcomePayload(outcome)
      const args: FinishArgs = [id, fence, status, reason, settled, expiresAt, updatedAt, head, body]
      return { procedure: finish, args }
    },
    beat: (owner, leaseMs) => named('beat', { owner, leaseMs }),
    leave: (owner) => named('leave', { owner }),
    claim: (claim) => named('claim', { claim }),
    cancel: (id, updatedAt) => named('cancel', { id, updatedAt }),
    signal: (id, name, value, updatedAt) => named('signal', { id, name, value, updatedAt }),
    requeue: (requeue) => named('requeue', { requeue }),
    settle: (id) => named('settle', { id }),
    collect: (now, limit) => named('collect', { now, limit }),
    remove: (runs) => named('remove', { runs }),

    async get(id) {
      const row = db.reader.get<RunRow>(`${select} WHERE id = ?`, id)
      return row === undefined ? undefined : fromRow(row)
    },
    async input(id) {
      const row = payload(id, inputSeq)
      return row === undefined ? undefined : inputOf(row)
    },
    async steps(id) {
      return db.reader
        .all<PayloadRow>(
          `SELECT * FROM gw_run_payload WHERE run = ? AND seq > ${inputSeq} AND seq < ${outcomeSeq} ORDER BY seq`,
          id,
        )
        .map(stepOf)
    },
    async outcome(id) {
      const row = payload(id, outcomeSeq)
      return row === undefined ? undefined : outcomeOf(row)
    },
    async list(query) {
      const lists = listingsOf(query).map((listing) => {
        const { sql, params } = queryOf(listing)
        return db.reader.all<RunRow>(sql, ...params).map(fromRow)
      })
      return mergedListings(lists, query.limit)
    },
    async counts() {
      const counts = { queued: 0, running: 0, waiting: 0, parked: 0, completed: 0, failed: 0, cancelled: 0, dead: 0 }
      for (const { status, runs } of db.reader.all<{ status: RunStatus; runs: number }>('SELECT * FROM gw_run_count'))
        counts[status] = runs
      return counts
    },
    async held(owner) {
      return db.reader.all<Held>(
        `SELECT id, fence FROM gw_run WHERE status = 'running' AND owner = ? ORDER BY id`,
        owner,
      )
    },
    async owners() {
      const now = Date.now()
      return db.reader
        .all<{ owner: string; expires_at: number }>('SELECT owner, expires_at FROM gw_run_node ORDER BY owner')
        .map(({ owner, expires_at }) => ({ owner, leaseRemainingMs: expires_at - now }))
    },
    async unsettled(limit) {
      return db.reader
        .all<RunRow>(
          `${select} WHERE settled = 0 AND status IN ('completed', 'failed', 'cancelled', 'dead') ORDER BY id LIMIT ?`,
          limit,
        )
        .map(fromRow)
    },
  }
}
