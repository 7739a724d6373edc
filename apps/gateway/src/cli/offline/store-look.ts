import { existsSync, statSync } from 'node:fs'
import type { CheckpointStore } from '@gw/checkpoint'
import { postgresCheckpointStore } from '@gw/checkpoint/postgres'
import { sqliteCheckpointStore } from '@gw/checkpoint/sqlite'
import { postgresDedupStore } from '@gw/dedup/postgres'
import { sqliteDedupStore } from '@gw/dedup/sqlite'
import { type EventLog, EventStore, type EventStoreOptions } from '@gw/events'
import { postgresEventStore } from '@gw/events/postgres'
import { sqliteEventStore } from '@gw/events/sqlite'
import { sql } from 'drizzle-orm'
import { CommandError, exit } from '../failure.ts'
import { hasPostgresTable, openPostgres } from './read-only-postgres.ts'
import { hasTable, openDirectory, type SchemaState } from './read-only-sqlite.ts'

/** What there is to know of idempotency keys without their secret. */
export interface KeyFigures {
  readonly keys: number
  /** Those whose answer is kept. The others are in flight, or their owner is gone. */
  readonly answered: number
}

/** How much space one table takes, with its indexes. */
export interface TableSize {
  readonly table: string
  readonly bytes: number
}

/** The stores of a data directory or a database, opened for reading only. */
export interface StoreLook {
  readonly kind: 'sqlite' | 'postgres'
  /** The directory, or the URL without its password. */
  readonly place: string
  /** What is worth saying of how it was found. */
  readonly remark: string | undefined
  readonly holder: number | undefined
  readonly bytes: number
  readonly schemas: readonly SchemaState[]
  readonly runs: CheckpointStore | undefined
  /** The log as it is stored; `undefined` where no gateway has begun one. */
  readonly log: EventLog | undefined
  /** The ids of runs, in order, whether or not their rows can be read. */
  runIds(after: string, limit: number): Promise<readonly string[]>
  /** When each node's lease ends, in milliseconds. */
  nodes(): Promise<ReadonlyMap<string, number>>
  keys(): Promise<KeyFigures | undefined>
  sizes(): Promise<readonly TableSize[]>
  /** What the storage engine itself finds wrong with its files. */
  check(): Promise<readonly string[]>
  /** The store's own clock. */
  now(): Promise<number>
  close(): Promise<void>
}

/** Opens the log of a look, whose identity must have been drawn before. */
export async function eventsOf(look: StoreLook, options: Omit<EventStoreOptions, 'store'> = {}): Promise<EventStore> {
  if (look.log === undefined)
    throw new CommandError(`${look.place} holds no events: no gateway has started on it yet`, exit.failed)
  const events = new EventStore({ ...options, store: look.log })
  await events.start()
  return events
}

/** Looks into a data directory. */
export async function lookIntoDirectory(path: string): Promise<StoreLook> {
  if (!existsSync(path)) throw new CommandError(`${path} does not exist`, exit.failed)
  if (!existsSync(`${path}/gateway.db`))
    throw new CommandError(`${path} has no gateway.db: is it the data directory of a gateway?`, exit.failed)
  const { directory, file, db, schemas, state, holder, damage, close } = openDirectory(path)
  const { reader } = db
  try {
    const runs = sqliteCheckpointStore({ db })
    const log = sqliteEventStore({ db })
    await runs.open()
    // The number of its opening is of no use to who only reads.
    await sqliteDedupStore({ db: { ...db, write: async () => 0 as never } }).open()
    await log.open()
    const there = ['', '-wal'].map((suffix) => statSync(file + suffix, { throwIfNoEntry: false })?.size ?? 0)
    return {
      kind: 'sqlite',
      place: directory,
      remark: {
        live: `in use by process ${holder}`,
        closed: undefined,
        crashed:
          'its gateway was killed; the next start takes in what is in the write-ahead log, which is read here as well',
      }[state],
      holder,
      bytes: there.reduce((sum, bytes) => sum + bytes, 0),
      schemas,
      runs: hasTable(reader, 'gw_run') ? runs : undefined,
      log: hasTable(reader, 'gw_event') && (await hasIdentity(log)) ? log : undefined,
      runIds: async (after, limit) =>
        reader.all<{ id: string }>('SELECT id FROM gw_run WHERE id > ? ORDER BY id LIMIT ?', after, limit).map(idOf),
      async nodes() {
        if (!hasTable(reader, 'gw_run_node')) return new Map()
        const rows = reader.all<{ owner: string; expires_at: number }>('SELECT owner, expires_at FROM gw_run_node')
        return new Map(rows.map(({ owner, expires_at }) => [owner, expires_at]))
      },
      async keys() {
        if (!hasTable(reader, 'gw_key')) return undefined
        return reader.get<KeyFigures>('SELECT count(*) AS keys, coalesce(sum(completed), 0) AS answered FROM gw_key')
      },
      async sizes() {
        return reader.all<TableSize>(
          `SELECT s.tbl_name AS "table", sum(d.pgsize) AS bytes FROM dbstat d JOIN sqlite_schema s ON s.name = d.name
           GROUP BY s.tbl_name ORDER BY bytes DESC`,
        )
      },
      async check() {
        const found = reader.all<{ quick_check: string }>('PRAGMA quick_check(20)').map((row) => row.quick_check)
        const wrong = found.length === 1 && found[0] === 'ok' ? [] : found
        return damage === undefined ? wrong : [damage, ...wrong]
      },
      now: async () => Date.now(),
      close: async () => close(),
    }
  } catch (error) {
    close()
    throw error
  }
}

