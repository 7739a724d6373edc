import { createHmac } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CircuitBreaker } from '@gw/breaker'
import { ConnectionPool } from '@gw/pool'
import { afterEach, expect, test } from 'vitest'
import { createGateway, type GatewayOptions } from '../src/index.ts'

const closers: (() => unknown)[] = []

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

interface Call {
  readonly headers: IncomingMessage['headers']
  readonly text: string
  readonly event: {
    readonly id: string
    readonly type: string
    readonly data: { readonly alert: string; readonly subject?: string; readonly node: string }
  }
}

/** A webhook that answers with these statuses first, and keeps every call. */
async function webhook(...statuses: number[]) {
  const calls: Call[] = []
  const server = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk) => {
      text += chunk
    })
    request.on('end', () => {
      calls.push({ headers: request.headers, text, event: JSON.parse(text) })
      response.writeHead(statuses.shift() ?? 204).end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(
    () => server.close(),
    () => server.closeAllConnections(),
  )
  const told = () =>
    calls.map(({ event: { type, data } }) => [type.replace('gw.alert.', ''), data.alert, data.subject].join(' ').trim())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, calls, told }
}

async function gatewayOf(url: string, options: GatewayOptions = {}, alerts: Partial<GatewayOptions['alerts']> = {}) {
  const gateway = await createGateway({
    dataDir: join(mkdtempSync(join(tmpdir(), 'gw-')), 'data'),
    admin: { enabled: false },
    nodeId: 'node-a',
    // Only this test looks.
    alerts: { webhook: url, intervalMs: 3_600_000, ...alerts },
    ...options,
  })
  closers.push(() => gateway.close())
  return gateway
}

test('G18: failed and parked requests are told once, and again when they are over', async () => {
  const { url, told, calls } = await webhook()
  const gateway = await gatewayOf(url)
  gateway.post('/fails', gateway.durable({ operation: 'fails' }), () => {
    throw new Error('always')
  })
  gateway.post(
    '/diverges',
    gateway.durable({ operation: 'diverges', retry: { maxAttempts: 2, initialMs: 1, retryable: () => true } }),
    async (c) => {
      const { attempt } = c.var.run
      await c.var.run.step(`step-${attempt}`, () => 1)
      throw new Error('again')
    },
  )
  await gateway.start()
  await gateway.request('/fails', { method: 'POST' })
  const alerts = gateway.alerts!
  const now = Date.now()
  await alerts.look(now)
  // What had failed before the first look is not news.
  expect(told()).toEqual([])
  await gateway.request('/fails', { method: 'POST' })
  await gateway.request('/diverges', { method: 'POST', headers: { prefer: 'respond-async' } })
  await expect.poll(async () => (await gateway.checkpoints.counts()).parked, { timeout: 30_000 }).toBe(1)
  await alerts.look(now + 1_000)
  await alerts.look(now + 2_000)
  expect(told()).toEqual(['firing requests_failed', 'firing requests_parked'])
  expect(calls[0]!.event.data.node).toBe('node-a')
  const { runs } = await gateway.checkpoints.list({ status: 'parked' })
  await gateway.checkpoints.cancel(runs[0]!.id, { actor: 'ann' })
  await expect.poll(async () => (await gateway.checkpoints.counts()).parked, { timeout: 30_000 }).toBe(0)
  await alerts.look(now + 700_000)
  expect(told().slice(2).sort()).toEqual(['resolved requests_failed', 'resolved requests_parked'])
})

test('G18: an open breaker, a starved pool, a backlog and a damaged trail are told by name', async () => {
  const { url, told } = await webhook()
  const breaker = new CircuitBreaker({ name: 'service' })
  const pool = new ConnectionPool({ name: 'main', min: 0, max: 1 })
  pool.register<object>('main', { create: async () => ({}) })
  const gateway = await gatewayOf(url, { breakers: { service: breaker }, pools: [pool], maxWorkers: 1 }, { backlog: 1 })
  let finish = () => {}
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  gateway.post('/slow', gateway.durable({ operation: 'slow' }), async (c) => {
    await finished
    return c.text('')
  })
  await gateway.start()
  const alerts = gateway.alerts!
  breaker.forceOpen({ actor: 'ann' })
  const lease = await pool.acquire('main')
  const waiting = pool.acquire('main')
  for (let i = 0; i < 4; i++) await gateway.request('/slow', { method: 'POST', headers: { prefer: 'respond-async' } })
  await expect.poll(async () => (await gateway.checkpoints.counts()).queued, { timeout: 30_000 }).toBeGreaterThan(1)
  await alerts.look()
  expect(told().sort()).toEqual(['firing backlog', 'firing breaker_open service'])
  await alerts.look()
  expect(told().slice(2)).toEqual(['firing pool_starved main'])
  gateway.keeping.verified = { ok: false, at: 1 }
  await alerts.look()
  expect(told().slice(3)).toEqual(['firing audit_damaged'])
  finish()
  lease.release()
  ;(await waiting).release()
  breaker.forceClose({ actor: 'ann' })
  gateway.keeping.verified = { ok: true, at: 2 }
  await expect.poll(async () => (await gateway.checkpoints.counts()).completed, { timeout: 30_000 }).toBe(4)
  await alerts.look()
  expect(told().slice(4).sort()).toEqual([
    'resolved audit_damaged',
    'resolved backlog',
    'resolved breaker_open service',
    'resolved pool_starved main',
  ])
})

test('G18: a webhook that is away is told later, in order and under the same id, and each call is signed', async () => {
  const secret = `whsec_${Buffer.from('0123456789abcdef01234567').toString('base64')}`
  const { url, told, calls } = await webhook(500, 302)
  const breaker = new CircuitBreaker({ name: 'service' })
  const gateway = await gatewayOf(url, { breakers: { service: breaker } }, { secret })
  await gateway.start()
  const alerts = gateway.alerts!
  breaker.forceOpen({ actor: 'ann' })
  await alerts.look()
  breaker.forceClose({ actor: 'ann' })
  await alerts.look()
  await alerts.look()
  expect(told()).toEqual([...Array(3).fill('firing breaker_open service'), 'resolved breaker_open service'])
  expect(new Set(calls.map(({ event }) => event.id)).size).toBe(2)
  for (const { headers, text, event } of calls) {
    const signed = `${event.id}.${headers['webhook-timestamp']}.${text}`
    const key = Buffer.from(secret.slice(6), 'base64')
    expect(headers['webhook-signature']).toBe(`v1,${createHmac('sha256', key).update(signed).digest('base64')}`)
    expect(headers['content-type']).toBe('application/cloudevents+json')
  }
})

test('G18: alerts that cannot be are refused when the gateway is made', async () => {
  for (const alerts of [
    { webhook: 'mailto:ann' },
    { webhook: 'http://a', secret: 'short' },
    { webhook: 'http://a', url: 1 },
  ])
    await expect(createGateway({ alerts: alerts as never })).rejects.toMatchObject({
      code: expect.stringMatching(/_option$/),
    })
})
