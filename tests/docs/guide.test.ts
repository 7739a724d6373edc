import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { blocksOf, documentText } from './blocks.ts'
import { addresses, extract, fileOf, removeExtracted } from './programs.ts'

const blocks = blocksOf('docs/guide.md').filter(({ language }) => language === 'ts')
const main = blocks.find(({ file }) => file === 'main.ts')!
const cwd = mkdtempSync(join(tmpdir(), 'gw-guide-'))
const operatorToken = 'operator-of-the-guide'
const folder = 'guide'
let env: Record<string, string> = {}
let server: ChildProcess
let url = ''

/** Starts the application of the guide in its directory. */
async function start(): Promise<void> {
  const preload = fileURLToPath(new URL('./free-ports.ts', import.meta.url))
  server = spawn(process.execPath, ['--import', preload, fileOf(main, folder)], {
    cwd,
    env: { ...process.env, ...env, OPERATOR_TOKEN: operatorToken },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let printed = ''
  for await (const chunk of server.stdout!) {
    printed += chunk
    url = /^http:\/\/127\.0\.0\.1:\d+$/m.exec(printed)?.[0] ?? ''
    if (url !== '') return
  }
  throw new Error(`The application ended with:\n${printed}`)
}

async function kill(): Promise<void> {
  const gone = once(server, 'exit')
  server.kill('SIGKILL')
  await gone
}

beforeAll(async () => {
  extract(blocks, folder)
  env = await addresses()
  await start()
}, 120_000)

afterAll(async () => {
  await kill()
  removeExtracted(folder)
})

function send(path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${url}${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { 'content-type': 'application/json', 'x-user-id': 'ann', ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
}

const json = async (response: Promise<Response>) => [(await response).status, await (await response).json()]

/** Asks until the answer is what is waited for. */
async function until<Value>(ask: () => Promise<Value>, good: (value: Value) => boolean): Promise<Value> {
  for (;;) {
    const value = await ask()
    if (good(value)) return value
    await delay(100)
  }
}

test('G4: the guide’s blocks stand in docs/guide.md in its order', () => {
  const sections = [
    'gateway.ts',
    'by-hand.ts',
    'payments.ts',
    'user-profile.ts',
    'breaker-routes.ts',
    'analytics.ts',
    'sensitive-operation.ts',
    'strategies.ts',
    'error-recovery.ts',
    'performance.ts',
  ]
  const files = blocks.map(({ file }) => file).filter((file) => sections.includes(file ?? ''))
  expect(files).toEqual(sections)
  expect(dirname(fileOf(main))).toContain('guide')
})

/** Every option that the guide sets and every call that it makes, as they stand there. */
const names = `
acquire acquire_timeout add_circuit_breaker add_connection_pool add_event_store add_middleware
append archive_path backup_interval_hours batch_size buffer_size checkpoint_manager
circuit_breaker cloud_config command_timeout complete_checkpoint compression_enabled compression_threshold_mb
connection_validation_query create_checkpoint description disk_path enable_clustering enable_deduplication
enable_durability enable_metrics enable_pre_warming enable_projections enable_request_persistence event_store
expected_errors fail_checkpoint failure_threshold flush_interval_seconds gc_interval_hours get_events
get_idempotent_result get_incomplete_checkpoints get_metrics graceful_shutdown_timeout half_open_max_calls health_check_interval
idempotency_window_minutes idle_timeout max_cache_size max_concurrent_requests max_connections max_failures_before_refresh
max_file_size_mb max_lifetime max_workers memory_limit_mb metrics_collection_interval metrics_namespace
middleware min_connections order_by pre_warm_patterns projection_update_interval record_metric
redis_url register_factory request_timeout_seconds retention_days rolling_window_seconds run
server_type start storage_backend storage_path storage_type store_idempotent_result
timeout_seconds title update_checkpoint window_minutes
`

test('G4: every option and call of the guide has its counterpart on the page', () => {
  const page = documentText('docs/guide.md')
  const wanted = names.trim().split(/\s+/)
  expect(wanted.length).toBeGreaterThan(60)
  expect(wanted.filter((name) => !new RegExp(`\\b${name}\\b`).test(page))).toEqual([])
})

test('G4: killed in the middle, both forms of the long-running process are finished by the next process', async () => {
  const work = { type: 'report', user_id: 'ann', items: 60 }
  const durable = await send('/api/long-running-process', work, { prefer: 'respond-async' })
  expect(durable.status).toBe(202)
  const run = durable.headers.get('gw-run')!
  const byHand = send('/api/by-hand', work, { 'x-request-id': 'by-hand-1' }).catch(() => undefined)
  const status = async (id: string) =>
    (await (await send(`/requests/${id}`)).json()) as { status: string; steps: unknown[] }
  await until(
    () => status(run),
    ({ steps }) => steps.length > 5,
  )
  await kill()
  expect(await byHand).toBeUndefined()
  await start()
  const done = await until(
    () => status(run),
    (answer) => answer.status === 'completed',
  )
  expect(done.steps).toHaveLength(62)
  expect(await json(send(`/requests/${run}/response`))).toEqual([200, { success: true, result: { processed: 60 } }])
  const [incomplete] = await until(
    () => json(send('/demo/incomplete')),
    ([, list]) => list.length === 0,
  )
  expect(incomplete).toBe(200)
})

test('G4: a payment runs once a key, and once a fingerprint where it has no key; an order needs its key', async () => {
  const payment = { amount: 25, currency: 'EUR', payment_method: 'card', customer_id: 'ann' }
  const [first, again] = [
    await send('/api/payment', payment, { 'idempotency-key': 'p' }),
    await send('/api/payment', payment, { 'idempotency-key': 'p' }),
  ]
  expect([await again.text(), again.headers.get('idempotent-replayed')]).toEqual([await first.text(), 'true'])
  const [alike, known] = [await send('/api/payment', payment), await send('/api/payment', payment)]
  expect([await known.text(), known.headers.get('idempotency-status')]).toEqual([await alike.text(), 'replayed'])
  const order = { items: [{ quantity: 2, price: 5 }] }
  expect(await json(send('/api/order', order, { 'x-user-id': '' }))).toEqual([
    400,
    { error: 'Idempotency-Key header required' },
  ])
  const placed = await json(send('/api/order', order, { 'idempotency-key': 'o' }))
  expect(placed).toEqual([200, expect.objectContaining({ status: 'confirmed', total: 10 })])
  expect(await json(send('/api/order', order, { 'idempotency-key': 'o' }))).toEqual(placed)
})

test('G4: with the external API down its breaker opens, the cache answers, and a reset closes it', async () => {
  expect((await json(send('/api/user-profile/bob')))[1]).toMatchObject({ source: 'live_data' })
  await send('/demo/external-api', { down: true })
  for (let i = 0; i < 10; i++) expect((await send('/api/user-profile/bob')).status).toBe(500)
  const open = { circuit_breaker_open: true, service: 'external_api_circuit_breaker' }
  expect(await json(send('/api/user-profile/bob'))).toEqual([
    200,
    { user: expect.anything(), source: 'cached_data', ...open },
  ])
  expect(await json(send('/api/user-profile/carl'))).toEqual([
    503,
    { error: 'Service temporarily unavailable', ...open },
  ])
  const operator = { authorization: `Bearer ${operatorToken}` }
  const states = await json(send('/operators/circuit-breakers', undefined, operator))
  expect(states[1].circuit_breakers.external_api).toMatchObject({ state: 'OPEN', failure_count: 10 })
  expect((await send('/operators/circuit-breaker/external_api/reset', {}, {})).status).toBe(401)
  expect((await json(send('/operators/circuit-breaker/none/reset', {}, operator)))[0]).toBe(404)
  await send('/demo/external-api', { down: false })
  expect((await json(send('/operators/circuit-breaker/external_api/reset', {}, operator)))[0]).toBe(200)
  expect((await json(send('/api/user-profile/bob')))[1]).toMatchObject({ source: 'live_data' })
  expect((await json(send('/health/circuit-breakers')))[1].circuit_breakers.external_api.state).toBe('CLOSED')
})

test('G4: the analytics come from PostgreSQL through the pool, whose figures are the guide’s', async () => {
  expect(await json(send('/api/analytics'))).toEqual([200, { analytics: [] }])
  expect((await json(send('/api/pool')))[1]).toMatchObject({ max_connections: 50, acquisition_timeouts: 0 })
  expect((await json(send('/health/connection-pool')))[1]).toMatchObject({ pool_status: { max_connections: 50 } })
})

test('G4: a sensitive operation leaves its events, and none of what it was sent', async () => {
  const who = { 'x-user-id': 'dora' }
  await send('/api/sensitive-operation', { type: 'export', note: 'the words of the body' }, who)
  expect((await send('/api/sensitive-operation', { type: 'fail' }, who)).status).toBe(500)
  const [, trail] = await json(send('/api/audit-trail', undefined, who))
  expect(trail.events.map(({ type }: { type: string }) => type)).toEqual([
    'request_received',
    'operation_started',
    'operation_completed',
    'request_received',
    'operation_started',
    'operation_failed',
  ])
  expect(JSON.stringify(trail)).not.toContain('the words of the body')
  const from = `/api/audit-trail?event_type=operation_failed&start_time=${new Date(Date.now() - 60_000).toISOString()}`
  expect((await json(send(from, undefined, who)))[1].total_count).toBe(1)
})

test('G4: a retryable failure is tried three times, and the strategies keep their steps', async () => {
  expect(await json(send('/api/recovering', {}, { prefer: 'wait=20' }))).toEqual([200, { attempts: 3 }])
  expect((await json(send('/api/transfer', {})))[1]).toEqual({ transferred: true })
  expect((await json(send('/api/report', {})))[1]).toEqual({ report: 'written' })
})
