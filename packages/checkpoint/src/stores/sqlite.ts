import type { Connection, Database, Procedures, SqlValue } from '@gw/sqlite'
import { crcOf } from '../crc32.ts'
import { CheckpointError } from '../errors.ts'
import type { Outcome, RunInput, RunRecord, RunStatus, StepRecord } from '../run-record.ts'
import type { CheckpointStore, Held, RunPatch, RunQuery, Statement, Suspension } from '../store.ts'

/** What a SQLite store is made on. */
export interface SqliteCheckpointStoreOptions {
  /** An open database of `@gw/sqlite`; whoever opened it closes it. */
  readonly db: Database
}

const migrations = [
  `CREATE TABLE gw_run (
    id TEXT PRIMARY KEY, request_id TEXT, operation TEXT NOT NULL, version TEXT NOT NULL, method TEXT NOT NULL, route TEXT NOT NULL,
    principal TEXT, status TEXT NOT NULL, owner TEXT, fence INTEGER NOT NULL, attempt INTEGER NOT NULL, recoveries INTEGER NOT NULL,
    stage TEXT, progress REAL, data TEXT, reason TEXT, wake_at INTEGER, cancel_requested INTEGER NOT NULL, links TEXT NOT NULL,
    idempotency_seed TEXT, settled INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, crc INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX gw_run_unfinished ON gw_run (id) WHERE status IN ('queued', 'waiting', 'running');
  CREATE INDEX gw_run_unsettled ON gw_run (id) WHERE settled = 0 AND status IN ('completed', 'failed', 'cancelled', 'dead');
  CREATE INDEX gw_run_operation ON gw_run (operation, id);
  CREATE INDEX gw_run_principal ON gw_run (principal, id);
  CREATE INDEX gw_run_request ON gw_run (request_id) WHERE request_id IS NOT NULL;
  CREATE TABLE gw_run_payload (run TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, head TEXT NOT NULL, body BLOB NOT NULL,
    crc INTEGER NOT NULL, PRIMARY KEY (run, seq)) WITHOUT ROWID;
  CREATE TABLE gw_run_count (status TEXT PRIMARY KEY, runs INTEGER NOT NULL) WITHOUT ROWID;`,
]

const columns = [
  'id',
  'request_id',
  'operation',
  'version',
  'method',
  'route',
  'principal',
  'status',
  'owner',
  'fence',
  'attempt',
  'recoveries',
  'stage',
  'progress',
  'data',
  'reason',
  'wake_at',
  'cancel_requested',
  'links',
  'idempotency_seed',
  'settled',
  'created_at',
  'updated_at',
] as const

type Row = Record<(typeof columns)[number], null | number | string> & { readonly crc: number }

const select = `SELECT ${columns.join(', ')}, crc FROM gw_run`
const insert = `INSERT INTO gw_run VALUES (${columns.map(() => '?').join(', ')}, ?)`
const replace = `UPDATE gw_run SET ${columns
  .slice(1)
  .map((name) => `${name} = ?`)
  .join(', ')}, crc = ? WHERE id = ?`
const insertPayload = 'INSERT INTO gw_run_payload VALUES (?, ?, ?, ?, ?, ?)'

/** Payload rows of a run: its input first, its outcome last, its steps between in the order they were kept. */
const inputSeq = 0
const outcomeSeq = 9_007_199_254_740_000

function toRow(run: RunRecord): (null | number | string)[] {
  return [
    run.id,
    run.requestId ?? null,
    run.operation,
    run.version,
    run.method,
    run.route,
    run.principal ?? null,
    run.status,
    run.owner ?? null,
    run.fence,
    run.attempt,
    run.recoveries,
    run.stage ?? null,
    run.progress ?? null,
    run.data ?? null,
    run.reason ?? null,
    run.wakeAt ?? null,
    run.cancelRequested ? 1 : 0,
    JSON.stringify(run.links),
    run.idempotencySeed ?? null,
    run.settled ? 1 : 0,
    run.createdAt,
    run.updatedAt,
  ]
}

function fromRow(row: Row): RunRecord {
  const values = columns.map((name) => row[name])
  if (crcOf(values) !== row.crc) throw new CheckpointError('corrupt_record', `The row of run ${row.id} is damaged`)
  const text = (value: null | number | string) => (value === null ? undefined : String(value))
  const number = (value: null | number | string) => (value === null ? undefined : Number(value))
  return {
    id: String(row.id),
    requestId: text(row.request_id),
    operation: String(row.operation),
    version: String(row.version),
    method: String(row.method),
    route: String(row.route),
    principal: text(row.principal),
    status: row.status as RunStatus,
    owner: text(row.owner),
    fence: Number(row.fence),
    attempt: Number(row.attempt),
    recoveries: Number(row.recoveries),
    stage: text(row.stage),
    progress: number(row.progress),
    data: text(row.data),
    reason: text(row.reason),
    wakeAt: number(row.wake_at),
    cancelRequested: row.cancel_requested === 1,
    links: JSON.parse(String(row.links)),
    idempotencySeed: text(row.idempotency_seed),
    settled: row.settled === 1,
    createdAt: Number(row.created_at),
    updatedAt: Number(row.updated_at),
  }
}

