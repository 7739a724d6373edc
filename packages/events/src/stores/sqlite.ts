import type { Connection, Procedures, SqlValue, StoreDatabase } from '@gw/sqlite'
import { sameBytes } from '../bytes.ts'
import { refuseUnknown } from '../errors.ts'
import { genesis, type NewEvent, type StoredEvent } from '../event.ts'
import { contentsOf } from '../event-line.ts'
import { expectationHolds, placed, repetitionOf } from '../placement.ts'
import { larger, smaller } from '../positions.ts'
import type { AppendResult, EventLog, Expected, Head, Register, StoreQuery } from '../store.ts'
import { lastBefore } from '../time-search.ts'
import { eventOfRow, type RowContents } from './event-row.ts'

/** What a SQLite log is made on. */
export interface SqliteEventStoreOptions {
  /** An open database of `@gw/sqlite`, or a Durable Object's; whoever opened it closes it. */
  readonly db: StoreDatabase
}

const migrations = [
  `CREATE TABLE gw_event (
    position INTEGER PRIMARY KEY, stream TEXT NOT NULL, version INTEGER NOT NULL, time INTEGER NOT NULL, id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL, actor TEXT, subject TEXT, request_id TEXT, correlation_id TEXT, causation_id TEXT, traceparent TEXT,
    occurred_at INTEGER, schema_version INTEGER NOT NULL, redaction INTEGER NOT NULL, data TEXT NOT NULL, hash BLOB NOT NULL,
    crc INTEGER NOT NULL);
  CREATE UNIQUE INDEX gw_event_stream ON gw_event (stream, version);
  CREATE INDEX gw_event_type ON gw_event (type);
  CREATE INDEX gw_event_actor ON gw_event (actor) WHERE actor IS NOT NULL;
  CREATE INDEX gw_event_subject ON gw_event (subject) WHERE subject IS NOT NULL;
  CREATE INDEX gw_event_request ON gw_event (request_id) WHERE request_id IS NOT NULL;
  CREATE TABLE gw_event_retired (stream TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE gw_event_base (one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL, time INTEGER NOT NULL, hash BLOB NOT NULL);
  CREATE TABLE gw_event_register (name TEXT PRIMARY KEY, version INTEGER NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;`,
]

interface Row extends RowContents {
  readonly position: number
  readonly hash: Uint8Array
}

function fromRow(row: Row): StoredEvent {
  return eventOfRow(row, { position: BigInt(row.position), hash: row.hash })
}

interface HeadRow {
  readonly position: number
  readonly time: number
  readonly hash: Uint8Array
}

const firstEvent = 'SELECT position, time, hash FROM gw_event ORDER BY position LIMIT 1'
const lastEvent = 'SELECT position, time, hash FROM gw_event ORDER BY position DESC LIMIT 1'
const baseRow = 'SELECT position, time, hash FROM gw_event_base'

function headOf(row: HeadRow | undefined): Head {
  return row === undefined ? { position: 0n, time: 0, hash: genesis } : { ...row, position: BigInt(row.position) }
}

/** An append as it crosses the threads; names once a batch would cost more than the values. */
type OnRepeat = 'answer' | 'refuse'
type AppendArgs = readonly [stream: string, expected: Expected, now: number, onRepeat: OnRepeat, ...columns: unknown[]]
const columnsPerEvent = 13

function argsOf(
  stream: string,
  events: readonly NewEvent[],
  expected: Expected,
  now: number,
  onRepeat: OnRepeat,
): AppendArgs {
  const columns: unknown[] = []
  for (const e of events)
    columns.push(
      e.id,
      e.fresh,
      e.type,
      e.actor,
      e.subject,
      e.requestId,
      e.correlationId,
      e.causationId,
      e.traceparent,
      e.occurredAt,
      e.schemaVersion,
      e.redaction,
      e.data,
    )
  return [stream, expected, now, onRepeat, ...columns]
}

