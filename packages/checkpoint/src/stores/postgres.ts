import type { PostgresDatabase } from '@gw/postgres'
import { type SQL, sql } from 'drizzle-orm'
import { CheckpointError } from '../errors.ts'
import type { RunRecord, RunStatus, StepRecord } from '../run-record.ts'
import type { CheckpointStore, Held, Kept, StoreNews } from '../store.ts'
import { KnownRuns } from './known-runs.ts'
import { inputOf, outcomeOf, stepOf } from './payload-row.ts'
import { payloadOf, type StoredPayload } from './postgres-payload.ts'
import { prefix, proceduresOf } from './postgres-procedures.ts'
import { channel, migrations, selected } from './postgres-schema.ts'
import { listingsOf, mergedListings, type OneListing } from './run-listing.ts'
import { fromRow, type RunRow } from './run-row.ts'

/** What a PostgreSQL store is made on. */
export interface PostgresCheckpointStoreOptions {
  /** A database of `@gw/postgres`; whoever made it closes it. */
  readonly db: PostgresDatabase
}

const columns = sql.raw(selected)
const conflicts: ReadonlySet<unknown> = new Set(['40001', '40P01'])
/** The connection, or the server behind it, went away: SQLSTATE classes 08 and 57P, and what postgres.js and sockets say. */
const gone = /^(?:08...|57P0.|CONNECT.*|E[A-Z]{3,})$/
const maxTransactions = 5

/** Keeps runs in PostgreSQL, for any number of processes. `run.transaction` gets drizzle's transaction. */
export function postgresCheckpointStore({ db }: PostgresCheckpointStoreOptions): CheckpointStore {
  const known = new KnownRuns()
  for (const [name, procedure] of Object.entries(proceduresOf(known))) db.define(prefix + name, procedure)
  const named = (name: string, args: unknown) => ({ procedure: prefix + name, args })
  const runs = async (rest: SQL): Promise<RunRecord[]> =>
    (await db.query<RunRow & Record<string, unknown>>(sql`SELECT ${columns} FROM gw_run r ${rest}`)).map(fromRow)
  const payloads = async (id: string, kinds: SQL) =>
    (
      await db.query<StoredPayload & Record<string, unknown>>(
        sql`SELECT * FROM gw_run_payload WHERE run = ${id} AND ${kinds} ORDER BY seq`,
      )
    ).map(payloadOf)

  return {
    durable: true,
    shared: true,
    transactional: true,
    database: db,
    open: () => db.migrate('checkpoint', migrations),
    unit: () => db.unit(),

    accept: (run, input, past = {}) => named('accept', { run, input, past }),
    keep: (held, steps, statements = []) => {
      if (statements.length > 0) throw new TypeError('Expected no statements; use `transact`')
      return named('keep', { held, steps })
    },
    patch: (held, patch) => named('patch', { held, patch }),
    suspend: (held, suspension) => named('suspend', { held, suspension }),
    finish: (held, ending) => named('finish', { held, ending }),
    beat: (owner, leaseMs) => named('beat', { owner, leaseMs }),
    leave: (owner) => named('leave', { owner }),
    claim: (claim) => named('claim', { claim }),
    cancel: (id, updatedAt) => named('cancel', { id, updatedAt }),
    signal: (id, name, value, updatedAt) => named('signal', { id, name, value, updatedAt }),
    requeue: (requeue) => named('requeue', { requeue }),
    settle: (id) => named('settle', { id }),
    collect: (now, limit) => named('collect', { now, limit }),
    remove: (gone) => named('remove', { runs: gone }),
    watch: (id) => named('watch', { id }),

    async get(id) {
      return (await runs(sql`WHERE r.id = ${id}`))[0]
    },
    async input(id) {
      const [row] = await payloads(id, sql`kind = 'input'`)
      return row === undefined ? undefined : inputOf(row)
    },
    async steps(id) {
      return (await payloads(id, sql`kind NOT IN ('input', 'outcome')`)).map(stepOf)
    },
    async outcome(id) {
      const [row] = await payloads(id, sql`kind = 'outcome'`)
      return row === undefined ? undefined : outcomeOf(row)
    },
    async list(query) {
      const lists = listingsOf(query).map((one) => runs(sql`${filterOf(one)} ORDER BY r.id DESC LIMIT ${one.limit}`))
      return mergedListings(await Promise.all(lists), query.limit)
    },
    async counts() {
      const counts = { queued: 0, running: 0, waiting: 0, parked: 0, completed: 0, failed: 0, cancelled: 0, dead: 0 }
      const rows = await db.query<{ status: RunStatus; runs: string }>(
        sql`SELECT status, sum(runs) AS runs FROM gw_run_count GROUP BY status`,
      )
      for (const row of rows) counts[row.status] = Number(row.runs)
      return counts
    },
    async held(owner) {
      const rows = await db.query<{ id: string; fence: string }>(
        sql`SELECT id, fence FROM gw_run WHERE status = 'running' AND owner = ${owner} ORDER BY id`,
      )
      return rows.map(({ id, fence }) => ({ id, fence: Number(fence) }))
    },
    async owners() {
      const rows = await db.query<{ owner: string; remaining: number }>(
        sql`SELECT owner, (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::float8 AS remaining FROM gw_run_node ORDER BY owner`,
      )
      return rows.map(({ owner, remaining }) => ({ owner, leaseRemainingMs: Math.round(Number(remaining)) }))
    },
    unsettled: (limit) =>
      runs(
        sql`WHERE r.settled = 0 AND r.status IN ('completed', 'failed', 'cancelled', 'dead') ORDER BY r.id LIMIT ${limit}`,
      ),

    async transact(held, work) {
      let thrown: unknown
      const watched = (transaction: unknown) =>
        work(transaction).catch((error: unknown) => {
          thrown = error
          throw error
        })
      for (let n = 1; ; n++) {
        try {
          return await transactOnce(db, held, watched)
        } catch (error) {
          // Codes like a connection's come from files and other servers too.
          if (error === thrown && !isQueryError(error)) throw error
          const state = sqlState(error)
          if (typeof state === 'string' && gone.test(state))
            throw new CheckpointError('storage_unknown', 'The connection of the transaction was lost', { cause: error })
          if (n >= maxTransactions || !conflicts.has(state)) throw error
        }
      }
    },
    listen: (listener) =>
      db.listen(channel, (text) => {
        const [kind, id] = text.split(':', 2) as [StoreNews['kind'], string | undefined]
        if (kind === 'queued') listener({ kind })
        else if (id !== undefined) listener({ kind, id })
      }),
  }
}

