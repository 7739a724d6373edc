import type { CheckpointManager, RunRecord } from '@gw/checkpoint'
import { AdminProblem } from './problems.ts'
import { type RequestFilter, storeQuery } from './request-shapes.ts'

/** A page of what a filter shows. */
export interface Found {
  readonly runs: readonly RunRecord[]
  /** Where to go on; absent at the end. A page may be short of `limit`, or empty, and still have one. */
  readonly cursor: string | undefined
}

/** Finds one request by its id; throws the problem that there is none. */
export function foundIn(checkpoints: CheckpointManager): (id: string) => Promise<RunRecord> {
  return async (id) => {
    const run = await checkpoints.get(id)
    if (run === undefined) throw new AdminProblem(404, 'not_found', 'There is no such request')
    return run
  }
}

const scannedAtMost = 10_000
const batch = 500

/**
 * Finds requests, newest first. The store answers every part of the filter but `text`, for which at most 10,000 requests a page are looked
 * through.
 */
export async function findRequests(
  checkpoints: CheckpointManager,
  filter: RequestFilter,
  { cursor, limit }: { readonly cursor?: string | undefined; readonly limit: number },
): Promise<Found> {
  const query = storeQuery(filter)
  const text = filter.text?.toLowerCase()
  if (text === undefined) return checkpoints.list({ ...query, ...(cursor === undefined ? {} : { cursor }), limit })
  const runs: RunRecord[] = []
  let at = cursor
  for (let scanned = 0; scanned < scannedAtMost; ) {
    const page = await checkpoints.list({ ...query, ...(at === undefined ? {} : { cursor: at }), limit: batch })
    for (const run of page.runs) {
      at = run.id
      if (!mentions(run, text)) continue
      runs.push(run)
      if (runs.length === limit) return { runs, cursor: at }
    }
    if (page.cursor === undefined) return { runs, cursor: undefined }
    scanned += page.runs.length
  }
  return { runs, cursor: at }
}

function mentions({ id, requestId, operation, route, principal, reason, stage }: RunRecord, text: string): boolean {
  return [id, requestId, operation, route, principal, reason, stage].some((part) => part?.toLowerCase().includes(text))
}
