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

/** What an append needs of an open transaction. */
export interface AppendTransaction {
  execute(statement: SQL): PromiseLike<unknown>
}

type Answer = { readonly result: readonly AppendResult[] } | { readonly refused: unknown }

async function rowsOf<Row>(tx: AppendTransaction, statement: SQL): Promise<readonly Row[]> {
  return (await tx.execute(statement)) as readonly Row[]
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

function knownRows(tx: AppendTransaction, batch: readonly AppendArgs[]): Promise<readonly EventRow[]> {
  const ids = batch.flatMap(({ events }) => events.filter(({ fresh }) => !fresh).map(({ id }) => id))
  if (ids.length === 0) return Promise.resolve([])
  return rowsOf<EventRow>(
    tx,
    sql`SELECT ${eventColumns} FROM gw_event WHERE id IN (SELECT json_array_elements_text(${JSON.stringify(ids)}::json))`,
  )
}

function streamRows(tx: AppendTransaction, batch: readonly AppendArgs[]): Promise<readonly StreamRow[]> {
  const streams = JSON.stringify([...new Set(batch.map(({ stream }) => stream))])
  return rowsOf<StreamRow>(
    tx,
    sql`SELECT s.stream, coalesce(e.version, r.version, -1)::float8 AS version, e.xid::text
      FROM json_array_elements_text(${streams}::json) AS s(stream)
      LEFT JOIN LATERAL (SELECT version, xid FROM gw_event WHERE gw_event.stream = s.stream ORDER BY version DESC LIMIT 1) e ON true
      LEFT JOIN gw_event_retired r ON r.stream = s.stream`,
  )
}

async function insert(
  tx: AppendTransaction,
  events: readonly StoredEvent[],
  positions?: readonly string[],
): Promise<void> {
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
  await Promise.all([
    tx.execute(sql`INSERT INTO gw_event
      SELECT position, ${xid}, stream, version, time, id, type, actor, subject, request_id, correlation_id, causation_id,
        traceparent, occurred_at, schema_version, redaction, data, decode(hash, 'hex'), crc
      FROM json_to_recordset(${JSON.stringify(rows)}::json) AS e(position bigint, stream text, version bigint, time bigint, id text,
        type text, actor text, subject text, request_id text, correlation_id text, causation_id text, traceparent text,
        occurred_at bigint, schema_version integer, redaction integer, data text, hash text, crc bigint)`),
    // Inside the transaction: it is delivered when the events can be read, and not at all when they are rolled back.
    tx.execute(notify),
  ])
}

/** The channel on which listeners are woken. */
export const channel = 'gw_event'
const notify = sql.raw(`SELECT pg_notify('${channel}', '')`)
/** Held to the end of the transaction, so that the order of commits is the order of positions. */
const lockLog = sql.raw("SELECT pg_advisory_xact_lock(hashtextextended('gw_event', 0))")
const clock = sql.raw('SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now')

/**
 * Appends one behind the other: the lock is the first statement, so that what is read after it is what the last append has
 * committed. Position, time and hash follow from that, once a batch.
 */
export async function appendStrict(tx: AppendTransaction, batch: readonly AppendArgs[]): Promise<readonly Answer[]> {
  // Answered before anything else is sent: statements that are started together need not arrive in that order.
  await tx.execute(lockLog)
  const [heads, [time], known, streams] = await Promise.all([
    rowsOf<HeadRow>(tx, strictHead),
    rowsOf<{ readonly now: number }>(tx, clock),
    knownRows(tx, batch),
    streamRows(tx, batch),
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
  if (!answers.some((answer) => 'refused' in answer)) await insert(tx, around.added)
  return answers
}

/**
 * Appends beside others: only writers of the same stream wait for each other. The order of readers is that of transaction
 * numbers, so an append is refused where this transaction got its number before that of the stream's last event.
 */
export async function appendConcurrent(
  tx: AppendTransaction,
  batch: readonly AppendArgs[],
): Promise<readonly Answer[]> {
  const streams = JSON.stringify([...new Set(batch.map(({ stream }) => stream))].sort())
  const count = batch.reduce((sum, { events }) => sum + events.length, 0)
  await tx.execute(sql`SELECT pg_advisory_xact_lock(hashtextextended('gw_event ' || stream, 0))
    FROM json_array_elements_text(${streams}::json) AS s(stream)`)
  const [rows, [time], known, [own], positions] = await Promise.all([
    streamRows(tx, batch),
    rowsOf<{ readonly now: number }>(tx, clock),
    knownRows(tx, batch),
    rowsOf<{ readonly xid: string }>(tx, sql.raw('SELECT pg_current_xact_id()::text AS xid')),
    rowsOf<{ readonly position: string }>(
      tx,
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
    await insert(
      tx,
      around.added,
      positions.slice(0, next).map(({ position }) => position),
    )
  return answers
}
