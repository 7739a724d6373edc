import type { PostgresTransaction, Send } from '@gw/postgres'
import { type SQL, sql } from 'drizzle-orm'
import { hexOf } from '../bytes.ts'
import { crc32, frameOf, type NewEvent, type StoredEvent } from '../event.ts'
import { expectationHolds, placed, repetitionOf } from '../placement.ts'
import type { AppendResult, Expected } from '../store.ts'
import { type EventRow, eventColumns, eventOf, type HeadRow, headOf, placeOf, strictHead } from './postgres-rows.ts'

/** An append of a unit. */
export interface AppendArgs {
  readonly stream: string
  readonly events: readonly NewEvent[]
  readonly expected: Expected
  readonly onRepeat: 'answer' | 'refuse'
}

type Answer = { readonly result: readonly AppendResult[] } | { readonly refused: unknown }

function rowsOf<Row>(send: Send, statement: SQL): Promise<readonly Row[]> {
  return send(statement) as Promise<readonly unknown[]> as Promise<readonly Row[]>
}

/** What the batch meets: events under its ids, and where its streams are. Kept up while the batch is placed. */
class Surroundings {
  readonly known: Map<string, StoredEvent>
  readonly versions: Map<string, number>
  readonly orders: Map<string, bigint>
  readonly added: StoredEvent[] = []

  constructor(known: readonly EventRow[], streams: readonly StreamRow[]) {
    this.known = new Map(known.map((row) => [row.id, eventOf(row)]))
    this.versions = new Map(streams.map(({ stream, version }) => [stream, version]))
    this.orders = new Map(streams.map(({ stream, xid }) => [stream, BigInt(xid ?? 0)]))
  }

  /** Places an append, or says why not. */
  answer(
    { stream, events, expected, onRepeat }: AppendArgs,
    place: (event: NewEvent, version: number) => StoredEvent,
  ): Answer {
    const repeated = repetitionOf(
      events.map(({ id }) => this.known.get(id)),
      events,
      stream,
      onRepeat,
    )
    if (repeated !== undefined) return 'conflict' in repeated ? { refused: repeated } : { result: repeated }
    const actual = this.versions.get(stream) ?? -1
    if (!expectationHolds(expected, actual)) return { refused: { conflict: 'version', actual } }
    const result = events.map((event, i) => {
      const stored = place(event, actual + 1 + i)
      this.added.push(stored)
      this.known.set(stored.id, stored)
      return { position: stored.position, version: stored.version, time: stored.time }
    })
    this.versions.set(stream, actual + events.length)
    return { result }
  }
}

interface StreamRow extends Record<string, unknown> {
  readonly stream: string
  readonly version: number
  readonly xid: string | null
}

function knownRows(send: Send, batch: readonly AppendArgs[]): Promise<readonly EventRow[]> {
  const ids = batch.flatMap(({ events }) => events.filter(({ fresh }) => !fresh).map(({ id }) => id))
  if (ids.length === 0) return Promise.resolve([])
  return rowsOf<EventRow>(
    send,
    sql`SELECT ${eventColumns} FROM gw_event WHERE id IN (SELECT json_array_elements_text(${JSON.stringify(ids)}::json))`,
  )
}

function streamRows(send: Send, batch: readonly AppendArgs[]): Promise<readonly StreamRow[]> {
  const streams = JSON.stringify([...new Set(batch.map(({ stream }) => stream))])
  return rowsOf<StreamRow>(
    send,
    sql`SELECT s.stream, coalesce(e.version, r.version, -1)::float8 AS version, e.xid::text
      FROM json_array_elements_text(${streams}::json) AS s(stream)
      LEFT JOIN LATERAL (SELECT version, xid FROM gw_event WHERE gw_event.stream = s.stream ORDER BY version DESC LIMIT 1) e ON true
      LEFT JOIN gw_event_retired r ON r.stream = s.stream`,
  )
}

