/** The same by hand on PostgreSQL with postgres.js: four statements, one transaction each. `DATABASE_URL` says where. */
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import postgres from 'postgres'

const sql = postgres(process.env['DATABASE_URL']!, { max: 10, onnotice: () => {} })
await sql`CREATE TABLE IF NOT EXISTS run (id text PRIMARY KEY, key text UNIQUE, status text, input text, answer text)`
await sql`CREATE TABLE IF NOT EXISTS step (run text, name text, value text, PRIMARY KEY (run, name))`
await sql`TRUNCATE run, step`

const app = new Hono()
app.post('/pay', async (c) => {
  const id = crypto.randomUUID()
  const text = await c.req.text()
  await sql`INSERT INTO run VALUES (${id}, ${c.req.header('idempotency-key')!}, 'running', ${text}, NULL)`
  const { amount } = JSON.parse(text) as { amount: number }
  const fee = amount * 0.01
  await sql`INSERT INTO step VALUES (${id}, 'fee', ${JSON.stringify(fee)})`
  const charged = { amount, fee }
  await sql`INSERT INTO step VALUES (${id}, 'charge', ${JSON.stringify(charged)})`
  const answer = { id, charged, status: 'succeeded' }
  await sql`UPDATE run SET status = 'completed', answer = ${JSON.stringify(answer)} WHERE id = ${id}`
  return c.json(answer, 201)
})
serve({ fetch: app.fetch, port: Number(process.argv[2]), hostname: '127.0.0.1' })