function transactOnce(
  db: PostgresDatabase,
  held: Held,
  work: (transaction: unknown) => Promise<StepRecord>,
): Promise<Kept> {
  return db.transaction(async (tx) => {
    const step = await work(tx)
    const unit = db.unitIn(tx)
    let kept: Kept | undefined
    unit.add({ procedure: `${prefix}keep`, args: { held, steps: [step] } }, (result) => {
      kept = result as Kept
    })
    await unit.commit()
    return kept!
  })
}

/** Whether a statement of the transaction failed, or what wraps that. */
function isQueryError(error: unknown): boolean {
  return error instanceof Error && ('query' in error || isQueryError(error.cause))
}

/** The code of the innermost error: serialization failure and deadlock are worth another try. */
function sqlState(error: unknown): unknown {
  let root = error
  while (root instanceof Error && root.cause instanceof Error) root = root.cause
  return root instanceof Error && 'code' in root ? root.code : undefined
}

function filterOf(query: OneListing): SQL {
  const { status, operation, principal, requestId, stage, createdFrom, createdTo, updatedFrom, updatedTo, before } =
    query
  const where: SQL[] = []
  // A parameter would hide from the planner which partial index it may read.
  if (status !== undefined) where.push(sql`r.status = ${sql.raw(`'${status}'`)}`)
  if (operation !== undefined) where.push(sql`r.operation = ${operation}`)
  if (principal !== undefined) where.push(sql`r.principal = ${principal}`)
  if (requestId !== undefined) where.push(sql`r.request_id = ${requestId}`)
  if (stage !== undefined) where.push(sql`r.stage = ${stage}`)
  if (createdFrom !== undefined) where.push(sql`r.created_at >= ${createdFrom}`)
  if (createdTo !== undefined) where.push(sql`r.created_at < ${createdTo}`)
  if (updatedFrom !== undefined) where.push(sql`r.updated_at >= ${updatedFrom}`)
  if (updatedTo !== undefined) where.push(sql`r.updated_at < ${updatedTo}`)
  if (before !== undefined) where.push(sql`r.id < ${before}`)
  return where.length === 0 ? sql`` : sql`WHERE ${sql.join(where, sql` AND `)}`
}
