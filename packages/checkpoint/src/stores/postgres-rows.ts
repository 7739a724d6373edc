import type { Answer, Lock, PostgresTransaction, Procedure } from '@gw/postgres'
import { type SQL, sql } from 'drizzle-orm'
import { crcOf } from '../crc32.ts'
import type { RunRecord, RunStatus } from '../run-record.ts'
import type { Transition } from '../transitions.ts'
import type { KnownRuns } from './known-runs.ts'
import { json } from './postgres-payload.ts'
import { assigned, channel, given, inserted, recordset, selected } from './postgres-schema.ts'
import { columns, fromRow, type RunRow, toRow } from './run-row.ts'

/** Parts of statements. */
export const raw: Readonly<Record<'assigned' | 'given' | 'inserted' | 'recordset' | 'selected', SQL>> = {
  assigned: sql.raw(assigned),
  given: sql.raw(given),
  inserted: sql.raw(inserted),
  recordset: sql.raw(recordset),
  selected: sql.raw(selected),
}

/** A run as an element of a parameter of rows. */
export function rowOf(run: RunRecord): Record<string, unknown> {
  const values = toRow(run)
  const row: Record<string, unknown> = { crc: crcOf(values) }
  for (const [i, name] of columns.entries()) row[name] = values[i]
  return row
}

/** What a write to one run touches. */
export function alone(id: string): readonly Lock[] {
  return [{ name: `run:${id}`, shared: false }]
}

/** How many runs each status gained and lost, as rows that are added up when they are read. */
export async function count(tx: PostgresTransaction, changes: ReadonlyMap<RunStatus, number>): Promise<void> {
  const rows = [...changes].filter(([, runs]) => runs !== 0).map(([status, runs]) => ({ status, runs }))
  if (rows.length === 0) return
  await tx.execute(
    sql`INSERT INTO gw_run_count SELECT c.status, c.runs FROM json_to_recordset(${json(rows)}) AS c(status text, runs bigint)`,
  )
}

/** Counts one more change. */
export function counted(changes: Map<RunStatus, number>, status: RunStatus, by: number): void {
  changes.set(status, (changes.get(status) ?? 0) + by)
}

/** Tells listeners, each text once. */
export async function tell(tx: PostgresTransaction, payloads: readonly string[]): Promise<void> {
  if (payloads.length === 0) return
  await tx.execute(
    sql`SELECT pg_notify(${channel}, p) FROM json_array_elements_text(${json([...new Set(payloads)])}) AS t(p)`,
  )
}

/** Locks and reads rows in the order of their ids, so that two batches never wait for each other. */
export async function lockRuns(tx: PostgresTransaction, ids: readonly string[]): Promise<Map<string, RunRecord>> {
  const rows = await tx.execute<RunRow & Record<string, unknown>>(
    sql`SELECT ${raw.selected} FROM gw_run r WHERE r.id IN (SELECT json_array_elements_text(${json(ids)})) ORDER BY r.id FOR NO KEY UPDATE`,
  )
  return new Map(rows.map((row) => [String(row.id), fromRow(row)]))
}

/** Writes rows over those that were read. */
export async function replaceRuns(
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
export interface Change {
  readonly transition: Transition
  readonly result?: unknown
  readonly news?: string
}

/** Works out what becomes of a run. */
export type Work<Args> = (run: RunRecord | undefined, args: Args) => Change
/** Writes what lies beside the rows. */
export type Beside<Args> = (tx: PostgresTransaction, changed: readonly Args[]) => Promise<void>

/** A procedure that reads its runs under lock, works out what becomes of them, and writes them back. */
export function transition<Args>(
  idOf: (args: Args) => string,
  work: Work<Args>,
  known: KnownRuns,
  beside?: Beside<Args>,
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
      for (const { after } of changes) known.see(after)
      await beside?.(tx, done)
      await tell(tx, news)
      return answers
    },
  }
}
