import type { Answer, PostgresTransaction, Procedure } from '@gw/postgres'
import { sql } from 'drizzle-orm'
import type { RunInput, RunRecord, RunStatus, StepRecord } from '../run-record.ts'
import type { Held, Past, Requeue, RunPatch, Suspension } from '../store.ts'
import { cancelled, patched, refusalFor, requeued, settledRun, signalled, suspended } from '../transitions.ts'
import type { KnownRuns } from './known-runs.ts'
import { inputRow, outcomeRow, stepOf, stepRow } from './payload-row.ts'
import { beat, claiming, leave } from './postgres-claim.ts'
import { collect, remove } from './postgres-collect.ts'
import { finishing } from './postgres-finish.ts'
import { json, payloadJson, payloadOf, payloadRecordset, putPayloads, type StoredPayload } from './postgres-payload.ts'
import { alone, type Beside, raw, rowOf, transition, type Work } from './postgres-rows.ts'
import { channel } from './postgres-schema.ts'

/** Prefixes every name of a procedure. */
export const prefix = 'checkpoint.'

const accepting = (
  known: KnownRuns,
): Procedure<{ readonly run: RunRecord; readonly input: RunInput; readonly past: Past }> => ({
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
    for (const { run } of batch) if (made.has(run.id)) known.see(run)
    return batch.map(({ run }) => (made.has(run.id) ? { result: undefined } : { refused: 'exists' }))
  },
})

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

const queued = 'queued'

/** The writes of a store by name. */
export function proceduresOf(known: KnownRuns): Readonly<Record<string, Procedure<never>>> {
  const changing = <Args>(idOf: (args: Args) => string, work: Work<Args>, beside?: Beside<Args>): Procedure<Args> =>
    transition(idOf, work, known, beside)
  return {
    accept: accepting(known),
    keep,
    beat,
    leave,
    claim: claiming(known),
    collect,
    remove,
    patch: changing<{ readonly held: Held; readonly patch: RunPatch }>(
      ({ held }) => held.id,
      (run, { held, patch }) => ({ transition: patched(run, held, patch) }),
    ),
    suspend: changing<{ readonly held: Held; readonly suspension: Suspension }>(
      ({ held }) => held.id,
      (run, { held, suspension }) => {
        const after = suspended(run, held, suspension)
        if (typeof after === 'string') return { transition: after }
        return { transition: after, result: after.status, ...(after.status === 'queued' ? { news: queued } : {}) }
      },
    ),
    finish: finishing(known),
    cancel: changing<{ readonly id: string; readonly updatedAt: number }>(
      ({ id }) => id,
      (run, { id, updatedAt }) => {
        const after = cancelled(run, updatedAt)
        if (typeof after === 'string') return { transition: after }
        return { transition: after, result: after, news: after.status === 'queued' ? queued : `cancel:${id}` }
      },
    ),
    signal: changing<{
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
    requeue: changing<{ readonly requeue: Requeue }>(
      ({ requeue }) => requeue.id,
      (run, { requeue }) => ({ transition: requeued(run, requeue), news: queued }),
      (tx, all) =>
        amend(
          tx,
          all.map(({ requeue }) => requeue),
        ),
    ),
    settle: changing<{ readonly id: string }>(
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
}
