import type { Answer, PostgresTransaction, Procedure } from '@gw/postgres'
import { sql } from 'drizzle-orm'
import type { RunStatus } from '../run-record.ts'
import { removable } from '../transitions.ts'
import { json } from './postgres-payload.ts'
import { alone, count, counted, lockRuns } from './postgres-rows.ts'

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

export const collect: Procedure<{ readonly now: number; readonly limit: number }> = {
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

export const remove: Procedure<{ readonly runs: readonly { readonly id: string; readonly revision: number }[] }> = {
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
