/** A gateway whose jobs end at once, or, with `hold`, only in a life after their first. `GET /left` counts those that are not finished. */
import { createGateway } from '@gw/gateway'

const [port, directory, hold] = process.argv.slice(2) as [string, string, string | undefined]
const databaseUrl = process.env['DATABASE_URL']
const gateway = await createGateway({
  dataDir: `${directory}/data`,
  admin: { enabled: false },
  ...(databaseUrl === undefined ? {} : { databaseUrl, leaseMs: Number(process.env['LEASE_MS']) }),
})
gateway.post('/job', gateway.durable({ operation: 'job' }), async (c) => {
  if (hold !== undefined && c.var.run.attempt === 1) await new Promise(() => {})
  return c.json({ done: true })
})
gateway.get('/left', async (c) => {
  const { queued, running, waiting, completed } = await gateway.checkpoints.counts()
  return c.json({ left: queued + running + waiting, running, completed })
})
await gateway.run({ port: Number(port) })