function countRuns(connection: Connection, status: RunStatus, change: number): void {
  connection.run(
    'INSERT INTO gw_run_count VALUES (?, ?) ON CONFLICT (status) DO UPDATE SET runs = runs + excluded.runs',
    status,
    change,
  )
}

function read(connection: Connection, id: string): RunRecord {
  const row = connection.get<Row>(`${select} WHERE id = ?`, id)
  return row === undefined ? connection.refuse('not_found') : fromRow(row)
}

function readHeld(connection: Connection, { id, fence }: Held): RunRecord {
  const run = read(connection, id)
  if (run.status !== 'running' || run.fence !== fence)
    connection.refuse(run.fence === fence ? 'already_finished' : 'lease_lost')
  return run
}

function write(connection: Connection, before: RunRecord, changes: Partial<RunRecord>): RunRecord {
  const run = { ...before, ...changes }
  const row = toRow(run)
  connection.run(replace, ...row.slice(1), crcOf(row), run.id)
  if (run.status !== before.status) {
    countRuns(connection, before.status, -1)
    countRuns(connection, run.status, 1)
  }
  return run
}

function putPayload(
  connection: Connection,
  run: string,
  seq: number,
  kind: string,
  head: string,
  body: Uint8Array | string,
): void {
  connection.run(insertPayload, run, seq, kind, head, body, crcOf([run, seq, kind, head, body]))
}

interface PayloadRow {
  readonly run: string
  readonly seq: number
  readonly kind: string
  readonly head: string
  readonly body: Uint8Array | string
  readonly crc: number
}

function checked(row: PayloadRow): PayloadRow {
  if (crcOf([row.run, row.seq, row.kind, row.head, row.body]) !== row.crc) {
    throw new CheckpointError('corrupt_record', `A payload of run ${row.run} is damaged (${row.kind})`)
  }
  return row
}

/** The writes of this store; run by the writer thread. */
export const procedures: Procedures = {
  accept(connection: Connection, { run, input }: { run: RunRecord; input: RunInput }): void {
    const row = toRow(run)
    if (connection.get('SELECT 1 FROM gw_run WHERE id = ?', run.id) !== undefined) connection.refuse('exists')
    connection.run(insert, ...row, crcOf(row))
    const { body, ...head } = input
    putPayload(connection, run.id, inputSeq, 'input', JSON.stringify(head), body)
    countRuns(connection, run.status, 1)
  },

  keep(
    connection: Connection,
    { held, step, statements }: { held: Held; step: StepRecord; statements: readonly Statement[] },
  ): number[] {
    const owned = connection.get<{ seq: number | null }>(
      `SELECT (SELECT max(seq) FROM gw_run_payload WHERE run = ?1 AND seq < ${outcomeSeq}) AS seq FROM gw_run WHERE id = ?1 AND fence = ?2 AND status = 'running'`,
      held.id,
      held.fence,
    )
    if (owned === undefined) readHeld(connection, held)
    const changed = statements.map(([sql, params = []]) => connection.run(sql, ...(params as readonly SqlValue[])))
    const { value, ...head } = step
    const text = JSON.stringify(head)
    const body = statements.length > 0 ? JSON.stringify(changed) : (value ?? '')
    putPayload(connection, held.id, (owned?.seq ?? inputSeq) + 1, step.state, text, body)
    return changed
  },

  patch(connection: Connection, { held, patch }: { held: Held; patch: RunPatch }): void {
    write(connection, readHeld(connection, held), patch)
  },

  suspend(connection: Connection, { held, suspension }: { held: Held; suspension: Suspension }): void {
    write(connection, readHeld(connection, held), { ...suspension, owner: undefined })
  },

  finish(
    connection: Connection,
    {
      held,
      status,
      reason,
      outcome,
      updatedAt,
      settled,
    }: {
      held: Held
      status: RunStatus
      reason: string | undefined
      outcome: Outcome
      updatedAt: number
      settled: boolean
    },
  ): void {
    write(connection, readHeld(connection, held), {
      status,
      reason,
      updatedAt,
      owner: undefined,
      wakeAt: undefined,
      settled,
    })
    const { body, ...head } = outcome
    putPayload(connection, held.id, outcomeSeq, 'outcome', JSON.stringify(head), body)
  },

  take(
    connection: Connection,
    {
      id,
      fence,
      owner,
      recovery,
      updatedAt,
    }: { id: string; fence: number; owner: string; recovery: boolean; updatedAt: number },
  ): RunRecord {
    const run = read(connection, id)
    if (run.fence !== fence || !(run.status === 'running' || run.status === 'queued' || run.status === 'waiting'))
      connection.refuse('lease_lost')
    return write(connection, run, {
      status: 'running',
      owner,
      fence: fence + 1,
      recoveries: run.recoveries + (recovery ? 1 : 0),
      wakeAt: undefined,
      updatedAt,
    })
  },

  mark(
    connection: Connection,
    { id, mark, updatedAt }: { id: string; mark: 'cancel' | 'settled' | 'requeue'; updatedAt: number },
  ): void {
    const run = read(connection, id)
    const over =
      run.status === 'completed' || run.status === 'failed' || run.status === 'cancelled' || run.status === 'dead'
    if (mark === 'settled') write(connection, run, { settled: true })
    else if (mark === 'cancel') {
      if (over) connection.refuse('already_finished')
      write(connection, run, {
        cancelRequested: true,
        updatedAt,
        ...(run.status === 'running' ? {} : { status: 'queued', wakeAt: undefined }),
      })
    } else {
      if (run.status !== 'failed' && run.status !== 'dead' && run.status !== 'parked' && run.status !== 'waiting')
        connection.refuse('not_resumable')
      connection.run(`DELETE FROM gw_run_payload WHERE run = ? AND seq = ${outcomeSeq}`, id)
      write(connection, run, {
        status: 'queued',
        reason: undefined,
        wakeAt: undefined,
        attempt: 1,
        recoveries: 0,
        cancelRequested: false,
        updatedAt,
      })
    }
  },
}