function eventsOf(args: AppendArgs): NewEvent[] {
  const events: NewEvent[] = []
  for (let i = 4; i < args.length; i += columnsPerEvent)
    events.push({
      id: args[i] as string,
      fresh: args[i + 1] as boolean,
      type: args[i + 2] as string,
      actor: args[i + 3] as string | null,
      subject: args[i + 4] as string | null,
      requestId: args[i + 5] as string | null,
      correlationId: args[i + 6] as string | null,
      causationId: args[i + 7] as string | null,
      traceparent: args[i + 8] as string | null,
      occurredAt: args[i + 9] as number | null,
      schemaVersion: args[i + 10] as number,
      redaction: args[i + 11] as number,
      data: args[i + 12] as string,
    })
  return events
}

/** Streams whose last version the writer thread remembers. */
const maxKnown = 1_000

/** The writes of this store; run by the writer thread. */
export const procedures: Procedures = {
  append(connection: Connection, args: AppendArgs): AppendResult[] {
    const [stream, expected, now, onRepeat] = args
    const events = eventsOf(args)
    if (!events.every(({ fresh }) => fresh)) {
      const known = events.map(({ id }) => connection.get<Row>('SELECT * FROM gw_event WHERE id = ?', id))
      const repeated = repetitionOf(
        known.map((row) => row && fromRow(row)),
        events,
        stream,
        onRepeat,
      )
      if (repeated !== undefined) {
        if ('conflict' in repeated) connection.refuse(repeated)
        return [...repeated]
      }
    }
    const { known } = connection
    const versionName = `events version ${stream}`
    const actual = (known.get(versionName) as number | undefined) ?? versionOf(connection, stream)
    if (!expectationHolds(expected, actual)) connection.refuse({ conflict: 'version', actual })
    let head =
      (known.get('events head') as Head | undefined) ??
      headOf(connection.get<HeadRow>(lastEvent) ?? connection.get<HeadRow>(baseRow))
    const places = events.map((event, i) => {
      const stored = placed(event, { stream, version: actual + 1 + i, now }, head)
      insert(connection, stored)
      head = stored
      return { position: stored.position, version: stored.version, time: stored.time }
    })
    known.set('events head', { position: head.position, time: head.time, hash: head.hash } satisfies Head)
    if (known.size > maxKnown) known.clear()
    known.set(versionName, actual + events.length)
    return places
  },

  setRegister(
    connection: Connection,
    { name, value, version }: { readonly name: string; readonly value: string | undefined; readonly version: number },
  ): number {
    const changed =
      value === undefined
        ? connection.run('DELETE FROM gw_event_register WHERE name = ? AND version = ?', name, version)
        : version === 0
          ? connection.run('INSERT INTO gw_event_register VALUES (?, 1, ?) ON CONFLICT DO NOTHING', name, value)
          : connection.run(
              'UPDATE gw_event_register SET version = version + 1, value = ? WHERE name = ? AND version = ?',
              value,
              name,
              version,
            )
    if (changed === 0 && !(value === undefined && version === 0 && registerVersion(connection, name) === 0))
      connection.refuse({ conflict: 'register', name, actual: registerVersion(connection, name) })
    return version + 1
  },

  drop(connection: Connection, { position, hash }: { readonly position: bigint; readonly hash: Uint8Array }): number {
    const last = connection.get<HeadRow>('SELECT position, time, hash FROM gw_event WHERE position = ?', position)
    if (last === undefined || !sameBytes(last.hash, hash)) connection.refuse({ conflict: 'base' })
    connection.run(
      `INSERT INTO gw_event_retired SELECT stream, max(version) FROM gw_event WHERE position <= ? GROUP BY stream
       ON CONFLICT DO UPDATE SET version = excluded.version`,
      position,
    )
    connection.run('INSERT OR REPLACE INTO gw_event_base VALUES (1, ?, ?, ?)', position, last.time, last.hash)
    return connection.run('DELETE FROM gw_event WHERE position <= ?', position)
  },
}

function versionOf(connection: Connection, stream: string): number {
  const last = connection.get<{ version: number | null }>(
    'SELECT max(version) AS version FROM gw_event WHERE stream = ?',
    stream,
  )
  if (typeof last?.version === 'number') return last.version
  return (
    connection.get<{ version: number }>('SELECT version FROM gw_event_retired WHERE stream = ?', stream)?.version ?? -1
  )
}

