import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { createGateway } from '@gw/gateway'
import type { MiddlewareHandler } from 'hono'
import { Stripe } from 'stripe'
import { afterEach, expect, test } from 'vitest'

const clientTimeoutMs = 250
/** Longer than Stripe's client waits for an answer: it sends the request again while the first still is under way. */
const delayMs = 2 * clientTimeoutMs

/** What the processor does to one request that reaches it. */
type Fault = 'fails' | 'resets' | 'delays' | 'charges and fails' | 'charges and resets' | 'none'

const closers: (() => unknown)[] = []

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

/**
 * A card processor behind `POST /v1/payment_intents`. It meets its requests with `faults`, one after the other, and charges whatever
 * it is asked to; with `honoursKeys` it gives a key that it knows its first charge again, as Stripe's does.
 */
async function processor(faults: readonly Fault[], honoursKeys: boolean) {
  const charges: { readonly id: string; readonly key: string; readonly amount: number }[] = []
  const met: Fault[] = []
  const charge = (key: string, body: string) => {
    const known = honoursKeys ? charges.find((each) => each.key === key) : undefined
    if (known !== undefined) return known
    const made = { id: `pi_${charges.length + 1}`, key, amount: Number(new URLSearchParams(body).get('amount')) }
    charges.push(made)
    return made
  }
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const fault = faults[met.length] ?? 'none'
    met.push(fault)
    let body = ''
    for await (const chunk of request) body += chunk
    if (fault === 'fails') return void response.writeHead(503).end()
    if (fault === 'resets') return void request.socket.resetAndDestroy()
    const { id, amount } = charge(String(request.headers['idempotency-key']), body)
    if (fault === 'charges and fails') return void response.writeHead(503).end()
    if (fault === 'charges and resets') return void request.socket.resetAndDestroy()
    if (fault === 'delays') await delay(delayMs)
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ id, object: 'payment_intent', amount, status: 'succeeded' }))
  }
  const server = createServer((request, response) => void answer(request, response).catch(() => response.destroy()))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closers.push(() => server.close().closeAllConnections())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, charges, met }
}

/** Stripe's client knows an error by its `error` member alone, whatever the status: what the gateway refuses is put as it expects. */
const errorsAsStripe: MiddlewareHandler = async (c, next) => {
  await next()
  if (c.res.headers.get('content-type') !== 'application/problem+json') return
  const { code, title, detail } = (await c.res.json()) as { code: string; title: string; detail?: string }
  const type = code.startsWith('idempotency_') ? 'idempotency_error' : 'api_error'
  c.res = new Response(JSON.stringify({ error: { type, code, message: detail ?? title } }), c.res)
  c.res.headers.set('content-type', 'application/json')
}

/** Stripe's client as it is, pointed at a gateway whose upstream is the processor. */
async function stripeThroughGateway(url: string, durable: boolean): Promise<Stripe> {
  const gateway = await createGateway({
    dataDir: join(mkdtempSync(join(tmpdir(), 'gw-stripe-')), 'data'),
    admin: { enabled: false },
    drainDelayMs: 0,
  })
  gateway.upstream('processor', { url })
  gateway.use('/v1/*', errorsAsStripe)
  gateway.proxy('/v1/*', { upstream: 'processor', methods: ['POST'], durable, idempotency: 'required' })
  const running = await gateway.run({ port: 0 })
  closers.push(() => running.stop())
  return new Stripe('sk_test_key', {
    host: '127.0.0.1',
    port: Number(new URL(running.url).port),
    protocol: 'http',
    maxNetworkRetries: 6,
    timeout: clientTimeoutMs,
    telemetry: false,
  })
}

const routes = [
  { route: 'keyed', durable: false },
  { route: 'durable', durable: true },
]

test.each(routes)(
  'Stripe’s client charges once a key through a $route route, whose upstream fails, delays and resets and knows no keys',
  async ({ durable }) => {
    const { url, charges, met } = await processor(['fails', 'resets', 'delays'], false)
    const stripe = await stripeThroughGateway(url, durable)
    const sent: string[] = []
    stripe.on('request', ({ idempotency_key }: { idempotency_key?: string }) => void sent.push(String(idempotency_key)))
    const intent = await stripe.paymentIntents.create({ amount: 2_500, currency: 'eur' })
    expect(met).toEqual(['fails', 'resets', 'delays'])
    expect(charges).toEqual([{ id: intent.id, key: sent[0], amount: 2_500 }])
    // It did try again, always with the key that it had made.
    expect(sent.length).toBeGreaterThan(1)
    expect(new Set(sent).size).toBe(1)
  },
  30_000,
)

test.each(routes)(
  'a charge whose answer was lost on its way to a $route route is found by its key, and made once',
  async ({ durable }) => {
    const { url, charges, met } = await processor(['charges and resets', 'charges and fails', 'delays'], true)
    const stripe = await stripeThroughGateway(url, durable)
    const intent = await stripe.paymentIntents.create({ amount: 900, currency: 'eur' }, { idempotencyKey: 'order-17' })
    expect(met.slice(0, 2)).toEqual(['charges and resets', 'charges and fails'])
    expect(charges).toEqual([{ id: intent.id, key: 'order-17', amount: 900 }])
    // Whoever asks again with the key gets the answer that was kept; the processor hears nothing of it.
    const before = met.length
    const again = await stripe.paymentIntents.create({ amount: 900, currency: 'eur' }, { idempotencyKey: 'order-17' })
    expect([again.id, again.lastResponse.headers['idempotent-replayed'], met.length]).toEqual([
      intent.id,
      'true',
      before,
    ])
  },
  30_000,
)

test.each(routes)(
  'another amount under a key is refused by a $route route, and Stripe’s client reports it at once',
  async ({ durable }) => {
    const { url, charges } = await processor([], false)
    const stripe = await stripeThroughGateway(url, durable)
    await stripe.paymentIntents.create({ amount: 900, currency: 'eur' }, { idempotencyKey: 'order-18' })
    const refused = stripe.paymentIntents.create({ amount: 901, currency: 'eur' }, { idempotencyKey: 'order-18' })
    await expect(refused).rejects.toMatchObject({
      statusCode: 422,
      code: 'idempotency_key_reused',
    })
    expect(charges).toHaveLength(1)
  },
  30_000,
)
