import { type SQL, sql } from 'drizzle-orm'
import { hexOf } from '../bytes.ts'
import { crc32, frameOf, type NewEvent, type StoredEvent } from '../event.ts'
import { expectationHolds, placed, repetitionOf } from '../placement.ts'
import type { AppendResult, Expected } from '../store.ts'
import { type EventRow, eventOf, type HeadRow, headOf, placeOf } from './postgres-rows.ts'

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

/** What `gw_event_enter` answers. */
interface Entered {
  readonly head: HeadRow | null
  readonly now: number
  readonly xid: string | null
  readonly places: readonly string[]
  readonly known: readonly EventRow[]
  readonly streams: readonly StreamRow[]
}

/** Locks and reads in one round trip: what is read is what was committed before the locks were had. */
async function enter(tx: AppendTransaction, mode: 'strict' | 'concurrent', batch: readonly AppendArgs[]) {
  const streams = JSON.stringify([...new Set(batch.map(({ stream }) => stream))].sort())
  const ids = JSON.stringify(batch.flatMap(({ events }) => events.filter(({ fresh }) => !fresh).map(({ id }) => id)))
  const count = batch.reduce((sum, { events }) => sum + events.length, 0)
  const rows = await tx.execute(
    sql`SELECT gw_event_enter(${mode}, ${streams}::json, ${ids}::json, ${count}::int)::text AS entered`,
  )
  const [row] = rows as readonly [{ readonly entered: string }]
  return JSON.parse(row.entered) as Entered
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
  // The notification is of the transaction: it is delivered when the events can be read, and not when they are rolled back.
  await tx.execute(sql`WITH added AS (INSERT INTO gw_event
      SELECT position, ${xid}, stream, version, time, id, type, actor, subject, request_id, correlation_id, causation_id,
        traceparent, occurred_at, schema_version, redaction, data, decode(hash, 'hex'), crc
      FROM json_to_recordset(${JSON.stringify(rows)}::json) AS e(position bigint, stream text, version bigint, time bigint, id text,
        type text, actor text, subject text, request_id text, correlation_id text, causation_id text, traceparent text,
        occurred_at bigint, schema_version integer, redaction integer, data text, hash text, crc bigint))
    ${notify}`)
}

/** The channel on which listeners are woken. */
export const channel = 'gw_event'
const notify = sql.raw(`SELECT pg_notify('${channel}', '')`)

/**
 * Appends one behind the other: the lock of the log is held to the end of the transaction, so that the order of commits is the
 * order of positions. Position, time and hash follow from the head, once a batch.
 */
export async function appendStrict(tx: AppendTransaction, batch: readonly AppendArgs[]): Promise<readonly Answer[]> {
  const { head: last, now, known, streams } = await enter(tx, 'strict', batch)
  const around = new Surroundings(known, streams)
  let head = headOf(last ?? undefined)
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
  const { now, xid: own, places, known, streams } = await enter(tx, 'concurrent', batch)
  const xid = own!
  const around = new Surroundings(known, streams)
  let next = 0
  const answers = batch.map((append): Answer => {
    if ((around.orders.get(append.stream) ?? 0n) > BigInt(xid)) return { refused: { conflict: 'order' } }
    return around.answer(append, (event, version) => {
      const { fresh: _, ...kept } = event
      const framed = { ...kept, stream: append.stream, version, time: now }
      const position = placeOf(xid, places[next++]!)
      const hash = new Uint8Array()
      return { ...framed, position, hash, crc: crc32(frameOf({ ...framed, position }), hash) }
    })
  })
  if (!answers.some((answer) => 'refused' in answer)) await insert(tx, around.added, places.slice(0, next))
  return answers
}
