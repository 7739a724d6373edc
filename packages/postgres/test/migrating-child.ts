import { once } from 'node:events'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import { connectPostgres, postgresDatabase } from '../src/index.ts'

const client = connectPostgres(process.argv[2]!)
const db = postgresDatabase(drizzle(client))
// Ready: all children go at once.
await db.query(sql`select 1`)
process.stdout.write('ready')
await once(process.stdin, 'data')
process.stdin.destroy()
await db.migrate('app', ['create table once (n int); select pg_sleep(0.2)', 'insert into once values (1)'])
await db.close()
await client.end()
