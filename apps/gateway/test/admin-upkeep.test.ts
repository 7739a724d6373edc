import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CircuitBreaker } from '@gw/breaker'
import { ConnectionPool } from '@gw/pool'
import { freshDatabase, sharedS3 } from '@gw/services'
import { openDatabase } from '@gw/sqlite'
import { parseResponse } from 'hono/client'
import { expect, test } from 'vitest'
import { type Admin, adminOf, operateToken, readToken } from './admin-listener.ts'

async function keyed(admin: Admin, path: string, key: string, headers: Record<string, string> = {}) {
  const response = await admin.gateway.request(path, {
    method: 'POST',
    headers: { 'idempotency-key': key, ...headers },
  })
  return response.headers.get('gw-run')!
}

test('gateway G10: a key is found by its hash or by key, principal and route, with its state, owner and lease; it is released once', async () => {
  const admin = await adminOf({ principal: (c) => c.req.header('x-user-id') }, (gateway) => {
    gateway.post('/wait', gateway.durable({ operation: 'wait' }), async (c) => {
      await c.var.run.waitFor('go')
      return c.text('gone')
    })
    gateway.post('/done', gateway.durable({ operation: 'done' }), (c) => c.text('done'))
  })
  const { client } = admin
  const done = await keyed(admin, '/done', 'k-1', { 'x-user-id': 'ann' })
  const waiting = await keyed(admin, '/wait', 'k-1', { 'x-user-id': 'ann', prefer: 'respond-async' })
  const find = async (query: Record<string, string>) => (await parseResponse(client.admin.keys.$get({ query }))).keys
  const [key] = await find({ key: 'k-1', principal: 'ann', route: '/done' })
  expect(key).toMatchObject({
    state: 'completed',
    request: done,
    lapsed: false,
    response: { status: 200, bytes: expect.any(Number) },
  })
  expect(await find({ hash: key!.hash })).toMatchObject([{ hash: key!.hash, request: done }])
  expect(await find({ key: 'k-1', principal: 'bob', route: '/done' })).toEqual([])
  const [open] = await find({ key: 'k-1', principal: 'ann', route: '/wait' })
  expect(open).toMatchObject({ state: 'in_flight', request: waiting, response: null })
  for (const query of [{}, { key: 'k-1' }, { hash: 'xyz' }] as Record<string, string>[])
    expect([(await client.admin.keys.$get({ query })).status, query]).toEqual([400, query])

  const release = (json: Parameters<typeof client.admin.keys.release.$post>[0]['json']) =>
    client.admin.keys.release.$post({ json })
  expect((await release({ hash: key!.hash })).status).toBe(409)
  expect((await release({ key: 'k-9', route: '/wait', principal: 'ann' })).status).toBe(404)
  expect(await parseResponse(release({ key: 'k-1', route: '/wait', principal: 'ann' }))).toEqual({
    hash: open!.hash,
    result: 'released',
  })
  expect((await release({ hash: open!.hash })).status).toBe(404)
  expect(await keyed(admin, '/wait', 'k-1', { 'x-user-id': 'ann', prefer: 'respond-async' })).not.toBe(waiting)

  expect(await parseResponse(client.admin.keys.erase.$post({ json: { principal: 'ann' } }))).toEqual({ erased: 1 })
  expect(await find({ hash: key!.hash })).toEqual([])
})

test('gateway G10: a breaker is opened, closed and reset, shown with its terms and figures, and its history is the trail’s', async () => {
  const { gateway, client, post } = await adminOf({
    breakers: { ledger: new CircuitBreaker({ name: 'ledger', failureThreshold: 2, openMs: 60_000 }) },
  })
  const breaker = gateway.breakers.get('ledger')
  for (let i = 0; i < 2; i++) await breaker.run(() => Promise.reject(new Error('down'))).catch(() => {})
  await gateway.audit.settled()
  const show = () => parseResponse(client.admin['circuit-breakers'][':name'].$get({ param: { name: 'ledger' } }))
  expect(await show()).toMatchObject({
    name: 'ledger',
    state: 'OPEN',
    failure_count: 2,
    forced: null,
    terms: { openMs: 60_000 },
  })
  const act = (action: 'open' | 'close' | 'reset') =>
    parseResponse(client.admin['circuit-breaker'][':name'][':action'].$post({ param: { name: 'ledger', action } }))
  expect(await act('reset')).toEqual({ message: "Circuit breaker 'ledger' reset successfully", state: 'CLOSED' })
  expect(await act('open')).toMatchObject({ state: 'OPEN' })
  expect((await show()).forced).toBe('open')
  expect(await act('close')).toMatchObject({ state: 'CLOSED' })
  const { history } = await show()
  expect(history.map(({ type, actor }) => [type, actor?.split('@')[0] ?? null])).toEqual([
    ['breaker.opened', null],
    ['breaker.reset', 'admin'],
    ['breaker.forced_open', 'admin'],
    ['breaker.forced_closed', 'admin'],
  ])
  const { circuit_breakers } = await parseResponse(client.admin['circuit-breakers'].$get())
  expect(Object.keys(circuit_breakers)).toEqual(['ledger'])
  expect((await post('/admin/circuit-breaker/nothing/reset')).status).toBe(404)
  expect((await post('/admin/circuit-breaker/ledger/explode')).status).toBe(404)
})

