import type { SqlValue, StoreDatabase } from '@gw/sqlite'
import type { RunStatus } from '../run-record.ts'
import type { CheckpointStore, Held, RunQuery } from '../store.ts'
import {
  inputOf,
  inputPayload,
  inputSeq,
  outcomeOf,
  outcomePayload,
  outcomeSeq,
  type PayloadRow,
  stepOf,
} from './payload-row.ts'
import { listingsOf, mergedListings, type OneListing } from './run-listing.ts'
import { endedBadly, fromRow, type RunRow, toRow } from './run-row.ts'
import {
  type AcceptArgs,
  type FinishArgs,
  flat,
  type KeepArgs,
  procedureOf,
  procedures,
  select,
} from './sqlite-procedures.ts'

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

const accept = procedureOf('accept')
const keep = procedureOf('keep')
const finish = procedureOf('finish')

/** Keeps runs in the embedded database; one process at a time. */
export function sqliteCheckpointStore({ db }: SqliteCheckpointStoreOptions): CheckpointStore {
  const named = (name: string, args: unknown) => ({ procedure: procedureOf(name), args })
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
