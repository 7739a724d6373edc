import { crcOf } from '../crc32.ts'
import { CheckpointError } from '../errors.ts'
import type { RunRecord, RunStatus } from '../run-record.ts'

/** The columns of a run's row, in the order in which the CRC runs over them, and which of them are numbers. */
const kinds = {
  id: 'text',
  request_id: 'text',
  operation: 'text',
  version: 'text',
  method: 'text',
  route: 'text',
  principal: 'text',
  subject: 'text',
  status: 'text',
  owner: 'text',
  fence: 'number',
  revision: 'number',
  attempt: 'number',
  recoveries: 'number',
  stage: 'text',
  progress: 'number',
  data: 'text',
  reason: 'text',
  wake_at: 'number',
  cancel_requested: 'number',
  signals: 'number',
  links: 'text',
  idempotency_seed: 'text',
  settled: 'number',
  expires_at: 'number',
  created_at: 'number',
  updated_at: 'number',
} as const

/** Whether a column is a number. */
export function isNumber(column: Column): boolean {
  return kinds[column] === 'number'
}

export type Column = keyof typeof kinds

/** Statuses of finished runs that are few, and looked for. */
export const endedBadly = ['failed', 'cancelled', 'dead'] as const
type Value = null | number | string

/** The columns of `gw_run` in order, without the CRC that follows them. */
export const columns: readonly Column[] = Object.keys(kinds) as Column[]

/** A row as a database gives it: whole numbers may come as text. */
export type RunRow = Readonly<Record<Column, Value>> & { readonly crc: number | string }

/** The values of a run's columns, in order. */
export function toRow(run: RunRecord): Value[] {
  return [
    run.id,
    run.requestId ?? null,
    run.operation,
    run.version,
    run.method,
    run.route,
    run.principal ?? null,
    run.subject ?? null,
    run.status,
    run.owner ?? null,
    run.fence,
    run.revision,
    run.attempt,
    run.recoveries,
    run.stage ?? null,
    run.progress ?? null,
    run.data ?? null,
    run.reason ?? null,
    run.wakeAt ?? null,
    run.cancelRequested ? 1 : 0,
    run.signals,
    JSON.stringify(run.links),
    run.idempotencySeed ?? null,
    run.settled ? 1 : 0,
    run.expiresAt ?? null,
    run.createdAt,
    run.updatedAt,
  ]
}

/** The run of a row; throws `corrupt_record` where the CRC does not fit. */
export function fromRow(row: RunRow): RunRecord {
  const values = columns.map((name) => {
    const value = row[name]
    return value !== null && kinds[name] === 'number' ? Number(value) : value
  })
  if (crcOf(values) !== Number(row.crc))
    throw new CheckpointError('corrupt_record', `The row of run ${row.id} is damaged`)
  return {
    id: String(row.id),
    requestId: text(row.request_id),
    operation: String(row.operation),
    version: String(row.version),
    method: String(row.method),
    route: String(row.route),
    principal: text(row.principal),
    subject: text(row.subject),
    status: row.status as RunStatus,
    owner: text(row.owner),
    fence: Number(row.fence),
    revision: Number(row.revision),
    attempt: Number(row.attempt),
    recoveries: Number(row.recoveries),
    stage: text(row.stage),
    progress: number(row.progress),
    data: text(row.data),
    reason: text(row.reason),
    wakeAt: number(row.wake_at),
    cancelRequested: Number(row.cancel_requested) === 1,
    signals: Number(row.signals),
    links: JSON.parse(String(row.links)),
    idempotencySeed: text(row.idempotency_seed),
    settled: Number(row.settled) === 1,
    expiresAt: number(row.expires_at),
    createdAt: Number(row.created_at),
    updatedAt: Number(row.updated_at),
  }
}

/** The runs of the rows that are whole: whoever reads a damaged one hears of it, and it must not keep the others from being taken up. */
export function wholeRuns(rows: readonly RunRow[]): RunRecord[] {
  return rows.flatMap((row) => {
    try {
      return [fromRow(row)]
    } catch {
      return []
    }
  })
}

function text(value: Value): string | undefined {
  return value === null ? undefined : String(value)
}

function number(value: Value): number | undefined {
  return value === null ? undefined : Number(value)
}
