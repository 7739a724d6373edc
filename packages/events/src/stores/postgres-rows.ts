import { type SQL, sql } from 'drizzle-orm'
import { fromHex } from '../bytes.ts'
import { genesis, type StoredEvent } from '../event.ts'
import type { Head } from '../store.ts'
import { eventOfRow, type RowContents } from './event-row.ts'

/** Columns in forms that come back the same whatever the client's parsers are. */
export const eventColumns: SQL =
  sql.raw(`position::text, xid::text, stream, version::float8, time::float8, id, type, actor, subject,
  request_id, correlation_id, causation_id, traceparent, occurred_at::float8, schema_version::float8, redaction::float8, data,
  encode(hash, 'hex') AS hash, crc::float8`)

export interface EventRow extends RowContents, Record<string, unknown> {
  readonly position: string
  readonly xid: string | null
  readonly hash: string
}

export function eventOf(row: EventRow): StoredEvent {
  return eventOfRow(row, { position: placeOf(row.xid, row.position), hash: fromHex(row.hash) })
}

/**
 * A position. Where writers do not wait for each other, the order is that of transactions first and of the sequence second, and
 * both make one number.
 */
export function placeOf(xid: string | null, position: string): bigint {
  return xid === null ? BigInt(position) : (BigInt(xid) << 64n) | BigInt(position)
}

/** The two parts of a position of `placeOf`. */
export function partsOf(place: bigint): { readonly xid: string; readonly position: string } {
  const position = place & (2n ** 64n - 1n)
  return { xid: String(place >> 64n), position: String(position > largest ? largest : position) }
}

/** The largest `bigint` of PostgreSQL. */
export const largest: bigint = 2n ** 63n - 1n

export interface HeadRow extends Record<string, unknown> {
  readonly position: string
  readonly xid: string | null
  readonly time: number
  readonly hash: string
}

export function headOf(row: HeadRow | undefined): Head {
  if (row === undefined) return { position: 0n, time: 0, hash: genesis }
  return { position: placeOf(row.xid, row.position), time: row.time, hash: fromHex(row.hash) }
}

const headColumns = "position::text, time::float8, encode(hash, 'hex') AS hash"

/** The last event of a strict log, or its base. */
export const strictHead: SQL =
  sql.raw(`(SELECT ${headColumns}, null AS xid FROM gw_event ORDER BY gw_event.position DESC LIMIT 1)
  UNION ALL (SELECT ${headColumns}, null AS xid FROM gw_event_base WHERE NOT EXISTS (SELECT 1 FROM gw_event))`)
export const baseHead: SQL = sql.raw(`SELECT ${headColumns}, null AS xid FROM gw_event_base`)
/** The last event that no transaction still open can come before. */
export const concurrentHead: SQL = sql.raw(`SELECT ${headColumns}, xid::text FROM gw_event
  WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY gw_event.xid DESC, gw_event.position DESC LIMIT 1`)
