import { z } from 'zod'
import type { Gateway } from '../gateway.ts'
import { checkedJson } from './input.ts'
import type { ReferenceTables } from './tables.ts'

const payment = z.object({
  amount: z.number().gt(0),
  currency: z.string().regex(/^[A-Za-z]{3}$/, 'Expected a currency code of three letters'),
  payment_method: z.string().min(1).max(100),
  customer_id: z.string().min(1).max(100),
})

/** `POST /api/payment` charges once, whatever happens in between; `GET /api/payments` lists the ledger. */
export function paymentRoutes(gateway: Gateway, tables: ReferenceTables): void {
  gateway.post('/api/payment', checkedJson(payment), gateway.durable({ operation: 'payment' }), async (c) => {
    const { amount, currency, payment_method, customer_id } = await c.req.json<z.infer<typeof payment>>()
    const { run } = c.var
    const paymentId = `pay_${run.id}`
    const transactionId = `txn_${run.id}`
    await tables.insertOnce(run, 'charge', 'ledger', () => ({
      payment_id: paymentId,
      transaction_id: transactionId,
      customer_id,
      amount,
      currency: currency.toUpperCase(),
      payment_method,
      created_at: new Date().toISOString(),
    }))
    return c.json(
      { payment_id: paymentId, status: 'succeeded', amount_charged: amount, transaction_id: transactionId },
      201,
    )
  })

  gateway.get('/api/payments', async (c) => {
    const customer = c.req.query('customer_id')
    const payments =
      customer === undefined
        ? await tables.select('ledger')
        : await tables.select('ledger', { customer_id: customer }, { limit: 100_000 })
    return c.json({ payments })
  })
}
