import type { Connection, Database, Procedures, SqlValue } from '@gw/sqlite'
import { frameOf, genesis, leafPrefix, type NewEvent, type StoredEvent } from '../event.ts'
import type { AppendResult, EventLog, Expected, StoreQuery } from '../store.ts'

/** What a SQLite log is made on. */
export interface SqliteEventStoreOptions {
  /** An open database of `@gw/sqlite`; whoever opened it closes it. */
  readonly db: Database
}

const migrations = [
  `CREATE TABLE gw_event (
    position INTEGER PRIMARY KEY, stream TEXT NOT NULL, version INTEGER NOT NULL, time INTEGER NOT NULL, id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL, actor TEXT, subject TEXT, request_id TEXT, correlation_id TEXT, causation_id TEXT, traceparent TEXT,
    occurred_at INTEGER, redaction INTEGER NOT NULL, data TEXT NOT NULL, hash BLOB NOT NULL);
  CREATE UNIQUE INDEX gw_event_stream ON gw_event (stream, version);
  CREATE INDEX gw_event_actor ON gw_event (actor, time) WHERE actor IS NOT NULL;
  CREATE INDEX gw_event_subject ON gw_event (subject) WHERE subject IS NOT NULL;
  CREATE TABLE gw_event_secret (secret BLOB NOT NULL);
  INSERT INTO gw_event_secret VALUES (randomblob(32));`,
]

interface Row {
  readonly position: number
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
  readonly redaction: number
  readonly data: string
  readonly hash: Uint8Array
}

function fromRow({ position, request_id, correlation_id, causation_id, occurred_at, ...row }: Row): StoredEvent {
  return {
    ...row,
    position: BigInt(position),
    requestId: request_id,
    correlationId: correlation_id,
    causationId: causation_id,
    occurredAt: occurred_at,
  }
}

function same(row: Row, event: NewEvent, stream: string): boolean {
  return (
    row.stream === stream &&
    row.type === event.type &&
    row.data === event.data &&
    row.actor === event.actor &&
    row.subject === event.subject
  )
}

/** The writes of this store; run by the writer thread. */
export const procedures: Procedures = {
  append(
    connection: Connection,
    { stream, events, expected, now }: { stream: string; events: readonly NewEvent[]; expected: Expected; now: number },
  ): AppendResult[] {
    const known = events.map(({ id }) => connection.get<Row>('SELECT * FROM gw_event WHERE id = ?', id))
    if (known.some((row) => row !== undefined)) {
      if (!known.every((row, i) => row !== undefined && same(row, events[i]!, stream)))
        connection.refuse({ conflict: 'id' })
      return (known as Row[]).map(({ position, version, time }) => ({ position: BigInt(position), version, time }))
    }
    const last = connection.get<{ version: number | null }>(
      'SELECT max(version) AS version FROM gw_event WHERE stream = ?',
      stream,
    )!
    const actual = last.version ?? -1
    const holds =
      expected === 'any' ||
      (expected === 'none' ? actual === -1 : expected === 'exists' ? actual >= 0 : actual === expected)
    if (!holds) connection.refuse({ conflict: 'version', actual })
    const head = connection.get<{ position: number; time: number; hash: Uint8Array }>(
      'SELECT position, time, hash FROM gw_event ORDER BY position DESC LIMIT 1',
    )
    let { position, time, hash } = head ?? { position: 0, time: 0, hash: genesis }
    return events.map((event, i) => {
      position++
      time = Math.max(time, now)
      const version = actual + 1 + i
      hash = connection.sha256(
        leafPrefix,
        hash,
        frameOf({ ...event, position: BigInt(position), stream, version, time }),
      )
      connection.run(
        'INSERT INTO gw_event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
        position,
        stream,
        version,
        time,
        event.id,
        event.type,
        event.actor,
        event.subject,
        event.requestId,
        event.correlationId,
        event.causationId,
        event.traceparent,
        event.occurredAt,
        event.redaction,
        event.data,
        hash,
      )
      return { position: BigInt(position), version, time }
    })
  },
}

const conditions: readonly (readonly [field: keyof StoreQuery, sql: string])[] = [
  ['from', 'time >= ?'],
  ['to', 'time < ?'],
  ['type', 'type = ?'],
  ['stream', 'stream = ?'],
  ['subject', 'subject = ?'],
  ['actor', 'actor = ?'],
  ['requestId', 'request_id = ?'],
]

/** Keeps events in the embedded database. */
export function sqliteEventStore({ db }: SqliteEventStoreOptions): EventLog {
  return {
    durable: true,
    database: db,
    open: () => db.migrate('events', migrations),
    unit: () => db.unit(),
    append: (stream, events, expected, now) => ({
      procedure: `${import.meta.url}#append`,
      args: { stream, events, expected, now },
    }),
    async read(query) {
      const where = ['position > ?', 'position <= ?']
      const params: SqlValue[] = [query.after, query.asOf]
      for (const [field, sql] of conditions) {
        const value = query[field]
        if (value === undefined) continue
        where.push(sql)
        params.push(value)
      }
      return db.reader
        .all<Row>(
          `SELECT * FROM gw_event WHERE ${where.join(' AND ')} ORDER BY position LIMIT ?`,
          ...params,
          query.limit,
        )
        .map(fromRow)
    },
    async head() {
      const row = db.reader.get<Row>('SELECT position, hash FROM gw_event ORDER BY position DESC LIMIT 1')
      return row === undefined ? { position: 0n, hash: genesis } : { position: BigInt(row.position), hash: row.hash }
    },
    async secret() {
      return db.reader.get<{ secret: Uint8Array }>('SELECT secret FROM gw_event_secret')!.secret
    },
  }
}