const conditions: readonly (readonly [field: keyof RunQuery, sql: string])[] = [
  ['status', 'status = ?'],
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

/** Keeps runs in the embedded database; one process at a time. */
export function sqliteCheckpointStore({ db }: SqliteCheckpointStoreOptions): CheckpointStore {
  const named = (name: string, args: unknown) => ({ procedure: `${import.meta.url}#${name}`, args })
  const payload = (id: string, seq: number) => {
    const row = db.reader.get<PayloadRow>('SELECT * FROM gw_run_payload WHERE run = ? AND seq = ?', id, seq)
    return row === undefined ? undefined : checked(row)
  }
  return {
    durable: true,
    shared: false,
    transactional: true,
    database: db,
    open: () => db.migrate('checkpoint', migrations),
    unit: () => db.unit(),

    accept: (run, input) => named('accept', { run, input }),
    keep: (held, step, statements = []) => named('keep', { held, step, statements }),
    patch: (held, patch) => named('patch', { held, patch }),
    suspend: (held, suspension) => named('suspend', { held, suspension }),
    finish: (held, status, reason, outcome, updatedAt, settled = true) =>
      named('finish', { held, status, reason, outcome, updatedAt, settled }),
    take: (id, fence, owner, recovery, updatedAt) => named('take', { id, fence, owner, recovery, updatedAt }),
    mark: (id, mark, updatedAt) => named('mark', { id, mark, updatedAt }),

    async get(id) {
      const row = db.reader.get<Row>(`${select} WHERE id = ?`, id)
      return row === undefined ? undefined : fromRow(row)
    },
    async input(id) {
      const row = payload(id, inputSeq)
      return row === undefined ? undefined : { ...JSON.parse(row.head), body: row.body }
    },
    async steps(id) {
      return db.reader
        .all<PayloadRow>(
          `SELECT * FROM gw_run_payload WHERE run = ? AND seq > ${inputSeq} AND seq < ${outcomeSeq} ORDER BY seq`,
          id,
        )
        .map((row) => ({ ...JSON.parse(checked(row).head), value: row.kind === 'kept' ? String(row.body) : undefined }))
    },
    async outcome(id) {
      const row = payload(id, outcomeSeq)
      return row === undefined ? undefined : { ...JSON.parse(row.head), body: row.body }
    },
    async list(query) {
      const where: string[] = []
      const params: SqlValue[] = []
      for (const [field, sql] of conditions) {
        const value = query[field]
        if (value === undefined) continue
        where.push(sql)
        params.push(value)
      }
      const filter = where.length === 0 ? '' : `WHERE ${where.join(' AND ')}`
      return db.reader.all<Row>(`${select} ${filter} ORDER BY id DESC LIMIT ?`, ...params, query.limit).map(fromRow)
    },
    async counts() {
      const counts = { queued: 0, running: 0, waiting: 0, parked: 0, completed: 0, failed: 0, cancelled: 0, dead: 0 }
      for (const { status, runs } of db.reader.all<{ status: RunStatus; runs: number }>('SELECT * FROM gw_run_count'))
        counts[status] = runs
      return counts
    },
    async unfinished(owner, limit, after = '') {
      return db.reader
        .all<Row>(
          `${select} WHERE status IN ('queued', 'waiting', 'running') AND id > ? AND (status <> 'running' OR owner <> ?) ORDER BY id LIMIT ?`,
          after,
          owner,
          limit,
        )
        .map(fromRow)
    },
    async unsettled(limit) {
      return db.reader
        .all<Row>(
          `${select} WHERE settled = 0 AND status IN ('completed', 'failed', 'cancelled', 'dead') ORDER BY id LIMIT ?`,
          limit,
        )
        .map(fromRow)
    },
  }
}
