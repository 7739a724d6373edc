import { type RunRecord, type RunStatus, statuses } from '../run-record.ts'
import type { RunQuery } from '../store.ts'

/** A query as one reading of an index answers it: newest first, of one status if of any. */
export type OneListing = Omit<RunQuery, 'status'> & { readonly status: RunStatus | undefined }

/**
 * The readings whose results together hold the query's. All statuses but `completed` are few and have an index each, so that their
 * newest runs are found without going over the many that completed.
 */
export function listingsOf({ status, ...query }: RunQuery): readonly OneListing[] {
  if (status === undefined) return [{ ...query, status }]
  const wanted = typeof status === 'string' ? [status] : [...new Set(status)]
  // What is put into a statement's text must be one of the names.
  return wanted.filter((each) => statuses.has(each)).map((each) => ({ ...query, status: each }))
}

/** The newest of all, newest first. */
export function mergedListings(lists: readonly (readonly RunRecord[])[], limit: number): RunRecord[] {
  if (lists.length === 1) return [...lists[0]!]
  return lists
    .flat()
    .sort((a, b) => (a.id < b.id ? 1 : -1))
    .slice(0, limit)
}
