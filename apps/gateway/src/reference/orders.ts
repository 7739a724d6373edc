import { z } from 'zod'
import type { Gateway } from '../gateway.ts'
import { checkedJson } from './input.ts'

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

/** The table of orders, with nothing that would hide a second one. */
export const orderSchema = `CREATE TABLE orders (
  order_id TEXT NOT NULL, customer_id TEXT NOT NULL, status TEXT NOT NULL, amount REAL NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX orders_created ON orders (created_at); CREATE INDEX orders_customer ON orders (customer_id);`

/** `POST /api/order` needs an `Idempotency-Key` and writes one order. */
export function orderRoutes(gateway: Gateway): void {
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
      await run.transaction('place', [
        [
          'INSERT INTO orders VALUES (?, ?, ?, ?, ?)',
          [
            placed.orderId,
            input.customer_id ?? run.principal ?? 'anonymous',
            placed.status,
            placed.total,
            placed.createdAt,
          ],
        ],
      ])
      return c.json(
        { order_id: placed.orderId, status: placed.status, total: placed.total, created_at: placed.createdAt },
        201,
      )
    },
  )
}