test('gateway G10: a pool is resized and refreshed within its bounds, and shown with its history', async () => {
  let made = 0
  const pool = new ConnectionPool({ name: 'main', min: 1, max: 2 })
  pool.register('x', { create: async () => ({ n: ++made }) })
  const { client, post } = await adminOf({ pools: [pool] })
  await pool.use('x', () => {})
  const show = () => parseResponse(client.admin['connection-pools'][':name'].$get({ param: { name: 'main' } }))
  expect((await show()).metrics).toMatchObject({
    minConnections: 1,
    maxConnections: 2,
    idleConnections: 1,
    factories: { x: { failing: false } },
  })
  const resized = client.admin['connection-pools'][':name'].resize.$post({ param: { name: 'main' }, json: { max: 5 } })
  expect(await parseResponse(resized)).toEqual({ message: "Connection pool 'main' resized successfully" })
  expect((await show()).metrics.maxConnections).toBe(5)
  await parseResponse(client.admin['connection-pools'][':name'].refresh.$post({ param: { name: 'main' } }))
  await expect.poll(() => made).toBe(2)
  expect((await show()).history.map(({ type }) => type)).toEqual(
    expect.arrayContaining(['pool.resize', 'pool.refresh']),
  )
  for (const body of [{}, { max: 0 }, { min: -1 }, { max: 'x' }, { maximum: 5 }])
    expect([(await post('/admin/connection-pools/main/resize', body)).status, body]).toEqual([400, body])
  expect((await post('/admin/connection-pools/main/resize', { min: 9, max: 3 })).status).toBe(400)
  expect((await post('/admin/connection-pools/main/resize', { max: 3, factory: 'nothing' })).status).toBe(404)
  expect((await post('/admin/connection-pools/nothing/refresh')).status).toBe(404)
  expect((await show()).metrics).toMatchObject({ minConnections: 1, maxConnections: 5 })
})

test('gateway G10: a backup that is run now is a database that opens and has the requests; storage shows sizes and what is left', async () => {
  const admin = await adminOf({}, (gateway) => {
    gateway.post('/done', gateway.durable({ operation: 'done' }), (c) => c.text('done'))
  })
  const { client, dataDir } = admin
  const id = await keyed(admin, '/done', 'k')
  const made = await parseResponse(client.admin.storage.backup.$post())
  expect(made.file).toContain(join(dataDir, 'backups'))
  const storage = await parseResponse(client.admin.storage.$get())
  expect(storage).toMatchObject({
    kind: 'sqlite',
    state: 'open',
    directory: dataDir,
    requests: { completed: 1 },
    tiers: null,
    backups: [{ bytes: made.bytes }],
  })
  expect(storage.files.map(({ name }) => name)).toEqual(expect.arrayContaining(['gateway.db']))
  expect(storage.databaseBytes).toBeGreaterThan(10_000)
  const restored = join(mkdtempSync(join(tmpdir(), 'gw-restored-')), 'data')
  const { copyFileSync, mkdirSync } = await import('node:fs')
  mkdirSync(restored, { mode: 0o700 })
  copyFileSync(made.file!, join(restored, 'gateway.db'))
  const database = await openDatabase({ directory: restored })
  expect(database.reader.all('SELECT id FROM gw_run')).toEqual([{ id }])
  await database.close()
  expect(await parseResponse(client.admin.storage.collect.$post())).toEqual({ collected: 0 })
  expect((await client.admin.storage.tier.$post()).status).toBe(409)
})

