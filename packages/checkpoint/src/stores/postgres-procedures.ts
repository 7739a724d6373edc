import type { Answer, Lock, PostgresTransaction, Procedure } from '@gw/postgres'
import { type SQL, sql } from 'drizzle-orm'
import { crcOf } from '../crc32.ts'
import type { RunInput, RunRecord, RunStatus, StepRecord } from '../run-record.ts'
import type { Claim, Claimed, Ending, Held, Past, Requeue, RunPatch, Suspension } from '../store.ts'
import {
  cancelled,
  claimed,
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
import { bytesOf, hexOf } from './hex.ts'
import { inputRow, outcomeRow, type PayloadRow, stepOf, stepRow } from './payload-row.ts'
import { assigned, channel, given, inserted, recordset, selected } from './postgres-schema.ts'
import { columns, fromRow, type RunRow, toRow } from './run-row.ts'

const raw = {
  assigned: sql.raw(assigned),
  given: sql.raw(given),
  inserted: sql.raw(inserted),
  recordset: sql.raw(recordset),
  selected: sql.raw(selected),
}

/** A row of `gw_run_payload` as PostgreSQL gives it. */
export interface StoredPayload {
  readonly run: string
  readonly seq: number | string
  readonly kind: PayloadRow['kind']
  readonly head: string
  readonly body: string | null
  readonly bytes: Uint8Array | null
  readonly crc: number | string
}

/** The payload of a stored row. Its number is given by the database, so the CRC runs without it. */
export function payloadOf({ run, kind, head, body, bytes, crc }: StoredPayload): PayloadRow {
  return { run, seq: 0, kind, head, body: body ?? bytesOf(bytes!), crc: Number(crc) }
}

function json(rows: readonly unknown[]): SQL {
  return sql`${JSON.stringify(rows)}::text::json`
}

function rowOf(run: RunRecord): Record<string, unknown> {
  const values = toRow(run)
  const row: Record<string, unknown> = { crc: crcOf(values) }
  for (const [i, name] of columns.entries()) row[name] = values[i]
  return row
}

function payloadJson({ run, kind, head, body }: PayloadRow) {
  const crc = crcOf([run, 0, kind, head, body])
  return typeof body === 'string' ? { run, kind, head, body, crc } : { run, kind, head, bytes: hexOf(body), crc }
}

const payloadRecordset = sql.raw('run text, kind text, head text, body text, bytes text, crc bigint, ord int')
const putPayloads = (rows: readonly PayloadRow[]): SQL =>
  sql`INSERT INTO gw_run_payload (run, kind, head, body, bytes, crc)
    SELECT p.run, p.kind, p.head, p.body, decode(p.bytes, 'hex'), p.crc
    FROM json_to_recordset(${json(rows.map((row, ord) => ({ ...payloadJson(row), ord })))}) AS p(${payloadRecordset}) ORDER BY p.ord`

function alone(id: string): readonly Lock[] {
  return [{ name: `run:${id}`, shared: false }]
}

/** How many runs each status gained and lost, as rows that are added up when they are read. */
async function count(tx: PostgresTransaction, changes: ReadonlyMap<RunStatus, number>): Promise<void> {
  const rows = [...changes].filter(([, runs]) => runs !== 0).map(([status, runs]) => ({ status, runs }))
  if (rows.length === 0) return
  await tx.execute(
    sql`INSERT INTO gw_run_count SELECT c.status, c.runs FROM json_to_recordset(${json(rows)}) AS c(status text, runs bigint)`,
  )
}

function counted(changes: Map<RunStatus, number>, status: RunStatus, by: number): void {
  changes.set(status, (changes.get(status) ?? 0) + by)
}

async function tell(tx: PostgresTransaction, payloads: readonly string[]): Promise<void> {
  if (payloads.length === 0) return
  await tx.execute(
    sql`SELECT pg_notify(${channel}, p) FROM json_array_elements_text(${json([...new Set(payloads)])}) AS t(p)`,
  )
}

/** Locks and reads rows in the order of their ids, so that two batches never wait for each other. */
async function lockRuns(tx: PostgresTransaction, ids: readonly string[]): Promise<Map<string, RunRecord>> {
  const rows = await tx.execute<RunRow & Record<string, unknown>>(
    sql`SELECT ${raw.selected} FROM gw_run r WHERE r.id IN (SELECT json_array_elements_text(${json(ids)})) ORDER BY r.id FOR NO KEY UPDATE`,
  )
  return new Map(rows.map((row) => [String(row.id), fromRow(row)]))
}

async function replaceRuns(
  tx: PostgresTransaction,
  changes: readonly { readonly before: RunRecord; readonly after: RunRecord }[],
): Promise<void> {
  if (changes.length === 0) return
  const counts = new Map<RunStatus, number>()
  for (const { before, after } of changes) {
    if (before.status === after.status) continue
    counted(counts, before.status, -1)
    counted(counts, after.status, 1)
  }
  await tx.execute(
    sql`UPDATE gw_run r SET ${raw.assigned} FROM json_to_recordset(${json(changes.map(({ after }) => rowOf(after)))}) AS n(${raw.recordset}) WHERE r.id = n.id`,
  )
  await count(tx, counts)
}

/** What one element of a batch does to its run, beside the row. */
interface Change {
  readonly transition: Transition
  readonly result?: unknown
  readonly news?: string
}

/** A procedure that reads its runs under lock, works out what becomes of them, and writes them back. */
function transition<Args>(
  idOf: (args: Args) => string,
  work: (run: RunRecord | undefined, args: Args) => Change,
  beside?: (tx: PostgresTransaction, changed: readonly Args[], runs: readonly RunRecord[]) => Promise<void>,
): Procedure<Args> {
  return {
    locks: (args) => alone(idOf(args)),
    async run(tx, batch) {
      const runs = await lockRuns(tx, batch.map(idOf))
      const changes: { readonly before: RunRecord; readonly after: RunRecord }[] = []
      const done: Args[] = []
      const news: string[] = []
      const answers = batch.map((args): Answer => {
        const before = runs.get(idOf(args))
        const change = work(before, args)
        if (typeof change.transition === 'string') return { refused: change.transition }
        changes.push({ before: before!, after: change.transition })
        done.push(args)
        if (change.news !== undefined) news.push(change.news)
        return { result: change.result }
      })
      // A batch with a refusal is rolled back and comes again without it.
      if (done.length < batch.length) return answers
      await replaceRuns(tx, changes)
      await beside?.(
        tx,
        done,
        changes.map(({ after }) => after),
      )
      await tell(tx, news)
      return answers
    },
  }
}

/** Prefixes every name of a procedure. */
export const prefix = 'checkpoint.'

const accept: Procedure<{ readonly run: RunRecord; readonly input: RunInput; readonly past: Past }> = {
  locks: ({ run }) => alone(run.id),
  oneStatement: true,
  async run(tx, batch) {
    const payloads = batch.flatMap(({ run, input, past: { steps = [], outcome } }) => [
      inputRow(run.id, input),
      ...steps.map((step) => stepRow(run.id, 0, step)),
      ...(outcome === undefined ? [] : [outcomeRow(run.id, outcome)]),
    ])
    const queued = batch.some(({ run }) => run.status === 'queued')
    const rows = await tx.execute<{ id: string }>(
      sql`WITH made AS (
        INSERT INTO gw_run (${raw.inserted}) SELECT ${raw.given} FROM json_to_recordset(${json(batch.map(({ run }) => rowOf(run)))}) AS n(${raw.recordset})
        ON CONFLICT (id) DO NOTHING RETURNING id, status
      ), counted AS (
        INSERT INTO gw_run_count SELECT status, count(*) FROM made GROUP BY status
      ), put AS (${putPayloads(payloads)}), told AS (
        SELECT pg_notify(${channel}, 'queued') WHERE ${queued}::boolean
      ) SELECT id, (SELECT count(*) FROM told) FROM made`,
    )
    const made = new Set(rows.map(({ id }) => id))
    return batch.map(({ run }) => (made.has(run.id) ? { result: undefined } : { refused: 'exists' }))
  },
}

const keep: Procedure<{ readonly held: Held; readonly steps: readonly StepRecord[] }> = {
  locks: ({ held }) => alone(held.id),
  oneStatement: true,
  async run(tx, batch) {
    const asked = batch.map(({ held: { id, fence } }, n) => ({ n, id, fence }))
    const payloads = batch.flatMap(({ held, steps }) => steps.map((step) => stepRow(held.id, 0, step)))
    // The share of the key holds a takeover off until this is committed, and lets everything else through.
    const rows = await tx.execute<{ n: number; held: boolean; cancelled: boolean; status: RunStatus; fence: number }>(
      sql`WITH asked AS (
        SELECT * FROM json_to_recordset(${json(asked)}) AS a(n int, id text, fence bigint)
      ), held AS (
        SELECT r.id, r.cancel_requested FROM asked a JOIN gw_run r ON r.id = a.id AND r.fence = a.fence AND r.status = 'running'
        FOR KEY SHARE OF r
      ), put AS (
        INSERT INTO gw_run_payload (run, kind, head, body, bytes, crc)
        SELECT p.run, p.kind, p.head, p.body, decode(p.bytes, 'hex'), p.crc
        FROM json_to_recordset(${json(payloads.map((row, ord) => ({ ...payloadJson(row), ord })))}) AS p(${payloadRecordset})
        JOIN held h ON h.id = p.run ORDER BY p.ord
      ) SELECT a.n, h.id IS NOT NULL AS held, coalesce(h.cancel_requested = 1, false) AS cancelled, r.status, r.fence
      FROM asked a LEFT JOIN held h ON h.id = a.id LEFT JOIN gw_run r ON r.id = a.id`,
    )
    const answers: Answer[] = new Array(batch.length)
    for (const { n, held, cancelled, status, fence } of rows) {
      const run = status === null ? undefined : ({ status, fence: Number(fence) } as RunRecord)
      // Taken between the two looks at the row: whatever the second one saw, it is not ours.
      answers[n] = held
        ? { result: { changed: [], cancelRequested: cancelled } }
        : { refused: refusalFor(run, batch[n]!.held) ?? 'lease_lost' }
    }
    return answers
  },
}

const beat: Procedure<{ readonly owner: string; readonly leaseMs: number }> = {
  locks: ({ owner }) => [{ name: `node:${owner}`, shared: false }],
  async run(tx, batch) {
    const answers: Answer[] = []
    for (const { owner, leaseMs } of batch) {
      const [before] = await tx.execute<{ alive: boolean }>(
        sql`SELECT expires_at > clock_timestamp() AS alive FROM gw_run_node WHERE owner = ${owner} FOR UPDATE`,
      )
      await tx.execute(
        sql`INSERT INTO gw_run_node VALUES (${owner}, clock_timestamp() + ${leaseMs}::float8 * interval '1 ms')
          ON CONFLICT (owner) DO UPDATE SET expires_at = excluded.expires_at`,
      )
      const asked = await tx.execute<{ id: string }>(
        sql`SELECT id FROM gw_run WHERE status = 'running' AND owner = ${owner} AND cancel_requested = 1`,
      )
      answers.push({ result: { lapsed: before?.alive !== true, cancelRequested: asked.map(({ id }) => id) } })
    }
    return answers
  },
}

const leave: Procedure<{ readonly owner: string }> = {
  locks: ({ owner }) => [{ name: `node:${owner}`, shared: false }],
  async run(tx, batch) {
    await tx.execute(
      sql`DELETE FROM gw_run_node WHERE owner IN (SELECT json_array_elements_text(${json(batch.map(({ owner }) => owner))}))`,
    )
    await tell(tx, ['queued'])
    return batch.map(() => ({ result: undefined }))
  },
}

/** Rows that a claim may take; those that another transaction has in hand are left to it. */
async function take(
  tx: PostgresTransaction,
  condition: SQL,
  order: SQL,
  { operations, limit }: Claim,
): Promise<RunRecord[]> {
  const rows = await tx.execute<RunRow & Record<string, unknown>>(
    sql`SELECT ${raw.selected} FROM gw_run r WHERE ${condition}
      AND (r.cancel_requested = 1 OR r.operation IN (SELECT json_array_elements_text(${json(operations)})))
      ORDER BY ${order} LIMIT ${limit} FOR UPDATE SKIP LOCKED`,
  )
  return rows.map(fromRow)
}

async function claimOnce(tx: PostgresTransaction, claim: Claim): Promise<Claimed> {
  const { owner, orphans, alone: only, limit, now } = claim
  const id = sql.raw('r.id')
  const found: RunRecord[] = []
  if (orphans.length > 0) {
    const mine = sql`r.status = 'running' AND r.owner = ${owner} AND EXISTS (SELECT FROM json_to_recordset(${json(orphans)}) AS o(id text, fence bigint)
      WHERE o.id = r.id AND o.fence = r.fence)`
    found.push(...(await take(tx, mine, id, claim)))
  }
  const dead = sql`r.status = 'running' AND r.owner <> ${owner}
    AND (${only}::boolean OR NOT EXISTS (SELECT FROM gw_run_node n WHERE n.owner = r.owner AND n.expires_at > clock_timestamp()))`
  found.push(...(await take(tx, dead, id, claim)))
  found.push(...(await take(tx, sql`r.status = 'queued'`, id, claim)))
  found.push(...(await take(tx, sql`r.status = 'waiting' AND r.wake_at <= ${now}`, sql.raw('r.wake_at'), claim)))
  const changes = found
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .slice(0, limit)
    .map((before) => ({ before, after: claimed(before, claim) }))
  await replaceRuns(tx, changes)
  const [next] = await tx.execute<{ at: number | string | null }>(
    sql`SELECT min(wake_at) AS at FROM gw_run WHERE status = 'waiting' AND wake_at > ${now}`,
  )
  const at = next?.at ?? null
  return { runs: changes.map(({ after }) => after), nextWakeAt: at === null ? undefined : Number(at) }
}

const claim: Procedure<{ readonly claim: Claim }> = {
  locks: () => [{ name: 'checkpoint.claim', shared: false }],
  async run(tx, batch) {
    const answers: Answer[] = []
    for (const each of batch) answers.push({ result: await claimOnce(tx, each.claim) })
    return answers
  },
}

async function erase(
  tx: PostgresTransaction,
  gone: readonly { readonly id: string; readonly status: RunStatus }[],
): Promise<void> {
  if (gone.length === 0) return
  await tx.execute(
    sql`DELETE FROM gw_run_payload WHERE run IN (SELECT json_array_elements_text(${json(gone.map(({ id }) => id))}))`,
  )
  const counts = new Map<RunStatus, number>()
  for (const { status } of gone) counted(counts, status, -1)
  await count(tx, counts)
}

const collect: Procedure<{ readonly now: number; readonly limit: number }> = {
  locks: () => [{ name: 'checkpoint.collect', shared: false }],
  async run(tx, batch) {
    const answers: Answer[] = []
    for (const { now, limit } of batch) {
      const gone = await tx.execute<{ id: string; status: RunStatus }>(
        sql`DELETE FROM gw_run WHERE id IN (SELECT id FROM gw_run WHERE expires_at <= ${now} AND settled = 1
          AND status IN ('completed', 'failed', 'cancelled', 'dead') ORDER BY expires_at LIMIT ${limit} FOR UPDATE SKIP LOCKED) RETURNING id, status`,
      )
      await erase(tx, gone)
      answers.push({ result: gone.length })
    }
    await tx.execute(
      sql`WITH gone AS (DELETE FROM gw_run_count RETURNING status, runs) INSERT INTO gw_run_count SELECT status, sum(runs) FROM gone GROUP BY status`,
    )
    await tx.execute(sql`DELETE FROM gw_run_node WHERE expires_at < clock_timestamp() - interval '1 day'`)
    await tx.execute(
      sql`DELETE FROM gw_run_watch w WHERE NOT EXISTS (SELECT FROM gw_run r WHERE r.id = w.run AND r.expires_at IS NULL)`,
    )
    return answers
  },
}

const remove: Procedure<{ readonly runs: readonly { readonly id: string; readonly revision: number }[] }> = {
  locks: ({ runs }) => runs.flatMap(({ id }) => alone(id)),
  async run(tx, batch) {
    const wanted = batch.flatMap(({ runs }) => runs)
    const runs = await lockRuns(
      tx,
      wanted.map(({ id }) => id),
    )
    const answers = batch.map(
      (each): Answer =>
        each.runs.every(({ id, revision }) => removable(runs.get(id), revision))
          ? { result: undefined }
          : { refused: 'stale' },
    )
    if (answers.some((answer) => 'refused' in answer)) return answers
    await tx.execute(
      sql`DELETE FROM gw_run WHERE id IN (SELECT json_array_elements_text(${json(wanted.map(({ id }) => id))}))`,
    )
    await erase(tx, [...runs.values()])
    return answers
  },
}

async function appendSignals(
  tx: PostgresTransaction,
  signals: readonly {
    readonly id: string
    readonly name: string
    readonly value: string | Uint8Array
    readonly updatedAt: number
  }[],
): Promise<void> {
  const ids = signals.map(({ id }) => id)
  const before = await tx.execute<StoredPayload & Record<string, unknown>>(
    sql`SELECT * FROM gw_run_payload WHERE kind = 'signal' AND run IN (SELECT json_array_elements_text(${json(ids)}))`,
  )
  const there = before.map((row) => ({ run: row.run, name: stepOf(payloadOf(row)).name }))
  const rows = signals.map(({ id, name, value, updatedAt }) => {
    const occurrence = there.filter((each) => each.run === id && each.name === name).length + 1
    return stepRow(id, 0, {
      name,
      occurrence,
      state: 'signal',
      value,
      attempt: 1,
      startedAt: updatedAt,
      keptAt: updatedAt,
    })
  })
  await tx.execute(putPayloads(rows))
}

async function amend(tx: PostgresTransaction, requeues: readonly Requeue[]): Promise<void> {
  const ids = requeues.map(({ id }) => id)
  await tx.execute(
    sql`DELETE FROM gw_run_payload WHERE kind = 'outcome' AND run IN (SELECT json_array_elements_text(${json(ids)}))`,
  )
  const dropped = requeues.flatMap(({ id, drop }) => drop.map((each) => ({ run: id, ...each })))
  if (dropped.length > 0)
    await tx.execute(
      sql`DELETE FROM gw_run_payload p USING json_to_recordset(${json(dropped)}) AS d(run text, name text, occurrence int, state text)
        WHERE p.run = d.run AND p.kind = d.state AND p.head::json ->> 'name' = d.name AND (p.head::json ->> 'occurrence')::int = d.occurrence`,
    )
  const kept = requeues.flatMap(({ id, keep: steps }) => steps.map((step) => stepRow(id, 0, step)))
  if (kept.length > 0) await tx.execute(putPayloads(kept))
}

async function putOutcomes(
  tx: PostgresTransaction,
  finishes: readonly { readonly held: Held; readonly ending: Ending }[],
): Promise<void> {
  const ids = finishes.map(({ held }) => held.id)
  // Whoever waits on another node has asked for news; nobody else pays for it.
  await tx.execute(
    sql`WITH put AS (${putPayloads(finishes.map(({ held, ending }) => outcomeRow(held.id, ending.outcome)))}),
      watched AS (DELETE FROM gw_run_watch WHERE run IN (SELECT json_array_elements_text(${json(ids)})) RETURNING run)
      SELECT pg_notify(${channel}, 'finished:' || run) FROM watched`,
  )
}

const queued = 'queued'

/** The writes of this store by name. */
export const procedures: Readonly<Record<string, Procedure<never>>> = {
  accept,
  keep,
  beat,
  leave,
  claim,
  collect,
  remove,
  patch: transition<{ readonly held: Held; readonly patch: RunPatch }>(
    ({ held }) => held.id,
    (run, { held, patch }) => ({ transition: patched(run, held, patch) }),
  ),
  suspend: transition<{ readonly held: Held; readonly suspension: Suspension }>(
    ({ held }) => held.id,
    (run, { held, suspension }) => {
      const after = suspended(run, held, suspension)
      if (typeof after === 'string') return { transition: after }
      return { transition: after, result: after.status, ...(after.status === 'queued' ? { news: queued } : {}) }
    },
  ),
  finish: transition<{ readonly held: Held; readonly ending: Ending }>(
    ({ held }) => held.id,
    (run, { held, ending }) => ({ transition: ended(run, held, ending) }),
    putOutcomes,
  ),
  cancel: transition<{ readonly id: string; readonly updatedAt: number }>(
    ({ id }) => id,
    (run, { id, updatedAt }) => {
      const after = cancelled(run, updatedAt)
      if (typeof after === 'string') return { transition: after }
      return { transition: after, result: after, news: after.status === 'queued' ? queued : `cancel:${id}` }
    },
  ),
  signal: transition<{
    readonly id: string
    readonly name: string
    readonly value: string | Uint8Array
    readonly updatedAt: number
  }>(
    ({ id }) => id,
    (run, { id, updatedAt }) => {
      const after = signalled(run, updatedAt)
      if (typeof after === 'string') return { transition: after }
      return { transition: after, result: after, news: after.status === 'queued' ? queued : `signal:${id}` }
    },
    (tx, signals) => appendSignals(tx, signals),
  ),
  requeue: transition<{ readonly requeue: Requeue }>(
    ({ requeue }) => requeue.id,
    (run, { requeue }) => ({ transition: requeued(run, requeue), news: queued }),
    (tx, all) =>
      amend(
        tx,
        all.map(({ requeue }) => requeue),
      ),
  ),
  settle: transition<{ readonly id: string }>(
    ({ id }) => id,
    (run) => ({ transition: settledRun(run) }),
  ),
  watch: {
    locks: () => [],
    async run(tx: PostgresTransaction, batch: readonly { readonly id: string }[]) {
      await tx.execute(
        sql`INSERT INTO gw_run_watch SELECT json_array_elements_text(${json([...new Set(batch.map(({ id }) => id))])}) ON CONFLICT DO NOTHING`,
      )
      return batch.map(() => ({ result: undefined }))
    },
  },
}
