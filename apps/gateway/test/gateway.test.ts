import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CircuitBreaker } from '@gw/breaker'
import { CheckpointManager } from '@gw/checkpoint'
import { memoryCheckpointStore } from '@gw/checkpoint/memory'
import { RequestDeduplicator } from '@gw/dedup'
import { memoryDedupStore } from '@gw/dedup/memory'
import { ConnectionPool } from '@gw/pool'
import { afterEach, expect, test } from 'vitest'
import { createGateway, type Gateway, type GatewayOptions } from '../src/index.ts'

const open: Gateway[] = []

afterEach(async () => {
  for (const gateway of open.splice(0)) await gateway.close()
})

async function gatewayOf(options: GatewayOptions = {}): Promise<Gateway> {
  const gateway = await createGateway({ dataDir: join(mkdtempSync(join(tmpdir(), 'gw-')), 'data'), ...options })
  open.push(gateway)
  return gateway
}

test('G1: an unknown option throws with its path and the nearest known one; several wrong ones are told at once', async () => {
  await expect(createGateway({ titel: 'x', metrics: { enable: true } } as never)).rejects.toMatchObject({
    code: 'unknown_option',
    message: expect.stringMatching(
      /`titel`; did you mean `title`[\s\S]*|`metrics.enable`; did you mean `metrics.enabled`/,
    ),
  })
  await expect(createGateway({ audit: { retentonMs: 1 } } as never)).rejects.toThrow(
    'did you mean `audit.retentionMs`?',
  )
  await expect(createGateway({ maxWorkers: 0, admin: { token: 'short' } })).rejects.toMatchObject({
    code: 'invalid_option',
    message: expect.stringContaining('`admin.token`'),
  })
})

test('G1: an option that a given part would make void is refused, with what the part calls it', async () => {
  const checkpoints = new CheckpointManager({ store: memoryCheckpointStore() })
  const deduplicator = new RequestDeduplicator({ store: memoryDedupStore() })
  await expect(
    gatewayOf({ checkpoints, maxWorkers: 5, deduplicator, idempotencyWindowMs: 1_000 }),
  ).rejects.toMatchObject({
    code: 'invalid_option',
    message: expect.stringMatching(/`maxWorkers`.*`maxConcurrentRuns`[\s\S]*`idempotencyWindowMs`.*`windowMs`/),
  })
})

test('G1, O3: with a manager of one’s own, too, an open breaker lets a run wait, and the figures count it', async () => {
  const gateway = await gatewayOf({ checkpoints: new CheckpointManager({ store: memoryCheckpointStore() }) })
  const breaker = new CircuitBreaker({ name: 'bank', openMs: 60_000 })
  gateway.breakers.add('bank', breaker)
  gateway.post('/pay', gateway.durable({ operation: 'pay' }), (c) =>
    c.var.run.step('charge', () => breaker.run(() => c.json({}))).then(() => c.json({})),
  )
  await gateway.start()
  breaker.forceOpen({ actor: 'ann' })
  const answer = await gateway.request('/pay', { method: 'POST', headers: { prefer: 'wait=0' } })
  const { id } = (await answer.json()) as { id: string }
  await expect.poll(async () => (await gateway.checkpoints.get(id))?.reason).toMatch(/^breaker_open/)
  expect(await gateway.metrics!.registry.metrics()).toContain('gw_transitions_total{name="checkpoint.waiting"} 1')
})

test('G1: an empty principal is nobody', async () => {
  const gateway = await gatewayOf({ principal: (c) => c.req.header('x-user-id') })
  gateway.get('/me', (c) => c.text(gateway.principalOf(c)))
  const ask = async (id: string) => (await gateway.request('/me', { headers: { 'x-user-id': id } })).text()
  expect([await ask(''), await ask('ann')]).toEqual(['anonymous', 'ann'])
})

