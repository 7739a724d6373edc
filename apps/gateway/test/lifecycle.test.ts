import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { createGateway, type Gateway, type GatewayOptions, type RunningGateway } from '../src/index.ts'

const running: RunningGateway[] = []
const token = 'an-operator-of-this-gateway-0123456789'

afterEach(async () => {
  for (const one of running.splice(0)) await one.stop({ drainDelayMs: 0 })
})

async function run(
  options: GatewayOptions = {},
  routes: (gateway: Gateway) => void = () => {},
): Promise<{ gateway: Gateway; server: RunningGateway; dataDir: string }> {
  const { dataDir = join(mkdtempSync(join(tmpdir(), 'gw-')), 'data') } = options
  const gateway = await createGateway({ gracefulShutdownMs: 100, ...options, dataDir, admin: { port: 0, token } })
  routes(gateway)
  const server = await gateway.run({ port: 0 })
  running.push(server)
  return { gateway, server, dataDir }
}

test('G7: health is on the main listener, needs no token, is never kept by anybody, and gives names and states only', async () => {
  const { gateway, server } = await run({ maxConcurrentRequests: 1 })
  const ask = async (path: string) => {
    const answer = await fetch(`${server.url}${path}`)
    return [answer.status, answer.headers.get('cache-control'), await answer.json()]
  }
  expect(await ask('/health/live')).toEqual([200, 'no-store', { status: 'live' }])
  expect((await ask('/health/ready'))[2]).toEqual({ status: 'ready', phase: 'ready', storage: 'open' })
  expect((await ask('/health'))[2]).toMatchObject({ status: 'ok', components: { storage: 'open' } })
  expect((await ask('/health/circuit-breakers'))[2]).toEqual({ circuit_breakers: {} })
  gateway.admission.maxConcurrentRequests = 0
  expect((await ask('/health/live'))[0]).toBe(200)
  gateway.admission.phase = 'starting'
  expect((await ask('/health/ready'))[0]).toBe(503)
  gateway.admission.phase = 'ready'
})

test('G8: figures name the pattern of a route and never its path, and are for operators only', async () => {
  const { gateway, server } = await run({}, (gateway) => {
    gateway.get('/users/:id', (c) => c.text(c.req.param('id')))
  })
  for (const path of ['/users/ann', '/users/bob', '/nothing/here']) await fetch(`${server.url}${path}`)
  gateway.recordMetric('request_duration', 0.2, { method: 'GET' })
  expect((await fetch(`${server.adminUrl}/metrics`)).status).toBe(401)
  const answer = await fetch(`${server.adminUrl}/metrics`, { headers: { authorization: `Bearer ${token}` } })
  const figures = await answer.text()
  expect(figures).toMatch(/_count\{[^}]*http_route="\/users\/:id"[^}]*\} 2/)
  expect(figures).toMatch(/http_route="unmatched"/)
  expect(figures).toMatch(/gw_request_duration_count\{method="GET"\} 1/)
  expect(figures).not.toMatch(/ann|bob|nothing/)
})

test('G14: a stopping gateway says no to balancers, still takes what comes for the drain, and hands over what is not done', async () => {
  const routes = (gateway: Gateway) => {
    gateway.get('/quick', (c) => c.text('done'))
    gateway.post('/slow', gateway.durable({ operation: 'slow' }), async (c) => {
      const life = await c.var.run.step('first', () => 'kept')
      await c.var.run.step('second', () => (gate.open ? 'done' : new Promise(() => {})))
      return c.json({ life })
    })
  }
  const gate = { open: false }
  const { server, dataDir } = await run({}, routes)
  const slow = await fetch(`${server.url}/slow`, { method: 'POST', headers: { prefer: 'respond-async' } })
  const place = slow.headers.get('location')
  await expect
    .poll(async () => ((await (await fetch(`${server.url}${place}`)).json()) as { steps: unknown[] }).steps.length)
    .toBe(1)

  const stopped = server.stop({ drainDelayMs: 3_000 })
  const ready = await fetch(`${server.url}/health/ready`)
  expect([ready.status, ready.headers.get('connection')]).toEqual([503, 'close'])
  const quick = await fetch(`${server.url}/quick`)
  expect([quick.status, await quick.text(), quick.headers.get('connection')]).toEqual([200, 'done', 'close'])
  await stopped
  await expect(fetch(`${server.url}/quick`)).rejects.toThrow()

  gate.open = true
  const next = await run({ dataDir }, routes)
  await expect
    .poll(async () => (await fetch(`${next.server.url}${place}/response`)).status, { timeout: 10_000 })
    .toBe(200)
  expect(await (await fetch(`${next.server.url}${place}/response`)).json()).toEqual({ life: 'kept' })
})
