import { connectPostgres, type PostgresDatabase, postgresDatabase } from '@gw/postgres'
import { freshDatabase } from '@gw/services'
import { drizzle } from 'drizzle-orm/postgres-js'
import type { Sql } from 'postgres'

/** One process's view of a database in a real PostgreSQL. */
export interface TestPostgres {
  readonly url: string
  readonly db: PostgresDatabase
  /** A client for statements that go around the store. */
  readonly client: Sql
  close(): Promise<void>
}

/** Connects to `url`, by default to a database of its own. */
export async function openTestPostgres(url?: string): Promise<TestPostgres> {
  const place = url ?? (await freshDatabase())
  const own = connectPostgres(place, { maxConnections: 4 })
  const client = connectPostgres(place, { maxConnections: 4 })
  const db = postgresDatabase(drizzle(own))
  return {
    url: place,
    db,
    client,
    async close() {
      await db.close()
      await own.end()
      await client.end()
    },
  }
}