test('G2: id, admission, figures, your authentication, key, run, handler: each has its say before the next', async () => {
  const gateway = await gatewayOf()
  const passed: string[] = []
  gateway.use('/pay', async (c, next) => {
    passed.push('authentication')
    return c.req.header('authorization') === undefined ? c.text('no', 401) : next()
  })
  gateway.post('/pay', gateway.durable({ operation: 'pay', idempotency: 'required' }), (c) => {
    passed.push('handler')
    return c.json({}, 201)
  })
  await gateway.start()
  const known = { authorization: 'Bearer a' }
  const key = { 'idempotency-key': 'k' }
  const send = async (headers: Record<string, string>) => {
    passed.length = 0
    const answer = await gateway.request('/pay', { method: 'POST', headers })
    expect(answer.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
    return [answer.status, ...passed]
  }

  expect(await send(key)).toEqual([401, 'authentication'])
  expect(await send(known)).toEqual([400, 'authentication'])
  expect((await gateway.checkpoints.list()).runs).toEqual([])
  expect((await gateway.events.query()).events).toEqual([])
  expect(await send({ ...known, ...key })).toEqual([201, 'authentication', 'handler'])
  expect(await send({ ...known, ...key })).toEqual([201, 'authentication'])
  expect(await send(key)).toEqual([401, 'authentication'])

  gateway.admission.maxConcurrentRequests = 0
  expect(await send({ ...known, ...key })).toEqual([503])
  expect((await gateway.request('/health/live')).status).toBe(200)
  const figures = await gateway.metrics!.registry.metrics()
  for (const status of ['401', '400', '201', '503']) expect(figures).toContain(`http_response_status_code="${status}"`)
})

test('G3: acceptance and outcome are one commit each, with claim, run and event', async () => {
  const gateway = await gatewayOf()
  gateway.post('/pay', gateway.durable({ operation: 'pay' }), (c) => c.json({ id: c.var.run.id }, 201))
  await gateway.start()
  const before = gateway.database.health.commits
  const send = () => gateway.request('/pay', { method: 'POST', headers: { 'idempotency-key': 'k' } })
  const first = await send()
  expect(gateway.database.health.commits - before).toBe(2)
  const again = await send()
  expect(gateway.database.health.commits - before).toBe(2)
  expect([await again.text(), again.headers.get('gw-run'), again.headers.get('idempotent-replayed')]).toEqual([
    await first.text(),
    first.headers.get('gw-run'),
    'true',
  ])
  expect((await gateway.events.query()).events.map(({ type }) => type)).toEqual([
    'request_received',
    'operation_completed',
  ])
})

test('G3: of twenty concurrent requests with one key one runs, and the others are told its run', async () => {
  const gateway = await gatewayOf()
  let calls = 0
  let release = () => {}
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  gateway.post('/pay', gateway.durable({ operation: 'pay' }), async (c) => {
    calls++
    await gate
    return c.json({ calls }, 201)
  })
  await gateway.start()
  const answers = Array.from({ length: 20 }, () =>
    gateway.request('/pay', { method: 'POST', headers: { 'idempotency-key': 'k' } }),
  )
  expect((await Promise.race(answers)).status).toBe(409)
  release()
  const settled = await Promise.all(answers)
  expect(calls).toBe(1)
  const run = settled.find(({ status }) => status === 201)!.headers.get('gw-run')
  expect(settled.every(({ headers }) => headers.get('gw-run') === run)).toBe(true)
  for (const { status, headers } of settled) {
    if (status === 409) expect([headers.get('retry-after'), headers.get('location')]).toEqual(['1', `/requests/${run}`])
  }
})

test('W1: under Prefer: wait a duplicate gets the same bytes; another principal does not see the run', async () => {
  const gateway = await gatewayOf({ principal: (c) => c.req.header('x-user-id') })
  let release = () => {}
  gateway.post('/pay', gateway.durable({ operation: 'pay' }), async (c) => {
    await new Promise<void>((resolve) => {
      release = resolve
    })
    return c.json({ ok: true }, 201)
  })
  await gateway.start()
  const headers = { 'idempotency-key': 'k', 'x-user-id': 'ann' }
  const first = gateway.request('/pay', { method: 'POST', headers })
  await expect.poll(() => gateway.checkpoints.live).toBe(1)
  const attached = gateway.request('/pay', { method: 'POST', headers: { ...headers, prefer: 'wait=5' } })
  await expect
    .poll(async () => {
      release()
      return (await gateway.checkpoints.counts()).completed
    })
    .toBe(1)
  const [one, two] = await Promise.all([first, attached])
  expect([two.status, await two.text()]).toEqual([201, await one.text()])
  const place = `/requests/${one.headers.get('gw-run')}`
  expect((await gateway.request(place, { headers: { 'x-user-id': 'ann' } })).status).toBe(200)
  const stranger = await gateway.request(place, { headers: { 'x-user-id': 'bob' } })
  const absent = await gateway.request('/requests/none', { headers: { 'x-user-id': 'bob' } })
  expect([stranger.status, absent.status]).toEqual([404, 404])
})

test('G1: a basic server takes keys and leaves audit events only where a route asks', async () => {
  const gateway = await gatewayOf({ serverType: 'basic' })
  let calls = 0
  gateway.post('/plain', gateway.durable({ operation: 'plain' }), (c) => c.json({ call: ++calls }))
  gateway.post('/keyed', gateway.durable({ operation: 'keyed', idempotency: 'required' }), (c) =>
    c.json({ call: ++calls }),
  )
  await gateway.start()
  const send = async (path: string) =>
    (await gateway.request(path, { method: 'POST', headers: { 'idempotency-key': 'k' } })).json()
  expect([await send('/plain'), await send('/plain')]).toEqual([{ call: 1 }, { call: 2 }])
  expect([await send('/keyed'), await send('/keyed')]).toEqual([{ call: 3 }, { call: 3 }])
  expect((await gateway.events.query()).events).toEqual([])
})

test('G1: without persistence a durable route works the same, and says that it keeps things in memory', async () => {
  for (const options of [{ durable: false }, { persistRequests: false }]) {
    const gateway = await gatewayOf(options)
    gateway.post('/pay', gateway.durable({ operation: 'pay' }), async (c) => c.json(await c.var.run.step('s', () => 1)))
    await gateway.start()
    const send = () => gateway.request('/pay', { method: 'POST', headers: { 'idempotency-key': 'k' } })
    const first = await send()
    const again = await send()
    expect([first.status, first.headers.get('gw-durability'), again.headers.get('idempotent-replayed')]).toEqual([
      200,
      'memory',
      'true',
    ])
    await expect.poll(async () => (await gateway.events.query()).events.length).toBe(2)
  }
})

test('B14: an open breaker and an operator’s decision outlive a restart', async () => {
  const dataDir = join(mkdtempSync(join(tmpdir(), 'gw-')), 'data')
  const life = async () => {
    const gateway = await gatewayOf({ dataDir })
    for (const name of ['opened', 'forced', 'well'])
      gateway.breakers.add(name, new CircuitBreaker({ name, failureThreshold: 1, openMs: 60_000 }))
    await gateway.start()
    return gateway
  }
  const first = await life()
  await expect(first.breakers.get('opened').run(() => Promise.reject(new Error('down')))).rejects.toThrow('down')
  first.breakers.get('forced').forceClose({ actor: 'ann' })
  await first.close()
  open.length = 0
  const second = await life()
  const opened = second.breakers.get('opened')
  expect([opened.state, second.breakers.get('forced').forced, second.breakers.get('well').state]).toEqual([
    'OPEN',
    'closed',
    'CLOSED',
  ])
  const left = opened.nextAttemptTime!.getTime() - Date.now()
  expect(left > 0 && left < 60_000).toBe(true)
})

test('O3: an open breaker parks a durable run until its next attempt, burns no attempt, and the run finishes by itself', async () => {
  const gateway = await gatewayOf()
  const breaker = new CircuitBreaker({ name: 'provider', failureThreshold: 1, openMs: 300 })
  gateway.breakers.add('provider', breaker)
  await expect(breaker.run(() => Promise.reject(new Error('down')))).rejects.toThrow('down')
  let calls = 0
  gateway.post('/pay', gateway.durable({ operation: 'pay' }), async (c) => {
    const charged = await c.var.run.step('charge', () => breaker.run(() => ++calls), { retry: { maxAttempts: 1 } })
    return c.json({ charged, attempt: c.var.run.attempt }, 201)
  })
  await gateway.start()
  const answer = await gateway.request('/pay', { method: 'POST' })
  expect([answer.status, await answer.json(), breaker.state]).toEqual([201, { charged: 1, attempt: 1 }, 'HALF_OPEN'])
})

test('C5, G4: a pool whose factory fails opens its breaker: acquires fail at once, runs park, and the trail has it all', async () => {
  let down = true
  let connects = 0
  const pool = new ConnectionPool({
    name: 'orders',
    min: 0,
    max: 2,
    acquireTimeoutMs: 500,
    backoffMs: 1,
    sweepIntervalMs: 20,
  })
  const breaker = new CircuitBreaker({ name: 'orders', failureThreshold: 2, openMs: 400, halfOpenMaxCalls: 1 })
  const database = pool.register<object>('database', {
    create: async () => {
      connects++
      if (down) throw new Error('connect ECONNREFUSED')
      return {}
    },
    breaker,
  })
  const gateway = await gatewayOf({ breakers: { orders: breaker }, pools: [pool] })
  gateway.post('/pay', gateway.durable({ operation: 'pay' }), async (c) => {
    const paid = await c.var.run.step('pay', () => database.use(() => 'paid'), { retry: { maxAttempts: 1 } })
    return c.json({ paid }, 201)
  })
  await gateway.start()
  while (breaker.state === 'CLOSED') await database.acquire().catch(() => {})
  const before = connects
  const began = performance.now()
  await expect(database.acquire()).rejects.toMatchObject({ code: 'breaker_open', retryAfterMs: expect.any(Number) })
  expect([performance.now() - began < 50, connects]).toEqual([true, before])
  const answer = gateway.request('/pay', { method: 'POST' })
  await expect.poll(async () => (await gateway.checkpoints.counts()).waiting).toBe(1)
  down = false
  expect([(await answer).status, breaker.state]).toEqual([201, 'CLOSED'])
  await gateway.audit.settled()
  const types = (await gateway.events.query({ subject: 'orders' })).events.map(({ type }) => type)
  expect(types).toEqual(
    expect.arrayContaining([
      'breaker.opened',
      'pool.failing',
      'pool.breaker_open',
      'breaker.half_opened',
      'breaker.closed',
      'pool.recovered',
    ]),
  )
})

test('3.4: what is not there is 404, a wrong method 405 with Allow, an unexpected error 500 without its text', async () => {
  const gateway = await gatewayOf()
  gateway.get('/x', () => {
    throw new Error('the password is hunter2')
  })
  expect((await gateway.request('/nothing')).status).toBe(404)
  const wrong = await gateway.request('/x', { method: 'POST' })
  expect([wrong.status, wrong.headers.get('allow'), (await wrong.json()).code]).toEqual([
    405,
    'GET, HEAD',
    'method_not_allowed',
  ])
  const failed = await gateway.request('/x')
  expect([failed.status, failed.headers.get('content-type')]).toEqual([500, 'application/problem+json'])
  expect(await failed.text()).not.toContain('hunter2')
})

test('G6: over maxConcurrentRequests 503 with Retry-After at once; health still answers', async () => {
  const gateway = await gatewayOf({ maxConcurrentRequests: 1 })
  let release = () => {}
  gateway.get('/slow', async (c) => {
    await new Promise<void>((resolve) => {
      release = resolve
    })
    return c.text('done')
  })
  const slow = gateway.request('/slow')
  const refused = await gateway.request('/slow')
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1'])
  expect((await gateway.request('/health/live')).status).toBe(200)
  release()
  expect((await slow).status).toBe(200)
})

test('3.6: the admin listener needs its token, in every form of lacking it, and is never cached', async () => {
  const gateway = await gatewayOf({ admin: { port: 0 }, gracefulShutdownMs: 100 })
  const running = await gateway.run({ port: 0 })
  const ask = (headers: Record<string, string>) => fetch(`${running.adminUrl}/admin/requests`, { headers })
  for (const headers of [{}, { authorization: 'Bearer x' }, { authorization: 'nonsense' }] as Record<
    string,
    string
  >[]) {
    expect((await ask(headers)).status).toBe(401)
  }
  const answer = await ask({ authorization: `Bearer ${running.adminToken}` })
  expect([answer.status, answer.headers.get('cache-control')]).toEqual([200, 'no-store'])
  await running.stop({ drainDelayMs: 0 })
  open.length = 0
})
