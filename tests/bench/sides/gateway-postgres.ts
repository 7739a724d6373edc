/** The gateway with everything on, on PostgreSQL: key, run, three steps, audit events, metrics, request id. `DATABASE_URL` says where. */
import { createGateway } from '@gw/gateway'

const [port, directory] = process.argv.slice(2) as [string, string]
const gateway = await createGateway({
  dataDir: `${directory}/data`,
  databaseUrl: process.env['DATABASE_URL']!,
  admin: { enabled: false },
})
gateway.post('/pay', gateway.durable({ operation: 'pay' }), async (c) => {
  const { amount } = await c.req.json<{ amount: number }>()
  const { run } = c.var
  const fee = await run.step('fee', () => amount * 0.01)
  const charged = await run.step('charge', () => ({ amount, fee }))
  const status = await run.step('notify', () => 'succeeded')
  return c.json({ id: run.id, charged, status }, 201)
})
await gateway.run({ port: Number(port) })
process.on('SIGTERM', () => process.exit(0))
