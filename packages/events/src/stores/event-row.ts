import type { StoredEvent } from '../event.ts'

/** What the tables of events have in common, by the names of their columns. */
export interface RowContents {
  readonly stream: string
  readonly version: number
  readonly time: number
  readonly id: string
  readonly type: string
  readonly actor: string | null
  readonly subject: string | null
  readonly request_id: string | null
  readonly correlation_id: string | null
  readonly causation_id: string | null
  readonly traceparent: string | null
  readonly occurred_at: number | null
  readonly schema_version: number
  readonly redaction: number
  readonly data: string
  readonly crc: number
}

/** The event of a row, with what each table has in a form of its own. */
export function eventOfRow(row: RowContents, own: Pick<StoredEvent, 'position' | 'hash'>): StoredEvent {
  return {
    position: own.position,
    stream: row.stream,
    version: row.version,
    time: row.time,
    id: row.id,
    type: row.type,
    actor: row.actor,
    subject: row.subject,
    requestId: row.request_id,
    correlationId: row.correlation_id,
    causationId: row.causation_id,
    traceparent: row.traceparent,
    occurredAt: row.occurred_at,
    schemaVersion: row.schema_version,
    redaction: row.redaction,
    data: row.data,
    hash: own.hash,
    crc: row.crc,
  }
}
