import type { Answer, PostgresTransaction, Procedure } from '@gw/postgres'
import { type SQL, sql } from 'drizzle-orm'
import type { RunRecord } from '../run-record.ts'
import type { Claim, Claimed } from '../store.ts'
import { claimed } from '../transitions.ts'
import type { KnownRuns } from './known-runs.ts'
import { json } from './postgres-payload.ts'
import { raw, replaceRuns, tell } from './postgres-rows.ts'
import { type RunRow, wholeRuns } from './run-row.ts'

export const beat: Procedure<{ readonly owner: string; readonly leaseMs: number }> = {
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

export const leave: Procedure<{ readonly owner: string }> = {
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
  return wholeRuns(rows)
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

/** Takes runs for an owner. */
export const claiming = (known: KnownRuns): Procedure<{ readonly claim: Claim }> => ({
  locks: () => [{ name: 'checkpoint.claim', shared: false }],
  async run(tx, batch) {
    const answers: Answer[] = []
    for (const each of batch) {
      const result = await claimOnce(tx, each.claim)
      for (const run of result.runs) known.see(run)
      answers.push({ result })
    }
    return answers
  },
})
