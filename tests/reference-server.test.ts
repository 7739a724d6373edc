import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { type ServerProcess, startServer } from './crash/server.ts'

const running: ServerProcess[] = []

afterEach(async () => {
  for (const server of running.splice(0)) {
    server.process.kill('SIGKILL')
    await server.exited
  }
})

async function start(dataDir = join(mkdtempSync(join(tmpdir(), 'gw-e2e-')), 'data'), env: Record<string, string> = {}) {
  const server = await startServer(dataDir, env)
  running.push(server)
  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    fetch(`${server.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
  const get = async <Answer>(path: string) => (await (await fetch(`${server.url}${path}`)).json()) as Answer
  return { server, post, get, dataDir }
}

const payment = { amount: 25, currency: 'EUR', payment_method: 'card', customer_id: 'ann' }

test('the same payment twice with one key is one ledger row and the same bytes; another body is 422', async () => {
  const { post, get } = await start()
  const key = { 'idempotency-key': 'k' }
  const first = await post('/api/payment', payment, key)
  const second = await post('/api/payment', payment, key)
  expect([first.status, second.status, second.headers.get('idempotent-replayed')]).toEqual([201, 201, 'true'])
  expect(await second.text()).toBe(await first.text())
  expect((await get<{ payments: unknown[] }>('/api/payments?customer_id=ann')).payments).toHaveLength(1)
  const other = await post('/api/payment', { ...payment, amount: 26 }, key)
  expect([other.status, (await other.json()).code]).toEqual([422, 'idempotency_key_reused'])
})

test('an order needs its key, and a payment without one is charged each time', async () => {
  const { post, get } = await start()
  const refused = await post('/api/order', { items: [{ quantity: 2, price: 5 }] })
  expect([refused.status, (await refused.json()).code]).toEqual([400, 'idempotency_key_missing'])
  const placed = await post('/api/order', { items: [{ quantity: 2, price: 5 }] }, { 'idempotency-key': 'o' })
  expect(await placed.json()).toEqual({
    order_id: expect.stringMatching(/^ord_/),
    status: 'confirmed',
    total: 10,
    created_at: expect.any(String),
  })
  for (let i = 0; i < 2; i++) await post('/api/payment', payment)
  expect((await get<{ payments: unknown[] }>('/api/payments?customer_id=ann')).payments).toHaveLength(2)
})

test('two at once: one runs, the other gets 409 with its run and place, or the answer under Prefer: wait', async () => {
  const { post } = await start()
  const job = { type: 'report', items: 20, item_ms: 20 }
  const key = { 'idempotency-key': 'j' }
  const first = post('/api/long-running-process', job, key)
  await delay(100)
  const refused = await post('/api/long-running-process', job, key)
  const waited = await post('/api/long-running-process', job, { ...key, prefer: 'wait=5' })
  const answer = await first
  const run = answer.headers.get('gw-run')
  expect([
    refused.status,
    refused.headers.get('retry-after'),
    refused.headers.get('gw-run'),
    refused.headers.get('location'),
  ]).toEqual([409, '1', run, `/requests/${run}`])
  expect([answer.status, waited.status, await waited.text()]).toEqual([200, 200, await answer.text()])
})

test('a job of 200 items killed at about half finishes by itself, each item once, and the client that retries gets the result', async () => {
  const { server, post, get, dataDir } = await start()
  const job = { type: 'report', user_id: 'ann', items: 200, item_ms: 5 }
  const key = { 'idempotency-key': 'long' }
  const run = (await post('/api/long-running-process', job, { ...key, prefer: 'respond-async' })).headers.get('gw-run')!
  const rows = async (ask: typeof get) =>
    (await ask<{ rows: { item: number; attempt: number }[] }>(`/api/work/${run}`)).rows
  await expect.poll(async () => (await rows(get)).length, { timeout: 10_000, interval: 20 }).toBeGreaterThan(90)
  server.process.kill('SIGKILL')
  await server.exited
  const again = await start(dataDir)
  await expect
    .poll(async () => (await again.get<{ status: string }>(`/requests/${run}`)).status, { timeout: 20_000 })
    .toBe('completed')
  const finished = await rows(again.get)
  expect(finished.map(({ item }) => item)).toEqual(Array.from({ length: 200 }, (_, i) => i))
  expect(new Set(finished.map(({ attempt }) => attempt))).toEqual(new Set([1, 2]))
  const retried = await again.post('/api/long-running-process', job, key)
  expect([retried.status, await retried.json()]).toEqual([
    200,
    { success: true, result: { processed: 200, checksum: expect.stringMatching(/^[0-9a-f]{64}$/) } },
  ])
})

test('bad input is a problem with a code: malformed JSON, a long body, a bad key, an unknown route, a wrong method', async () => {
  const { server, post } = await start()
  const cases: [Promise<Response>, number, string][] = [
    [post('/api/payment', '{"amount":'), 400, 'invalid_json'],
    [post('/api/payment', { amount: -1 }), 400, 'invalid_body'],
    [post('/api/payment', { ...payment, note: 'x'.repeat(2_000_000) }), 413, 'body_too_large'],
    [post('/api/payment', payment, { 'idempotency-key': 'a b' }), 400, 'idempotency_key_invalid'],
    [fetch(`${server.url}/nothing`), 404, 'not_found'],
    [fetch(`${server.url}/api/payment`), 405, 'method_not_allowed'],
  ]
  for (const [pending, status, code] of cases) {
    const response = await pending
    expect([response.status, response.headers.get('content-type'), (await response.json()).code]).toEqual([
      status,
      'application/problem+json',
      code,
    ])
  }
})

test('the four audit events of a sensitive operation are in the trail, without its parameters', async () => {
  const { server, post } = await start()
  const done = await post('/api/sensitive-operation', { type: 'export', password: 'hunter2' }, { 'x-user-id': 'ann' })
  expect(await done.json()).toEqual({ success: true, result: { type: 'export', performed: 1 } })
  expect((await post('/api/sensitive-operation', { type: 'export', fail: true }, { 'x-user-id': 'ann' })).status).toBe(
    500,
  )
  const trail = (await (
    await server.admin('/admin/audit-trail?user_id=ann&start_time=2020-01-01T00:00:00Z')
  ).json()) as { events: { type: string }[]; total_count: number }
  expect(trail.events.map(({ type }) => type)).toEqual([
    'request_received',
    'operation_started',
    'operation_completed',
    'request_received',
    'operation_started',
    'operation_failed',
  ])
  expect(trail.total_count).toBe(6)
  expect(JSON.stringify(trail)).not.toContain('hunter2')
  expect((await server.admin('/admin/audit-trail?limit=9999')).status).toBe(400)
  // A pool says when it has its first connections, which may be before or after this.
  const all = (await (await server.admin('/admin/audit-trail')).json()) as { events: { type: string }[] }
  const others = all.events.filter(({ type }) => !type.startsWith('pool.'))
  expect(others).toHaveLength(6)
  const verified = (await (await server.admin('/admin/events/verify')).json()) as { ok: boolean; events: number }
  expect(verified.ok).toBe(true)
  expect(verified.events).toBeGreaterThanOrEqual(all.events.length)
})

test('a failing service opens its breaker: cached answers, 503 without one, health and audit trail; an operator resets it', async () => {
  const { server, post, get } = await start()
  const profile = async (user: string) => {
    const response = await fetch(`${server.url}/api/user-profile/${user}`)
    return { status: response.status, body: await response.json(), retryAfter: response.headers.get('retry-after') }
  }
  expect(await profile('ann')).toMatchObject({
    status: 200,
    body: { user: { user_id: 'ann' }, enrichment: { user_id: 'ann' }, source: 'live_data' },
  })
  await post('/demo/upstream', { mode: 'fail' })
  for (let i = 0; i < 10; i++) expect((await profile('ann')).status).toBe(502)
  expect(await profile('ann')).toMatchObject({
    status: 200,
    body: { user: { user_id: 'ann' }, source: 'cached_data', circuit_breaker_open: true, service: 'external_api' },
  })
  const unknown = await profile('bob')
  expect([unknown.status, unknown.body]).toEqual([
    503,
    { error: 'Service temporarily unavailable', circuit_breaker_open: true, service: 'external_api' },
  ])
  expect(unknown.retryAfter).toMatch(/^[1-9]\d*$/)
  const health = await get<{ circuit_breakers: Record<string, object> }>('/health/circuit-breakers')
  expect(health.circuit_breakers).toMatchObject({
    database: { state: 'CLOSED', failure_count: 0, failure_rate: 0, last_failure: null, next_attempt: null },
    external_api: { state: 'OPEN', failure_count: 10, next_attempt: expect.stringMatching(/Z$/) },
  })

  const { calls } = await (await post('/demo/upstream', { mode: 'ok' })).json()
  await profile('ann')
  expect((await (await post('/demo/upstream', { mode: 'ok' })).json()).calls).toBe(calls)
  const reset = await server.admin('/admin/circuit-breaker/external_api/reset', { method: 'POST' })
  expect([reset.status, (await reset.json()).message]).toEqual([
    200,
    "Circuit breaker 'external_api' reset successfully",
  ])
  expect((await server.admin('/admin/circuit-breaker/nothing/reset', { method: 'POST' })).status).toBe(404)
  expect((await profile('ann')).body.source).toBe('live_data')
  const trail = await (await server.admin('/admin/audit-trail')).json()
  expect(trail.events.filter(({ type }: { type: string }) => type.startsWith('breaker.'))).toMatchObject([
    { type: 'breaker.opened', subject: 'external_api', data: { reason: 'failure_threshold', failureCount: 10 } },
    { type: 'breaker.reset', subject: 'external_api', actor: expect.stringMatching(/^admin@/) },
  ])
})

test('the orders of the last thirty days come through a pool of real connections, whose health is shown', async () => {
  const { server, post, get } = await start()
  for (const price of [5, 10])
    await post('/api/order', { items: [{ quantity: 1, price }] }, { 'idempotency-key': `o-${price}` })
  expect(await get('/api/analytics')).toEqual({
    analytics: [{ date: new Date().toISOString().slice(0, 10), orders: 2, revenue: 15, avg_value: 7.5 }],
  })
  expect(await get('/health/connection-pool')).toMatchObject({
    pool_status: { active_connections: 0, max_connections: 10 },
    health_metrics: { successful_acquisitions: 1, failed_acquisitions: 0, acquisition_timeouts: 0 },
    performance_metrics: { connections_closed_total: 0 },
  })
  const refreshed = await server.admin('/admin/connection-pools/main_connection_pool/refresh', { method: 'POST' })
  expect(refreshed.status).toBe(200)
})

test('a data directory in use is data_dir_locked, and a port in use is named; both end the process with 1', async () => {
  const { dataDir, server } = await start()
  const second = await startServer(dataDir)
  expect([(await second.exited).code, second.errors()]).toEqual([1, expect.stringContaining('data_dir_locked')])
  const port = new URL(server.url).port
  const third = await startServer(join(mkdtempSync(join(tmpdir(), 'gw-e2e-')), 'data'), { PORT: port })
  expect([(await third.exited).code, third.errors()]).toEqual([1, expect.stringContaining(`Port ${port}`)])
})

test('SIGINT under load: every request that was accepted is answered, and the process ends with 0', async () => {
  const { server, post } = await start(undefined, {})
  const job = { type: 'report', items: 20, item_ms: 20 }
  const answers = Array.from({ length: 5 }, (_, i) =>
    post('/api/long-running-process', job, { 'idempotency-key': `s${i}` }),
  )
  await delay(100)
  server.process.kill('SIGINT')
  expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200, 200, 200, 200])
  expect((await server.exited).code).toBe(0)
})
