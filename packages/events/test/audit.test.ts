import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Context, Hono } from 'hono'
import { afterEach, expect, test } from 'vitest'
import { type AuditEnv, audit, type EventLog, EventStore, memoryEventStore } from '../src/index.ts'
import { sqliteEventStore } from '../src/stores/sqlite.ts'
import { closeDatabases, openTestDatabase } from './test-database.ts'

afterEach(closeDatabases)

function appWith(store: EventLog, more = {}) {
  const events = new EventStore({ store })
  const app = new Hono<AuditEnv>()
  app.use(audit({ events, actor: (c) => c.req.header('x-user-id'), address: () => '203.0.113.77', ...more }))
  app.post('/ok', (c) => {
    c.get('auditDetail')({ result_summary: { rows: 3 } })
    return c.json({ ok: true }, 201)
  })
  app.get('/refused', (c) => c.json({}, 403))
  app.get('/broken', () => {
    throw Object.assign(new Error('the secret is canary'), { code: 'E_BROKEN' })
  })
  return { app, events }
}

const post = { method: 'POST', headers: { 'x-user-id': 'ann', 'x-request-id': 'req-1', 'user-agent': 'test' } }

test('audit: a request leaves received, started and completed, tied by its id, with actor, status and time', async () => {
  const { app, events } = appWith(memoryEventStore())
  expect((await app.request('/ok?token=1&x=2', post)).status).toBe(201)
  const page = await events.query({ requestId: 'req-1', actor: 'ann' })
  expect(page.events.map(({ type, data }) => [type, data])).toEqual([
    [
      'request_received',
      {
        operation: 'POST /ok',
        method: 'POST',
        url: '/ok?token=[redacted]&x=[redacted]',
        headers: { 'user-agent': 'test' },
        ip_address: '203.0.113.0/24',
      },
    ],
    ['operation_started', { operation: 'POST /ok' }],
    [
      'operation_completed',
      { operation: 'POST /ok', status: 201, execution_time_ms: expect.any(Number), result_summary: { rows: 3 } },
    ],
  ])
})

test('audit: an operation is a method and a route, however many paths lead to it', async () => {
  const { app, events } = appWith(memoryEventStore())
  app.get('/items/:id', (c) => c.text('x'))
  for (const path of ['/items/1', '/items/2', '/absent/1', '/absent/2']) await app.request(path)
  const { events: started } = await events.query({ type: 'operation_started' })
  expect(started.map(({ data }) => (data as { operation: string }).operation).sort()).toEqual([
    'GET /*',
    'GET /*',
    'GET /items/:id',
    'GET /items/:id',
  ])
})

test('audit: a thrown error and a refusal are operation_failed; the message of the error is not in it', async () => {
  const { app, events } = appWith(memoryEventStore())
  expect((await app.request('/broken')).status).toBe(500)
  expect((await app.request('/refused')).status).toBe(403)
  const { events: failed } = await events.query({ type: 'operation_failed' })
  expect(failed.map(({ data }) => data)).toMatchObject([
    { status: 500, error_type: 'Error', error_code: 'E_BROKEN' },
    { status: 403 },
  ])
  expect(JSON.stringify(failed)).not.toContain('canary')
})

test('audit: what cannot be accounted for is not done, and gets 503 with a code; `pass` lets it go on', async () => {
  const broken: EventLog = {
    ...memoryEventStore(),
    open: () => Promise.reject(new Error('down')),
    append: () => ({ procedure: '', args: undefined }),
  } as never
  const { app } = appWith(broken)
  const response = await app.request('/ok', post)
  expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([503, 'audit_unavailable'])
  expect(response.headers.get('retry-after')).toBe('1')
  const errors: unknown[] = []
  const passing = appWith(broken, { onStoreError: 'pass', onError: (error: unknown) => errors.push(error) })
  expect((await passing.app.request('/ok', post)).status).toBe(201)
  expect(errors).toHaveLength(1)
})

test('audit: no header of a client keeps its request out of the trail', async () => {
  for (const [given, kept] of [
    ['', null],
    ['x'.repeat(600), 'x'.repeat(512)],
  ] as const) {
    const { app, events } = appWith(memoryEventStore(), {
      onStoreError: 'pass',
      subject: (c: Context) => c.req.header('x-user-id'),
      requestId: (c: Context) => c.req.header('x-user-id'),
    })
    expect((await app.request('/ok', { ...post, headers: { 'x-user-id': given } })).status).toBe(201)
    const found = (await events.query()).events
    expect(found.map(({ actor, subject }) => [actor, subject])).toEqual([1, 2, 3].map(() => [kept, kept]))
    expect(new Set(found.map(({ requestId }) => requestId)).size).toBe(1)
  }
})

test('audit: an unknown option is an error, and making the middleware does nothing', () => {
  expect(() => audit({ events: new EventStore({ store: memoryEventStore() }), user: 1 } as never)).toThrow(
    expect.objectContaining({ code: 'invalid_option' }),
  )
})

test('D1: a canary in header, query, body, path value, error and detail is in no file and no row', async () => {
  const canary = 'canary8d1f0c2b7a6e4f3d9c5b1a2e3f4d5c6b'
  const db = await openTestDatabase()
  const events = new EventStore({ store: sqliteEventStore({ db }) })
  const app = new Hono<AuditEnv>()
  app.use(
    audit({
      events,
      headers: ['authorization', 'cookie', 'x-api-key', 'user-agent', 'idempotency-key', 'x-forwarded-for'],
    }),
  )
  app.post('/login', (c) => {
    c.get('auditDetail')({ password: canary, nested: { token: canary }, dsn: `postgres://u:${canary}@h` })
    throw Object.assign(new Error(canary), { stack: canary, cause: canary })
  })
  app.onError((error, c) => c.text(error.message, 500))
  const response = await app.request(`/login?password=${canary}&any=${canary}`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${canary}`,
      cookie: `session=${canary}`,
      'x-api-key': canary,
      'idempotency-key': canary,
      'user-agent': `x https://a:${canary}@b/ Bearer ${canary}`,
      'x-forwarded-for': canary,
      'x-request-id': 'req-9',
      traceparent: canary,
    },
    body: JSON.stringify({ password: canary, card: canary }),
  })
  expect(response.status).toBe(500)
  const rows = (await events.query()).events
  expect(rows.map(({ type }) => type)).toEqual(['request_received', 'operation_started', 'operation_failed'])
  expect(JSON.stringify(rows)).not.toContain(canary)
  await db.close()
  for (const name of readdirSync(db.directory)) {
    expect(readFileSync(join(db.directory, name), 'latin1')).not.toContain(canary)
  }
})
