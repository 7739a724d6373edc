import { z } from 'zod'
import type { Gateway } from '../gateway.ts'
import { checkedJson } from './input.ts'

const payment = z.object({
  amount: z.number().gt(0),
  currency: z.string().regex(/^[A-Za-z]{3}$/, 'Expected a currency code of three letters'),
  payment_method: z.string().min(1).max(100),
  customer_id: z.string().min(1).max(100),
})

interface LedgerRow {
  readonly payment_id: string
  readonly transaction_id: string
  readonly customer_id: string
  readonly amount: number
  readonly currency: string
  readonly payment_method: string
  readonly created_at: string
}

/** The tables of payments: a ledger with nothing that would hide a second charge. */
export const paymentSchema = `CREATE TABLE ledger (
  payment_id TEXT NOT NULL, transaction_id TEXT NOT NULL, customer_id TEXT NOT NULL, amount REAL NOT NULL,
  currency TEXT NOT NULL, payment_method TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX ledger_customer ON ledger (customer_id);`

/** `POST /api/payment` charges once, whatever happens in between; `GET /api/payments` lists the ledger. */
export function paymentRoutes(gateway: Gateway): void {
  gateway.post('/api/payment', checkedJson(payment), gateway.durable({ operation: 'payment' }), async (c) => {
    const { amount, currency, payment_method, customer_id } = await c.req.json<z.infer<typeof payment>>()
    const { run } = c.var
    const paymentId = `pay_${run.id}`
    const transactionId = `txn_${run.id}`
    await run.transaction('charge', [
      [
        'INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?)',
        [
          paymentId,
          transactionId,
          customer_id,
          amount,
          currency.toUpperCase(),
          payment_method,
          new Date().toISOString(),
        ],
      ],
    ])
    return c.json(
      { payment_id: paymentId, status: 'succeeded', amount_charged: amount, transaction_id: transactionId },
      201,
    )
  })

  gateway.get('/api/payments', (c) => {
    const customer = c.req.query('customer_id')
    const { reader } = gateway.database
    const payments =
      customer === undefined
        ? reader.all<LedgerRow>('SELECT * FROM ledger ORDER BY rowid DESC LIMIT 1000')
        : reader.all<LedgerRow>('SELECT * FROM ledger WHERE customer_id = ? ORDER BY rowid LIMIT 100000', customer)
    return c.json({ payments })
  })
}
