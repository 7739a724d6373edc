/** The same POST handler on Hono and @hono/node-server, with nothing durable. */
import { serve } from '@hono/node-server'
import { Hono } from 'hono'

const app = new Hono()
app.post('/pay', async (c) => {
  const { amount } = await c.req.json<{ amount: number }>()
  const fee = amount * 0.01
  const charged = { amount, fee }
  return c.json({ id: crypto.randomUUID(), charged, status: 'succeeded' }, 201)
})
serve({ fetch: app.fetch, port: Number(process.argv[2]), hostname: '127.0.0.1' })
