/**
 * A gateway with something of everything that the dashboard shows, in a process of its own, so that it can be killed. Its port, admin port,
 * data directory and tokens come from the environment.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { CircuitBreaker } from '@gw/breaker'
import { createGateway } from '@gw/gateway'
import { ConnectionPool } from '@gw/pool'

const { env } = process
const gateway = await createGateway({
  title: 'Payments gateway',
  dataDir: env['GW_DATA_DIR']!,
  nodeId: 'node-a',
  principal: (c) => c.req.header('x-user-id'),
  admin: {
    port: Number(env['GW_ADMIN_PORT']),
    token: env['GW_ADMIN_TOKEN']!,
    readToken: env['GW_ADMIN_READ_TOKEN']!,
  },
  drainDelayMs: 0,
  gracefulShutdownMs: 2_000,
})

const ledger = new CircuitBreaker({ name: 'ledger', failureThreshold: 3, openMs: 3_600_000 })
gateway.breakers.add('card-network', new CircuitBreaker({ name: 'card-network', failureThreshold: 5, openMs: 30_000 }))
gateway.breakers.add('ledger', ledger)

const pool = new ConnectionPool({ name: 'main', min: 2, max: 8, acquireTimeoutMs: 10_000, leakThresholdMs: 500 })
const connections = pool.register('database', { create: () => ({ made: Date.now() }), destroy: () => {} })
gateway.pools.add(pool)

gateway.post('/api/payment', gateway.durable({ operation: 'payment' }), async (c) => {
  const { run } = c.var
  const { amount = 1, currency = 'EUR' } = await c.req.json<{ amount?: number; currency?: string }>()
  const reserved = await run.step('reserve', () => ({ amount, currency, hold: `hold_${run.id.slice(-6)}` }))
  const charge = await run.step('charge', async () => {
    await delay(amount > 90 ? 120 : 4)
    return { id: `ch_${run.id.slice(-8)}`, hold: reserved.hold, card: '**** 4242' }
  })
  await run.step('receipt', () => ({ to: 'ann@example.org', charge: charge.id }))
  return c.json({ payment_id: charge.id, status: 'succeeded', amount }, 201)
})

gateway.post('/api/report', gateway.durable({ operation: 'report' }), async (c) => {
  const { run } = c.var
  const { items = 20, item_ms = 50 } = await c.req.json<{ items?: number; item_ms?: number }>()
  for (let item = 0; item < items; item++) {
    await run.update({ stage: 'processing', progress: item / items })
    await run.step('item', async () => {
      await delay(item_ms, undefined, { signal: run.signal })
      return { item }
    })
  }
  return c.json({ items })
})

gateway.post('/api/refund', gateway.durable({ operation: 'refund', retry: { maxAttempts: 1 } }), async (c) => {
  await c.var.run.step('lookup', () => ({ payment: 'ch_1', password: 'hunter2' }))
  await c.var.run.step('refund', () => {
    throw new Error('The provider refused the refund: the charge is older than 180 days')
  })
  return c.json({ ok: true })
})

gateway.post('/api/transfer', gateway.durable({ operation: 'transfer' }), async (c) => {
  await c.var.run.step('check', () => ({ allowed: true }))
  await ledger.run(async () => ({ booked: true }))
  return c.json({ ok: true })
})

gateway.post('/api/approval', gateway.durable({ operation: 'approval' }), async (c) => {
  await c.var.run.step('ask', () => ({ asked: 'finance@example.org' }))
  const answer = await c.var.run.waitFor('approved', { timeoutMs: 86_400_000 })
  return c.json({ answer })
})

gateway.post('/api/dispute', gateway.durable({ operation: 'dispute' }), async (c) => {
  const { run } = c.var
  await run.step('freeze', () => ({ frozen: true }))
  const paid = await run.step('pay out', () => delay(3_600_000, { paid: true }, { signal: run.signal }), {
    onCrash: 'park',
  })
  return c.json(paid)
})

gateway.post('/api/fail', () => {
  throw new Error('not implemented')
})

gateway.get('/api/balance', async (c) => c.json(await connections.use(async () => ({ balance: 12.5 }))))

gateway.post('/test/break-ledger', async (c) => {
  for (let i = 0; i < 3; i++) await ledger.run(() => Promise.reject(new Error('connect ECONNREFUSED'))).catch(() => {})
  return c.json({ state: ledger.state })
})

gateway.post('/test/borrow', async (c) => {
  const lease = await connections.acquire()
  setTimeout(() => lease.release(), 3_600_000).unref()
  return c.json({ lent: true })
})

const running = await gateway.run({ port: Number(env['PORT']) })
process.on('SIGTERM', () => void running.stop().then(() => process.exit(0)))