test('gateway G10: with a cold tier, what is due moves and a backup goes there, now; the audit archive lies in the same S3', async () => {
  const s3 = await sharedS3()
  const bucket = `gw-admin-${process.pid}-${Date.now()}`
  await s3.createBucket(bucket)
  const keys = `${encodeURIComponent(s3.accessKeyId)}:${encodeURIComponent(s3.secretAccessKey)}`
  const url = (path: string) => `${s3.url.replace('://', `://${keys}@`)}/${path}`
  const admin = await adminOf(
    {
      coldTier: { url: url(bucket), afterMs: 1, backupIntervalMs: 3_600_000 },
      audit: { archive: url(`${bucket}/audit`), maxEvents: 0, maxSegmentBytes: 200 },
    },
    (gateway) => {
      gateway.post('/done', gateway.durable({ operation: 'done' }), (c) => c.text('done'))
    },
  )
  const { client, gateway } = admin
  const id = await keyed(admin, '/done', 'k')
  await expect.poll(async () => (await gateway.checkpoints.get(id))?.settled).toBe(true)
  await new Promise((resolve) => setTimeout(resolve, 5))
  expect(await parseResponse(client.admin.storage.tier.$post())).toMatchObject({ backlog: 0, moved: 1 })
  expect(await parseResponse(client.admin.storage.backup.$post())).toMatchObject({ kind: 'cold', file: null })
  const { tiers } = await parseResponse(client.admin.storage.$get())
  expect(tiers).toMatchObject({
    cold: { state: 'ready', moved: 1 },
    backup: { runs: expect.any(Number), cutAt: expect.any(Number) },
  })
  expect(await (await gateway.checkpoints.response(id))?.text()).toBe('done')
  const { dropped } = await parseResponse(client.admin.events.archive.$post({ json: {} }))
  expect(dropped).toBeGreaterThan(0)
  expect(await parseResponse(client.admin.events.verify.$get())).toMatchObject({ ok: true })
  const system = await (await admin.ask('/admin/system')).text()
  expect(system).not.toContain(s3.secretAccessKey)
})

test('gateway G10: the system shows its version, its figures and its configuration, and no secret', async () => {
  const secrets = ['db-password-1234', 'redis-password-5678', 'app-secret-0123456789abcdef0123456789abcdef']
  const { ask, client, gateway, running } = await adminOf({ title: 'Payments', idempotencyWindowMs: 1_234 })
  const system = await parseResponse(client.admin.system.$get())
  expect(system).toMatchObject({
    status: 'ok',
    title: 'Payments',
    phase: 'ready',
    version: '0.0.0',
    runtime: { name: 'node', version: process.versions.node },
    node: { pid: process.pid, owner: gateway.checkpoints.owner },
    figures: { inFlight: 0, liveRuns: 0, maxConcurrentRequests: 10_000 },
    configuration: {
      title: 'Payments',
      idempotencyWindowMs: 1_234,
      admin: { token: '••••••••', readToken: '••••••••' },
    },
    configurationRefusal: null,
    configurationPending: [],
  })
  gateway.configuration = () => ({
    databaseUrl: `postgres://gw:${secrets[0]}@db/gw?password=${secrets[0]}`,
    redisUrl: `redis://:${secrets[1]}@redis:6379`,
    secret: secrets[2],
    apiTokens: { ann: secrets[2] },
    upstreams: { billing: { url: `https://u:${secrets[0]}@billing/x?api_key=${secrets[1]}` } },
  })
  const text = await (await ask('/admin/system')).text()
  for (const secret of [...secrets, operateToken, readToken, running.adminToken!]) expect(text).not.toContain(secret)
})

test('gateway G10, G14: gateways on one database see each other’s leases, and one that is gone is no longer there', async () => {
  const databaseUrl = await freshDatabase()
  const a = await adminOf({ databaseUrl, nodeId: 'node-a' })
  const b = await adminOf({ databaseUrl, nodeId: 'node-b' })
  const nodes = async () =>
    (await parseResponse(a.client.admin.system.$get())).nodes.map(({ owner, leaseRemainingMs }) => [
      owner.split('/')[0],
      leaseRemainingMs > 0,
    ])
  expect(await nodes()).toEqual([
    ['node-a', true],
    ['node-b', true],
  ])
  await b.running.stop({ drainDelayMs: 0 })
  expect(await nodes()).toEqual([['node-a', true]])
})

test('gateway G10: draining answers, then stops the process’s gateway in order; requests under way are answered', async () => {
  let release = () => {}
  const { client, gateway, running } = await adminOf({ drainDelayMs: 0, gracefulShutdownMs: 5_000 }, (app) => {
    app.get('/slow', async (c) => {
      await new Promise<void>((resolve) => {
        release = resolve
      })
      return c.text('in time')
    })
  })
  const slow = fetch(`${running.url}/slow`)
  await expect.poll(() => gateway.admission.inFlight).toBe(1)
  const drained = await client.admin.system.drain.$post()
  expect([drained.status, await drained.json()]).toEqual([202, { phase: 'draining' }])
  release()
  expect(await (await slow).text()).toBe('in time')
  await running.stopped
  expect(gateway.admission.phase).toBe('stopped')
})
