import type { PostgresDatabase } from '@gw/postgres'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgres from 'postgres'
import { CommandError, codeOf, exit, messageOf } from '../failure.ts'
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
  const client = postgres(url, {
    max: 4,
    connect_timeout: 5,
    onnotice() {},
    connection: { application_name: 'gw', default_transaction_read_only: true },
  })
  const drizzled = drizzle(client)
  const schemas: SchemaState[] = []
  const refused = () => new CommandError('This is only read, and takes no writes')
  const db: PostgresDatabase = {
    db: drizzled,
    deadlineMs: 5_000,
    health: { state: 'open', pendingWrites: 0, commits: 0, commitMs: 0, writes: 0 } as PostgresDatabase['health'],
    unit: () => ({ add() {}, commit: () => Promise.reject(refused()) }),
    unitIn: () => ({ add() {}, commit: () => Promise.reject(refused()) }),
    transaction: () => Promise.reject(refused()),
    async query(statement) {
      try {
        return [...(await drizzled.execute(statement))] as never
      } catch (error) {
        // Drizzle's own message is the statement.
        throw behind(error)
      }
    },
    async migrate(owner, migrations) {
      if (schemas.some((each) => each.owner === owner)) return
      schemas.push({ owner, found: await schemaVersion(db, owner), known: migrations.length })
    },
    define() {},
    listen: async () => async () => {},
    close: async () => {},
  }
  return { db, schemas, close: () => client.end({ timeout: 1 }) }
}

function behind(error: unknown): unknown {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  const code = codeOf(cause) ?? ''
  // Classes 08 and 57P0 are of connections, the rest of the letters the system's and the client's.
  if (!/^(?:08...|57P0.|28...|3D000|E[A-Z]+|CONNECT\w*)$/.test(code)) return cause
  return new CommandError(`PostgreSQL does not answer: ${messageOf(cause)}`, exit.unavailable, { cause })
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
