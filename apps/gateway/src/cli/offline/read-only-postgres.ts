import { connectPostgres, type PostgresDatabase, postgresDatabase } from '@gw/postgres'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import type { SchemaState } from './read-only-sqlite.ts'

/** A PostgreSQL that is only read: the server itself refuses every write on these connections. */
export interface ReadOnlyPostgres {
  /** What stores are made on. Their `open` notes schemas instead of migrating. */
  readonly db: PostgresDatabase
  readonly schemas: readonly SchemaState[]
  close(): Promise<void>
}

/** Connects for reading; the first query connects. */
export function openPostgres(url: string): ReadOnlyPostgres {
  const readOnly = new URL(url)
  readOnly.searchParams.set('default_transaction_read_only', 'on')
  const client = connectPostgres(readOnly.href, { applicationName: 'gw' })
  const inner = postgresDatabase(drizzle(client))
  const schemas: SchemaState[] = []
  const db: PostgresDatabase = {
    db: inner.db,
    deadlineMs: inner.deadlineMs,
    get health() {
      return inner.health
    },
    unit: () => inner.unit(),
    unitIn: (tx) => inner.unitIn(tx),
    transaction: (work) => inner.transaction(work),
    query: (statement) => inner.query(statement),
    async migrate(owner, migrations) {
      if (schemas.some((each) => each.owner === owner)) return
      schemas.push({ owner, found: await schemaVersion(inner, owner), known: migrations.length })
    },
    define: (name, procedure) => inner.define(name, procedure),
    listen: (channel, listener) => inner.listen(channel, listener),
    close: () => inner.close(),
  }
  return {
    db,
    schemas,
    async close() {
      await inner.close()
      await client.end({ timeout: 1 })
    },
  }
}

/** Whether there is a table of that name on the search path. */
export async function hasPostgresTable(db: PostgresDatabase, name: string): Promise<boolean> {
  const [row] = await db.query<{ there: boolean }>(sql`SELECT to_regclass(${name}) IS NOT NULL AS there`)
  return row?.there === true
}

async function schemaVersion(db: PostgresDatabase, owner: string): Promise<number> {
  if (!(await hasPostgresTable(db, 'gw_schema'))) return 0
  const [row] = await db.query<{ version: number }>(
    sql`SELECT version::float8 AS version FROM gw_schema WHERE owner = ${owner}`,
  )
  return row?.version ?? 0
}
