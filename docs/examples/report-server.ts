import { setTimeout as delay } from 'node:timers/promises'
import { createGateway } from '@gw/gateway'

const dataDir = process.argv[2] ?? './data'
const gateway = await createGateway({ dataDir, admin: { enabled: false }, drainDelayMs: 0 })

gateway.post('/reports', gateway.durable({ operation: 'report', strategy: 'financial' }), async (c) => {
  const { run } = c.var
  const { month, items } = await c.req.json<{ month: string; items: number }>()
  const processes = new Set<number>()
  for (let item = 0; item < items; item++) {
    const by = await run.step('item', async () => {
      await delay(20)
      return process.pid
    })
    processes.add(by)
    await run.update({ stage: 'items', progress: (item + 1) / items })
  }
  return c.json({ month, total: items, begun: processes.size })
})

const { url, stop } = await gateway.run({ port: 0 })
process.once('SIGTERM', () => void stop())
console.log(url)
