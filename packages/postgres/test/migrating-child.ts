import { drizzle } from 'drizzle-orm/postgres-js'
import { connectPostgres, postgresDatabase } from '../src/index.ts'

const client = connectPostgres(process.argv[2]!)
const db = postgresDatabase(drizzle(client))
await db.migrate('app', ['create table once (n int); select pg_sleep(0.2)', 'insert into once values (1)'])
await db.close()
await client.end()
