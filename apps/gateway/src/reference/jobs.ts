import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import type { Gateway } from '../gateway.ts'
import type { EffectLog } from './effect-log.ts'
import { checkedJson } from './input.ts'
import type { ReferenceTables } from './tables.ts'

const job = z.object({
  type: z.string().min(1).max(100).default('report'),
  user_id: z.string().min(1).max(100).optional(),
  items: z.number().int().min(1).max(100_000).default(10),
  item_ms: z.number().min(0).max(60_000).default(0),
})

/**
 * `POST /api/long-running-process`: the guide's three stages. Each item is one transaction, so that its row and the step's
 * result are there together or not at all; the effect log counts how often an item's function really ran.
 */
export function jobRoutes(gateway: Gateway, tables: ReferenceTables, effects: EffectLog): void {
  gateway.post(
    '/api/long-running-process',
    checkedJson(job),
    gateway.durable({ operation: 'long-running-process' }),
    async (c) => {
      const input = job.parse(await c.req.json())
      const { run } = c.var

      await run.update({ stage: 'data_preparation', progress: 0.1 })
      const seed = await run.step('prepare', () => digest(`${input.type}:${input.user_id ?? ''}`))

      await run.update({ stage: 'processing', progress: 0.5 })
      for (let item = 0; item < input.items; item++) {
        await tables.insertOnce(run, 'item', 'work', async () => {
          if (input.item_ms > 0) await delay(input.item_ms, undefined, { signal: run.signal })
          effects.append({ run: run.id, item, attempt: run.attempt })
          return { run: run.id, item, attempt: run.attempt }
        })
        if ((item + 1) % 10 === 0) await run.update({ progress: 0.5 + (0.4 * (item + 1)) / input.items })
      }

      await run.update({ stage: 'finalization', progress: 0.9 })
      const result = await run.step('finalise', async () => {
        const items = await tables.select('work', { run: run.id }, { limit: 100_000 })
        return { processed: items.length, checksum: digest(`${seed}:${items.map(({ item }) => item).join(',')}`) }
      })
      return c.json({ success: true, result })
    },
  )

  gateway.get('/api/work/:run', async (c) => {
    const run = c.req.param('run')
    const rows = await tables.select('work', { run }, { limit: 100_000 })
    return c.json({ run, count: rows.length, rows })
  })
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
