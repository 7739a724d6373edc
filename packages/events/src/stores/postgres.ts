import type { PostgresDatabase, PostgresTransaction, Procedure } from '@gw/postgres'
import { type SQL, sql } from 'drizzle-orm'
import { hexOf } from '../bytes.ts'
import { EventError, refuseUnknown } from '../errors.ts'
import { smaller } from '../positions.ts'
import { type EventLog, type Head, type Register, registerOf, type StoreQuery } from '../store.ts'
import type { Unit, Write } from '../unit.ts'
import { type AppendArgs, appendConcurrent, appendStrict, channel } from './postgres-append.ts'
import {
  baseHead,
  concurrentHead,
  type EventRow,
  eventColumns,
  eventOf,
  type HeadRow,
  headOf,
  largest,
  partsOf,
  strictHead,
} from './postgres-rows.ts'
import { postgresMigrations } from './postgres-schema.ts'

export { postgresAppendOnlyGrants } from './postgres-schema.ts'

/** What a PostgreSQL log is made on. */
export interface PostgresEventStoreOptions {
  /** What `postgresDatabase(drizzle(client))` of `@gw/postgres` gives; whoever made the client closes it. */
  readonly db: PostgresDatabase
  /**
   * `strict` (the default): positions without gaps, a hash chain, one append at a time, which group commit makes cheap.
   * `concurrent`: appends do not wait for each other, and positions are large numbers with gaps that only increase; there is no
   * chain, and an open write transaction anywhere in the server delays readers. A log keeps the mode it was made with.
   */
  readonly mode?: 'strict' | 'concurrent'
  /** Whether `open` brings the schema up to date: true. A role that may only append cannot. */
  readonly migrate?: boolean
}

/** A log in PostgreSQL. */
export interface PostgresEventLog extends EventLog {
  /** A unit inside a transaction that the caller has open: events are there when its other statements are. */
  unitIn(tx: PostgresTransaction): Unit
  /**
   * How many transactions have begun since the oldest that is still open, in any database of the server. In `concurrent` mode
   * readers wait for that one: alarm on a number that grows.
   */
  xminAge(): Promise<number>
}

interface RegisterArgs {
  readonly name: string
  readonly value: string | undefined
  readonly version: number
}

const shareNothing = { locks: () => [] }

const setRegister: Procedure<RegisterArgs> = {
  locks: ({ name }) => [{ name: `event register ${name}`, shared: false }],
  run: (tx, batch) => Promise.all(batch.map((args) => setOne(tx, args))),
}

async function setOne(tx: PostgresTransaction, { name, value, version }: RegisterArgs) {
  const statement =
    value === undefined
      ? sql`DELETE FROM gw_event_register WHERE name = ${name} AND version = ${version}::bigint RETURNING 1 AS done`
      : version === 0
        ? sql`INSERT INTO gw_event_register VALUES (${name}, 1, ${value}) ON CONFLICT DO NOTHING RETURNING 1 AS done`
        : sql`UPDATE gw_event_register SET version = version + 1, value = ${value}
            WHERE name = ${name} AND version = ${version}::bigint RETURNING 1 AS done`
  const changed = (await tx.execute(statement)).length > 0
  if (changed) return { result: version + 1 }
  const [row] = await tx.execute(sql`SELECT version::float8 FROM gw_event_register WHERE name = ${name}`)
  const actual = (row?.['version'] as number | undefined) ?? 0
  if (value === undefined && version === 0 && actual === 0) return { result: 1 }
  return { refused: { conflict: 'register', name, actual } }
}

const drop: Procedure<Head> = {
  locks: () => [{ name: 'event base', shared: false }],
  run: (tx, batch) => Promise.all(batch.map((base) => dropOne(tx, base))),
}

async function dropOne(tx: PostgresTransaction, { position, hash }: Head) {
  const at = position.toString()
  const [found] = await tx.execute(
    sql`SELECT 1 AS found FROM gw_event WHERE position = ${at}::bigint AND hash = decode(${hexOf(hash)}, 'hex')`,
  )
  if (found === undefined) return { refused: { conflict: 'base' } }
  await tx.execute(sql`INSERT INTO gw_event_retired
    SELECT stream, max(version) FROM gw_event WHERE position <= ${at}::bigint GROUP BY stream
    ON CONFLICT (stream) DO UPDATE SET version = excluded.version`)
  await tx.execute(sql`INSERT INTO gw_event_base (position, time, hash)
    SELECT position, time, hash FROM gw_event WHERE position = ${at}::bigint
    ON CONFLICT (one) DO UPDATE SET position = excluded.position, time = excluded.time, hash = excluded.hash`)
  await tx.execute(sql`SELECT set_config('gw.retention', 'on', true)`)
  const dropped = await tx.execute(sql`DELETE FROM gw_event WHERE position <= ${at}::bigint`)
  await tx.execute(sql`SELECT set_config('gw.retention', 'off', true)`)
  return { result: Number((dropped as { readonly count?: number }).count ?? 0) }
}

const equalities: readonly (readonly [field: 'stream' | 'subject' | 'actor' | 'requestId', column: string])[] = [
  ['stream', 'stream'],
  ['subject', 'subject'],
  ['actor', 'actor'],
  ['requestId', 'request_id'],
]

