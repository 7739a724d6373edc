import { connectPostgres, type PostgresTransaction, postgresDatabase } from '@gw/postgres'
import { freshDatabase } from '@gw/services'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import { describe, test } from 'vitest'
import { postgresCheckpointStore } from '../src/stores/postgres.ts'
import { testCheckpointStore } from '../src/testing.ts'

describe('postgres', () => {
  testCheckpointStore(test, async () => {
    const client = connectPostgres(await freshDatabase())
    const db = postgresDatabase(drizzle(client))
    await db.migrate('user', ['CREATE TABLE ledger (id text)'])
    return {
      store: postgresCheckpointStore({ db }),
      async close() {
        await db.close()
        await client.end()
      },
      ledger: {
        async within(transaction, id) {
          await (transaction as PostgresTransaction).execute(sql`INSERT INTO ledger VALUES (${id})`)
        },
        count: async (id) =>
          Number((await db.query<{ n: string }>(sql`SELECT count(*) AS n FROM ledger WHERE id = ${id}`))[0]!.n),
      },
    }
  })
})
