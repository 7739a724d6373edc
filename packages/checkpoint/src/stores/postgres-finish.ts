import type { Answer, PostgresTransaction, Procedure } from '@gw/postgres'
import { sql } from 'drizzle-orm'
import { crcOf } from '../crc32.ts'
import type { RunRecord } from '../run-record.ts'
import type { Ending, Held } from '../store.ts'
import { ended } from '../transitions.ts'
import type { KnownRuns } from './known-runs.ts'
import { outcomeRow } from './payload-row.ts'
import { json, payloadJson, payloadRecordset, putPayloads } from './postgres-payload.ts'
import { alone, transition } from './postgres-rows.ts'
import { channel } from './postgres-schema.ts'
import { toRow } from './run-row.ts'

interface Finish {
  readonly held: Held
  readonly ending: Ending
}

interface Guess {
  readonly finish: Finish
  readonly before: RunRecord
  readonly after: RunRecord
}

/**
 * Ends runs. Those whose rows are as this process knows them take one statement, which is nearly always all of them; the others
 * are read under lock first.
 */
export function finishing(known: KnownRuns): Procedure<Finish> {
  const read = transition<Finish>(
    ({ held }) => held.id,
    (run, { held, ending }) => ({ transition: ended(run, held, ending) }),
    known,
    putOutcomes,
  )
  return {
    locks: ({ held }) => alone(held.id),
    async run(tx, batch, send) {
      const guesses = batch.flatMap((finish): Guess[] => {
        const before = known.get(finish.held.id)
        const after = ended(before, finish.held, finish.ending)
        return before === undefined || typeof after === 'string' ? [] : [{ finish, before, after }]
      })
      const done = guesses.length === 0 ? new Set<string>() : await finishKnown(tx, guesses)
      const rest = batch.filter(({ held }) => !done.has(held.id))
      const answers = rest.length === 0 ? [] : [...(await read.run(tx, rest, send))]
      return batch.map(({ held }): Answer => (done.has(held.id) ? { result: undefined } : answers.shift()!))
    },
  }
}

/** Ends the runs whose rows are as they were guessed to be; resolves to which. */
async function finishKnown(tx: PostgresTransaction, guesses: readonly Guess[]): Promise<ReadonlySet<string>> {
  const rows = guesses.map(({ before, after }) => ({
    id: after.id,
    fence: before.fence,
    before: crcOf(toRow(before)),
    revision: after.revision,
    status: after.status,
    reason: after.reason,
    progress: after.progress,
    settled: after.settled ? 1 : 0,
    expires_at: after.expiresAt,
    updated_at: after.updatedAt,
    crc: crcOf(toRow(after)),
  }))
  const outcomes = guesses.map(({ finish }, ord) => ({
    ...payloadJson(outcomeRow(finish.held.id, finish.ending.outcome)),
    ord,
  }))
  const ids = await tx.execute<{ id: string }>(
    sql`WITH n AS MATERIALIZED (
      SELECT * FROM json_to_recordset(${json(rows)}) AS n(id text, fence bigint, before bigint, revision bigint, status text,
        reason text, progress double precision, settled bigint, expires_at bigint, updated_at bigint, crc bigint)
    ), held AS (
      SELECT r.id FROM n JOIN gw_run r ON r.id = n.id AND r.status = 'running' AND r.fence = n.fence
        AND r.revision = n.revision - 1 AND r.crc = n.before ORDER BY r.id FOR NO KEY UPDATE OF r
    ), done AS (
      UPDATE gw_run r SET status = n.status, owner = NULL, wake_at = NULL, reason = n.reason, progress = n.progress,
        settled = n.settled,
        expires_at = n.expires_at, updated_at = n.updated_at, revision = n.revision, crc = n.crc
      FROM n JOIN held h ON h.id = n.id WHERE r.id = n.id RETURNING r.id, r.status
    ), counted AS (
      INSERT INTO gw_run_count SELECT status, count(*) FROM done GROUP BY status
      UNION ALL SELECT 'running', -count(*) FROM done HAVING count(*) > 0
    ), put AS (
      INSERT INTO gw_run_payload (run, kind, head, body, bytes, crc)
      SELECT p.run, p.kind, p.head, p.body, decode(p.bytes, 'hex'), p.crc
      FROM json_to_recordset(${json(outcomes)}) AS p(${payloadRecordset}) JOIN done d ON d.id = p.run
    ), watched AS (
      DELETE FROM gw_run_watch w USING done d WHERE w.run = d.id RETURNING w.run
    ) SELECT id, (SELECT count(pg_notify(${channel}, 'finished:' || run)) FROM watched) AS told FROM done`,
  )
  return new Set(ids.map(({ id }) => id))
}

async function putOutcomes(tx: PostgresTransaction, finishes: readonly Finish[]): Promise<void> {
  const ids = finishes.map(({ held }) => held.id)
  // Whoever waits on another node has asked for news; nobody else pays for it.
  await tx.execute(
    sql`WITH put AS (${putPayloads(finishes.map(({ held, ending }) => outcomeRow(held.id, ending.outcome)))}),
      watched AS (DELETE FROM gw_run_watch WHERE run IN (SELECT json_array_elements_text(${json(ids)})) RETURNING run)
      SELECT pg_notify(${channel}, 'finished:' || run) FROM watched`,
  )
}
