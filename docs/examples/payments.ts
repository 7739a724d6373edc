// Stripe's own client, pointed at the gateway, with a bank behind it that is away, resets, and loses an answer after it has charged.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createGateway } from '@gw/gateway'
import Stripe from 'stripe'
import { startBank } from './bank.ts'

const bank = await startBank(['unavailable', 'reset', 'charged and reset'])
const dataDir = mkdtempSync(join(tmpdir(), 'gw-payments-'))
const gateway = await createGateway({ dataDir, admin: { enabled: false }, drainDelayMs: 0 })
gateway.upstream('stripe', { url: bank.url, allowPrivate: true }).proxy('/v1/*', {
  upstream: 'stripe',
  methods: ['POST'],
  durable: true,
  operation: 'stripe',
  idempotency: 'required',
  // The client's credentials are not kept unless they are named. Without them a resumed request could not be sent again.
  headers: ['authorization', 'stripe-version'],
  retry: { maxAttempts: 5 },
})
const { url, stop } = await gateway.run({ port: 0 })

const { hostname, port } = new URL(url)
const stripe = new Stripe('sk_test_example', {
  host: hostname,
  port: Number(port),
  protocol: 'http',
  maxNetworkRetries: 3,
})
const intent = await stripe.paymentIntents.create({ amount: 2_500, currency: 'eur' }, { idempotencyKey: 'order-1' })
const again = await stripe.paymentIntents.create({ amount: 2_500, currency: 'eur' }, { idempotencyKey: 'order-1' })

console.log(`${intent.id} ${intent.status}, ${again.id} again`)
console.log(`calls at the bank: ${bank.calls}, charges: ${bank.charges.length}`)

await stop()
bank.close()
rmSync(dataDir, { recursive: true })