/** Looks into a PostgreSQL database. */
export async function lookIntoPostgres(url: string): Promise<StoreLook> {
  const { db, schemas, close } = openPostgres(url)
  try {
    const runs = postgresCheckpointStore({ db })
    const log = postgresEventStore({ db, migrate: false })
    await runs.open()
    await postgresDedupStore({ db }).open()
    // It would note its mode where there is none yet.
    const noted = async () => [{ name: 'log/mode', version: 1, value: 'strict' }] as never
    await postgresEventStore({ db: { ...db, query: noted } }).open()
    const [[size], hasRuns, hasEvents] = await Promise.all([
      db.query<{ bytes: number }>(sql`SELECT pg_database_size(current_database())::float8 AS bytes`),
      hasPostgresTable(db, 'gw_run'),
      hasPostgresTable(db, 'gw_event'),
    ])
    const shown = new URL(url)
    if (shown.password !== '') shown.password = '••••••••'
    return {
      kind: 'postgres',
      place: decodeURI(shown.href),
      remark: undefined,
      holder: undefined,
      bytes: size?.bytes ?? 0,
      schemas,
      runs: hasRuns ? runs : undefined,
      log: hasEvents && (await hasIdentity(log)) ? log : undefined,
      async runIds(after, limit) {
        const rows = await db.query<{ id: string }>(
          sql`SELECT id FROM gw_run WHERE id > ${after} ORDER BY id LIMIT ${limit}::int`,
        )
        return rows.map(idOf)
      },
      async nodes() {
        if (!(await hasPostgresTable(db, 'gw_run_node'))) return new Map()
        const rows = await db.query<{ owner: string; at: number }>(
          sql`SELECT owner, (extract(epoch FROM expires_at) * 1000)::float8 AS at FROM gw_run_node`,
        )
        return new Map(rows.map(({ owner, at }) => [owner, at]))
      },
      async keys() {
        if (!(await hasPostgresTable(db, 'gw_key'))) return undefined
        const [row] = await db.query<{ keys: number; answered: number }>(
          sql`SELECT count(*)::float8 AS keys, (count(*) FILTER (WHERE completed))::float8 AS answered FROM gw_key`,
        )
        return row
      },
      async sizes() {
        const rows = await db.query<{ table: string; bytes: number }>(
          sql`SELECT c.relname AS "table", pg_total_relation_size(c.oid)::float8 AS bytes FROM pg_class c
            WHERE c.relkind = 'r' AND c.relname LIKE 'gw\\_%' AND pg_table_is_visible(c.oid) ORDER BY bytes DESC`,
        )
        return rows
      },
      check: async () => [],
      async now() {
        const [row] = await db.query<{ now: number }>(
          sql`SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now`,
        )
        return row!.now
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

async function hasIdentity(log: EventLog): Promise<boolean> {
  return (await log.registers('log/identity', undefined, 1)).some(({ name }) => name === 'log/identity')
}

function idOf({ id }: { readonly id: string }): string {
  return id
}