/** Keeps events in PostgreSQL. */
export function postgresEventStore(options: PostgresEventStoreOptions): PostgresEventLog {
  const { db, mode = 'strict', migrate = true, ...unknown } = options
  refuseUnknown(unknown)
  if (mode !== 'strict' && mode !== 'concurrent')
    throw new EventError('invalid_option', `Expected \`mode\` to be strict or concurrent, got \`${String(mode)}\``)
  const strict = mode === 'strict'
  const names = { append: `events.append.${mode}`, setRegister: 'events.setRegister', drop: 'events.drop' }
  db.define<AppendArgs>(names.append, {
    ...shareNothing,
    afterOthers: true,
    run: strict ? appendStrict : appendConcurrent,
  })
  db.define(names.setRegister, setRegister)
  db.define(names.drop, drop)

  function conditionOf(query: StoreQuery): SQL {
    const parts: SQL[] = strict ? strictBounds(query) : concurrentBounds(query)
    for (const [field, column] of equalities) {
      const value = query[field]
      if (value !== undefined) parts.push(sql`${sql.raw(column)} = ${value}`)
    }
    if (typeof query.type === 'string') parts.push(sql`type = ${query.type}`)
    else if (query.type !== undefined)
      parts.push(sql`type IN (SELECT json_array_elements_text(${JSON.stringify(query.type)}::json))`)
    return sql.join(parts, sql.raw(' AND '))
  }

  async function registers(prefix: string, after = '', limit = 1_000): Promise<Register[]> {
    return db.query<Register & Record<string, unknown>>(
      sql`SELECT name, version::float8, value FROM gw_event_register
        WHERE name >= ${prefix} AND name < ${`${prefix}\u{10ffff}`} AND name > ${after} ORDER BY name LIMIT ${limit}::int`,
    )
  }

  const order = sql.raw(strict ? 'gw_event.position' : 'gw_event.xid, gw_event.position')
  const log: PostgresEventLog = {
    durable: true,
    gapless: strict,
    database: db,
    async open() {
      if (migrate) await db.migrate('events', postgresMigrations)
      const kept = await registerOf(log, 'log/mode')
      if (kept === undefined) {
        const unit = db.unit()
        unit.add(log.setRegister('log/mode', mode, 0))
        try {
          await unit.commit()
        } catch (error) {
          if ((await registerOf(log, 'log/mode'))?.value !== mode) throw error
        }
      } else if (kept.value !== mode)
        throw new EventError(
          'invalid_option',
          `Expected \`mode\` to be ${kept.value}, as the log was made, got ${mode}`,
        )
    },
    unit: () => db.unit(),
    unitIn: (tx) => db.unitIn(tx),
    append: (stream, events, expected, _now, onRepeat = 'answer'): Write => ({
      procedure: names.append,
      args: { stream, events, expected, onRepeat },
    }),
    async read(query) {
      const rows = await db.query<EventRow>(
        sql`SELECT ${eventColumns} FROM gw_event WHERE ${conditionOf(query)} ORDER BY ${order} LIMIT ${query.limit}::int`,
      )
      return rows.map(eventOf)
    },
    async count(query) {
      const [row] = await db.query<{ readonly count: number }>(
        sql`SELECT count(*)::float8 AS count FROM (SELECT 1 FROM gw_event WHERE ${conditionOf(query)} LIMIT ${query.limit}::int) e`,
      )
      return row!.count
    },
    async head() {
      const [row] = await db.query<HeadRow>(strict ? strictHead : concurrentHead)
      return headOf(row)
    },
    async base() {
      const [row] = await db.query<HeadRow>(baseHead)
      return headOf(row)
    },
    registers,
    setRegister: (name, value, version) => ({ procedure: names.setRegister, args: { name, value, version } }),
    drop(base) {
      if (!strict) throw new EventError('not_supported', 'Retention needs a log in strict mode')
      return { procedure: names.drop, args: base }
    },
    listen: (listener) => db.listen(channel, listener),
    async xminAge() {
      const [row] = await db.query<{ readonly age: number }>(
        sql.raw(`SELECT (pg_snapshot_xmax(pg_current_snapshot())::text::numeric
        - pg_snapshot_xmin(pg_current_snapshot())::text::numeric)::float8 AS age`),
      )
      return row!.age
    },
  }
  return log
}

function strictBounds({ after, asOf, from, to }: StoreQuery): SQL[] {
  const parts = [
    sql`position > ${String(smaller(after, largest))}::bigint`,
    sql`position <= ${String(smaller(asOf, largest))}::bigint`,
  ]
  // Times never decrease along positions, so that a bound of time is a bound of positions.
  if (from !== undefined)
    parts.push(
      sql`position >= (SELECT position FROM gw_event WHERE time >= ${from}::bigint ORDER BY time, position LIMIT 1)`,
    )
  if (to !== undefined)
    parts.push(
      sql`position <= (SELECT position FROM gw_event WHERE time < ${to}::bigint ORDER BY time DESC, position DESC LIMIT 1)`,
    )
  return parts
}

function concurrentBounds({ after, asOf, from, to }: StoreQuery): SQL[] {
  const first = partsOf(after)
  const last = partsOf(asOf)
  const parts = [
    sql`(xid, position) > (${first.xid}::text::xid8, ${first.position}::bigint)`,
    sql`(xid, position) <= (${last.xid}::text::xid8, ${last.position}::bigint)`,
    sql.raw('xid < pg_snapshot_xmin(pg_current_snapshot())'),
  ]
  if (from !== undefined) parts.push(sql`time >= ${from}::bigint`)
  if (to !== undefined) parts.push(sql`time < ${to}::bigint`)
  return parts
}
