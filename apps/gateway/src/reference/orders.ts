import { z } from 'zod'
import type { Gateway } from '../gateway.ts'
import { checkedJson } from './input.ts'
import type { ReferenceTables } from './tables.ts'

const order = z.object({
  customer_id: z.string().min(1).max(100).optional(),
  items: z
    .array(
      z.object({
        sku: z.string().min(1).max(100).optional(),
        quantity: z.number().int().min(1).max(10_000),
        price: z.number().min(0),
      }),
    )
    .max(1_000)
    .optional(),
  total: z.number().min(0).optional(),
})

/** `POST /api/order` needs an `Idempotency-Key` and writes one order. */
export function orderRoutes(gateway: Gateway, tables: ReferenceTables): void {
  gateway.post(
    '/api/order',
    checkedJson(order),
    gateway.durable({ operation: 'order', idempotency: 'required' }),
    async (c) => {
      const input = await c.req.json<z.infer<typeof order>>()
      const { run } = c.var
      const total = input.items?.reduce((sum, { quantity, price }) => sum + quantity * price, 0) ?? input.total ?? 0
      const placed = await run.step('price', () => ({
        orderId: `ord_${run.id}`,
        status: 'confirmed',
        total: Math.round(total * 100) / 100,
        createdAt: new Date().toISOString(),
      }))
      await tables.insertOnce(run, 'place', 'orders', () => ({
        order_id: placed.orderId,
        customer_id: input.customer_id ?? run.principal ?? 'anonymous',
        status: placed.status,
        amount: placed.total,
        created_at: placed.createdAt,
      }))
      return c.json(
        { order_id: placed.orderId, status: placed.status, total: placed.total, created_at: placed.createdAt },
        201,
      )
    },
  )
}
