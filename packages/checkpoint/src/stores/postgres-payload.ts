import { type SQL, sql } from 'drizzle-orm'
import { crcOf } from '../crc32.ts'
import { bytesOf, hexOf } from './hex.ts'
import type { PayloadRow } from './payload-row.ts'

/** A row of `gw_run_payload` as PostgreSQL gives it. */
export interface StoredPayload {
  readonly run: string
  readonly seq: number | string
  readonly kind: PayloadRow['kind']
  readonly head: string
  readonly body: string | null
  readonly bytes: Uint8Array | null
  readonly crc: number | string
}

/** The payload of a stored row. Its number is given by the database, so the CRC runs without it. */
export function payloadOf({ run, kind, head, body, bytes, crc }: StoredPayload): PayloadRow {
  return { run, seq: 0, kind, head, body: body ?? bytesOf(bytes!), crc: Number(crc) }
}

/** Rows as one parameter. */
export function json(rows: readonly unknown[]): SQL {
  return sql`${JSON.stringify(rows)}::text::json`
}

/** A payload as an element of such a parameter. */
export function payloadJson({ run, kind, head, body }: PayloadRow): Readonly<Record<string, string | number>> {
  const crc = crcOf([run, 0, kind, head, body])
  return typeof body === 'string' ? { run, kind, head, body, crc } : { run, kind, head, bytes: hexOf(body), crc }
}

/** Its columns. */
export const payloadRecordset: SQL = sql.raw(
  'run text, kind text, head text, body text, bytes text, crc bigint, ord int',
)
/** Adds payloads in their order. */
export const putPayloads = (rows: readonly PayloadRow[]): SQL =>
  sql`INSERT INTO gw_run_payload (run, kind, head, body, bytes, crc)
    SELECT p.run, p.kind, p.head, p.body, decode(p.bytes, 'hex'), p.crc
    FROM json_to_recordset(${json(rows.map((row, ord) => ({ ...payloadJson(row), ord })))}) AS p(${payloadRecordset}) ORDER BY p.ord`