function insert(send: Send, events: readonly StoredEvent[], positions?: readonly string[]): void {
  if (events.length === 0) return
  const rows = events.map((e, i) => ({
    position: positions?.[i] ?? e.position.toString(),
    stream: e.stream,
    version: e.version,
    time: e.time,
    id: e.id,
    type: e.type,
    actor: e.actor,
    subject: e.subject,
    request_id: e.requestId,
    correlation_id: e.correlationId,
    causation_id: e.causationId,
    traceparent: e.traceparent,
    occurred_at: e.occurredAt,
    schema_version: e.schemaVersion,
    redaction: e.redaction,
    data: e.data,
    hash: hexOf(e.hash),
    crc: e.crc,
  }))
  const xid = positions === undefined ? sql.raw('null::xid8') : sql.raw('pg_current_xact_id()')
  // The COMMIT waits for neither: an append ends with its second round trip.
  void send(sql`INSERT INTO gw_event
      SELECT position, ${xid}, stream, version, time, id, type, actor, subject, request_id, correlation_id, causation_id,
        traceparent, occurred_at, schema_version, redaction, data, decode(hash, 'hex'), crc
      FROM json_to_recordset(${JSON.stringify(rows)}::json) AS e(position bigint, stream text, version bigint, time bigint, id text,
        type text, actor text, subject text, request_id text, correlation_id text, causation_id text, traceparent text,
        occurred_at bigint, schema_version integer, redaction integer, data text, hash text, crc bigint)`)
  // Inside the transaction: it is delivered when the events can be read, and not at all when they are rolled back.
  void send(notify)
}

/** The channel on which listeners are woken. */
export const channel = 'gw_event'
const notify = sql.raw(`SELECT pg_notify('${channel}', '')`)
/** Held to the end of the transaction, so that the order of commits is the order of positions. */
const lockLog = sql.raw("SELECT pg_advisory_xact_lock(hashtextextended('gw_event', 0))")
const clock = sql.raw('SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now')

/**
 * Appends one behind the other: the lock is the first statement, and each statement behind it sees what was committed by the time it
 * has the lock. Position, time and hash follow from that, once a batch.
 */
export async function appendStrict(
  _tx: PostgresTransaction,
  batch: readonly AppendArgs[],
  send: Send,
): Promise<readonly Answer[]> {
  const [, heads, [time], known, streams] = await Promise.all([
    send(lockLog),
    rowsOf<HeadRow>(send, strictHead),
    rowsOf<{ readonly now: number }>(send, clock),
    knownRows(send, batch),
    streamRows(send, batch),
  ])
  const now = time!.now
  const around = new Surroundings(known, streams)
  let head = headOf(heads[0])
  const answers = batch.map((append) =>
    around.answer(append, (event, version) => {
      const stored = placed(event, { stream: append.stream, version, now }, head)
      head = stored
      return stored
    }),
  )
  if (!answers.some((answer) => 'refused' in answer)) insert(send, around.added)
  return answers
}

/**
 * Appends beside others: only writers of the same stream wait for each other. The order of readers is that of transaction
 * numbers, so an append is refused where this transaction got its number before that of the stream's last event.
 */
export async function appendConcurrent(
  _tx: PostgresTransaction,
  batch: readonly AppendArgs[],
  send: Send,
): Promise<readonly Answer[]> {
  const streams = JSON.stringify([...new Set(batch.map(({ stream }) => stream))].sort())
  const count = batch.reduce((sum, { events }) => sum + events.length, 0)
  const locked = send(sql`SELECT pg_advisory_xact_lock(hashtextextended('gw_event ' || stream, 0))
    FROM json_array_elements_text(${streams}::json) AS s(stream)`)
  const [, rows, [time], known, [own], positions] = await Promise.all([
    locked,
    streamRows(send, batch),
    rowsOf<{ readonly now: number }>(send, clock),
    knownRows(send, batch),
    rowsOf<{ readonly xid: string }>(send, sql.raw('SELECT pg_current_xact_id()::text AS xid')),
    rowsOf<{ readonly position: string }>(
      send,
      sql`SELECT nextval('gw_event_position')::text AS position FROM generate_series(1, ${count}::int)`,
    ),
  ])
  const { xid } = own!
  const around = new Surroundings(known, rows)
  let next = 0
  const answers = batch.map((append): Answer => {
    if ((around.orders.get(append.stream) ?? 0n) > BigInt(xid)) return { refused: { conflict: 'order' } }
    return around.answer(append, (event, version) => {
      const { fresh: _, ...kept } = event
      const framed = { ...kept, stream: append.stream, version, time: time!.now }
      const position = placeOf(xid, positions[next++]!.position)
      const hash = new Uint8Array()
      return { ...framed, position, hash, crc: crc32(frameOf({ ...framed, position }), hash) }
    })
  })
  if (!answers.some((answer) => 'refused' in answer))
    insert(
      send,
      around.added,
      positions.slice(0, next).map(({ position }) => position),
    )
  return answers
}