function registerVersion(connection: Connection, name: string): number {
  return connection.get<{ version: number }>('SELECT version FROM gw_event_register WHERE name = ?', name)?.version ?? 0
}

function insert(connection: Connection, e: StoredEvent): void {
  connection.run(
    'INSERT INTO gw_event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
    e.position,
    ...contentsOf(e),
    e.hash,
    e.crc,
  )
}

const equalities: readonly (readonly [field: 'stream' | 'subject' | 'actor' | 'requestId', column: string])[] = [
  ['stream', 'stream'],
  ['subject', 'subject'],
  ['actor', 'actor'],
  ['requestId', 'request_id'],
]

/** Keeps events in the embedded database. */
export function sqliteEventStore({ db, ...unknown }: SqliteEventStoreOptions): EventLog {
  refuseUnknown(unknown)

  function lastOlderThan(time: number): bigint {
    const first = db.reader.get<HeadRow>(firstEvent)
    const last = db.reader.get<HeadRow>(lastEvent)
    if (first === undefined || last === undefined) return BigInt(db.reader.get<HeadRow>(baseRow)?.position ?? 0)
    const [low, high] = [headOf(first), headOf(last)]
    return lastBefore(
      time,
      { position: low.position - 1n, time: low.time },
      high,
      (position) =>
        db.reader.get<{ time: number }>(
          'SELECT time FROM gw_event WHERE position >= ? ORDER BY position LIMIT 1',
          position,
        )?.time,
    )
  }

  function conditionOf(query: StoreQuery): { readonly sql: string; readonly params: SqlValue[] } {
    const where = ['position > ?', 'position <= ?']
    const after = query.from === undefined ? query.after : larger(query.after, lastOlderThan(query.from))
    const asOf = query.to === undefined ? query.asOf : smaller(query.asOf, lastOlderThan(query.to))
    const params: SqlValue[] = [after, smaller(asOf, 2n ** 63n - 1n)]
    for (const [field, column] of equalities) {
      const value = query[field]
      if (value === undefined) continue
      where.push(`${column} = ?`)
      params.push(value)
    }
    if (query.type !== undefined) {
      const types = typeof query.type === 'string' ? [query.type] : query.type
      where.push(types.length === 1 ? 'type = ?' : `type IN (${types.map(() => '?').join(', ')})`)
      params.push(...types)
    }
    return { sql: where.join(' AND '), params }
  }

  return {
    durable: true,
    gapless: true,
    database: db,
    open: () => db.migrate('events', migrations, procedures),
    unit: (options) => db.unit(options),
    append: (stream, events, expected, now, onRepeat = 'answer') => ({
      procedure: `${import.meta.url}#events.append`,
      args: argsOf(stream, events, expected, now, onRepeat),
    }),
    async read(query) {
      const { sql, params } = conditionOf(query)
      return db.reader
        .all<Row>(`SELECT * FROM gw_event WHERE ${sql} ORDER BY position LIMIT ?`, ...params, query.limit)
        .map(fromRow)
    },
    async count(query) {
      const { sql, params } = conditionOf(query)
      return db.reader.get<{ count: number }>(
        `SELECT count(*) AS count FROM (SELECT 1 FROM gw_event WHERE ${sql} LIMIT ?)`,
        ...params,
        query.limit,
      )!.count
    },
    async head() {
      return headOf(db.reader.get<HeadRow>(lastEvent) ?? db.reader.get<HeadRow>(baseRow))
    },
    async base() {
      return headOf(db.reader.get<HeadRow>(baseRow))
    },
    async registers(prefix, after = '', limit = 1_000) {
      return db.reader.all<Register>(
        'SELECT name, version, value FROM gw_event_register WHERE name >= ? AND name < ? AND name > ? ORDER BY name LIMIT ?',
        prefix,
        `${prefix}\u{10ffff}`,
        after,
        limit,
      )
    },
    setRegister: (name, value, version) => ({
      procedure: `${import.meta.url}#events.setRegister`,
      args: { name, value, version },
    }),
    drop: ({ position, hash }) => ({ procedure: `${import.meta.url}#events.drop`, args: { position, hash } }),
  }
}
