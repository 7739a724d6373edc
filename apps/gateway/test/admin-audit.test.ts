import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CircuitBreaker } from '@gw/breaker'
import { type EventLog, EventStore } from '@gw/events'
import { sqliteEventStore } from '@gw/events/sqlite'
import { ConnectionPool } from '@gw/pool'
import { openDatabase } from '@gw/sqlite'
import { expect, onTestFinished, test } from 'vitest'
import { type Admin, adminOf } from './admin-listener.ts'

/** A log on the gateway's own database that takes no event while `down`, certainly without effect; registers it does take. */
function failing(log: EventLog, state: { down: boolean }): EventLog {
  const appends = new WeakSet<object>()
  return {
    ...log,
    database: log.database,
    append(...args) {
      const write = log.append(...args)
      appends.add(write)
      return write
    },
    unit(options) {
      const unit = log.unit(options)
      let appending = false
      return {
        add(write, onCommitted) {
          appending ||= appends.has(write)
          unit.add(write, onCommitted)
        },
        async commit() {
          if (state.down && appending) throw Object.assign(new Error('The trail is down'), { code: 'unavailable' })
          return unit.commit()
        },
      }
    },
  }
}

interface World extends Admin {
  /** Whether the trail is down; the requests themselves are kept all the same. */
  readonly trail: { down: boolean }
  readonly pool: ConnectionPool
  readonly waiting: string
  readonly done: string
}

async function world(): Promise<World> {
  const database = await openDatabase({ directory: join(mkdtempSync(join(tmpdir(), 'gw-admin-')), 'data') })
  onTestFinished(() => database.close())
  const trail = { down: false }
  const pool = new ConnectionPool({ name: 'main', min: 0, max: 2 })
  pool.register('x', { create: async () => ({}) })
  const admin = await adminOf(
    {
      database,
      dataDir: database.directory,
      events: new EventStore({ store: failing(sqliteEventStore({ db: database }), trail) }),
      breakers: { ledger: new CircuitBreaker({ name: 'ledger' }) },
      pools: [pool],
      audit: { archive: join(database.directory, 'archive'), maxEvents: 3, maxSegmentBytes: 200, projections: true },
      idempotencyWindowMs: 60_000,
    },
    (gateway) => {
      gateway.post('/wait', gateway.durable({ operation: 'wait' }), async (c) => {
        await c.var.run.waitFor('go')
        return c.text('gone')
      })
      gateway.post('/done', gateway.durable({ operation: 'done' }), (c) => c.text('done'))
    },
  )
  const send = async (path: string, headers: Record<string, string>) =>
    (await admin.gateway.request(path, { method: 'POST', headers })).headers.get('gw-run')!
  const waiting = await send('/wait', { prefer: 'respond-async', 'idempotency-key': 'k-wait' })
  await expect.poll(async () => (await admin.gateway.checkpoints.get(waiting))?.status).toBe('waiting')
  const done = await send('/done', { 'idempotency-key': 'k-done' })
  const gone = { ...(await admin.gateway.checkpoints.get(done))!, id: `${done.slice(0, -4)}0000`, expiresAt: 1 }
  const past = { outcome: (await admin.gateway.checkpoints.outcome(done))! }
  const unit = admin.gateway.checkpoints.store.unit()
  unit.add(admin.gateway.checkpoints.store.accept(gone, (await admin.gateway.checkpoints.store.input(done))!, past))
  await unit.commit()
  return { ...admin, trail, pool, waiting, done }
}

/** What a change would have changed, read again after it was refused. */
interface Mutation {
  readonly method?: 'DELETE'
  readonly path: (world: World) => string
  readonly body?: (world: World) => unknown
  readonly state: (world: World) => unknown
  readonly event: string
  /** Whether it comes to something when the trail is up. */
  readonly status: number
}

const statusOf = (id: (world: World) => string) => async (it: World) => {
  const run = await it.gateway.checkpoints.get(id(it))
  return [run?.status, run?.cancelRequested, run?.signals, run?.revision]
}
const waiting = statusOf((it) => it.waiting)
const done = statusOf((it) => it.done)
const breaker = (it: World) => it.gateway.breakers.get('ledger').snapshot()
const runs = async (it: World) => (await it.gateway.checkpoints.list()).runs.map(({ id }) => id)
const keyOf = async (it: World) => {
  const { idempotency } = it.gateway
  const key = await idempotency.storageKey({ principal: 'anonymous', method: 'POST', path: '/wait' }, 'k-wait')
  return (await idempotency.keyStore.get(key))?.state
}

const mutations: Readonly<Record<string, Mutation>> = {
  'POST /admin/requests/{id}/{action}': {
    path: (it) => `/admin/requests/${it.waiting}/cancel`,
    state: waiting,
    event: 'checkpoint.cancel',
    status: 200,
  },
  'POST /admin/requests/{id}/fork': {
    path: (it) => `/admin/requests/${it.done}/fork`,
    body: () => ({}),
    state: runs,
    event: 'checkpoint.fork',
    status: 201,
  },
  'POST /admin/requests/{id}/resolve': {
    path: (it) => `/admin/requests/${it.waiting}/resolve`,
    body: () => ({ kind: 'rerun' }),
    state: waiting,
    event: 'checkpoint.resolve',
    status: 409,
  },
  'POST /admin/requests/{id}/signal': {
    path: (it) => `/admin/requests/${it.waiting}/signal`,
    body: () => ({ name: 'go' }),
    state: waiting,
    event: 'checkpoint.signal',
    status: 202,
  },
  'POST /admin/requests/bulk': {
    path: () => '/admin/requests/bulk',
    body: () => ({ filter: { operation: 'wait' }, action: 'cancel', expected: 1 }),
    state: waiting,
    event: 'admin.requests.bulk',
    status: 200,
  },
  'POST /admin/requests/import': {
    path: () => '/admin/requests/import',
    body: async (it) => ({ requests: [await elsewhere(it)] }),
    state: runs,
    event: 'admin.request.import',
    status: 200,
  },
  'POST /admin/events/archive': {
    path: () => '/admin/events/archive',
    body: () => ({ force: true }),
    state: async (it) => (await it.gateway.events.store.base()).position,
    event: 'admin.events.archive',
    status: 200,
  },
  'POST /admin/events/reanchor': {
    path: () => '/admin/events/reanchor',
    body: () => ({ reason: 'restored from a backup' }),
    state: (it) => it.gateway.events.store.registers('checkpoint/'),
    event: 'admin.events.reanchor',
    status: 200,
  },
  'POST /admin/events/rebuild': {
    path: () => '/admin/events/rebuild',
    body: () => ({}),
    state: async (it) => (await it.gateway.events.store.registers('projection/')).map(({ name }) => name),
    event: 'admin.events.rebuild',
    status: 200,
  },
  'POST /admin/events/holds': {
    path: () => '/admin/events/holds',
    body: () => ({ name: 'case-7', reason: 'a court' }),
    state: (it) => it.gateway.events.store.registers('hold/'),
    event: 'log.hold_placed',
    status: 201,
  },
  'DELETE /admin/events/holds/{name}': {
    method: 'DELETE',
    path: () => '/admin/events/holds/standing',
    state: async (it) => (await it.gateway.events.store.registers('hold/standing')).length,
    event: 'log.hold_lifted',
    status: 200,
  },
  'POST /admin/erase': {
    path: () => '/admin/erase',
    body: () => ({ subject: 'anonymous' }),
    state: done,
    event: 'admin.subject.erase',
    status: 200,
  },
  'POST /admin/keys/release': {
    path: () => '/admin/keys/release',
    body: () => ({ key: 'k-wait', route: '/wait' }),
    state: keyOf,
    event: 'admin.key.release',
    status: 200,
  },
  'POST /admin/keys/erase': {
    path: () => '/admin/keys/erase',
    body: () => ({ principal: 'anonymous' }),
    state: async (it) =>
      (await it.gateway.idempotency.get({ principal: 'anonymous', method: 'POST', path: '/done' }, 'k-done'))?.status,
    event: 'admin.key.erase',
    status: 200,
  },
  'POST /admin/circuit-breaker/{name}/{action}': {
    path: () => '/admin/circuit-breaker/ledger/open',
    state: breaker,
    event: 'admin.circuit-breaker.open',
    status: 200,
  },
  'POST /admin/connection-pools/{name}/refresh': {
    path: () => '/admin/connection-pools/main/refresh',
    state: (it) => it.pool.metrics().connectionsClosedTotal,
    event: 'pool.refresh',
    status: 200,
  },
  'POST /admin/connection-pools/{name}/resize': {
    path: () => '/admin/connection-pools/main/resize',
    body: () => ({ max: 7 }),
    state: (it) => it.pool.metrics().maxConnections,
    event: 'pool.resize',
    status: 200,
  },
  'POST /admin/storage/collect': {
    path: () => '/admin/storage/collect',
    state: runs,
    event: 'admin.storage.collect',
    status: 200,
  },
  'POST /admin/storage/backup': {
    path: () => '/admin/storage/backup',
    state: (it) => it.gateway.storage.backups(),
    event: 'admin.storage.backup',
    status: 200,
  },
  'POST /admin/storage/tier': {
    path: () => '/admin/storage/tier',
    state: () => undefined,
    event: 'admin.storage.tier',
    status: 409,
  },
  'POST /admin/system/drain': {
    path: () => '/admin/system/drain',
    state: (it) => it.gateway.admission.phase,
    event: 'admin.system.drain',
    status: 202,
  },
}

for (const [name, { method = 'POST', path, body, state, event, status }] of Object.entries(mutations))
  test(`gateway G10: ${name} is an event before it is done; with the trail down it is 503 and nothing is done`, async () => {
    const it = await world()
    await it.post('/admin/events/holds', { name: 'standing', reason: 'before', filter: { subject: 'nobody' } })
    const given = await body?.(it)
    const send = () =>
      it.ask(path(it), {
        method,
        headers: given === undefined ? {} : { 'content-type': 'application/json' },
        ...(given === undefined ? {} : { body: JSON.stringify(given) }),
      })
    await it.gateway.audit.settled()
    const before = await state(it)
    const position = (await it.gateway.events.store.head()).position
    it.trail.down = true
    const refused = await send()
    expect([refused.status, refused.headers.get('content-type')]).toEqual([503, 'application/problem+json'])
    expect(await state(it)).toEqual(before)
    expect((await it.gateway.events.store.head()).position).toBe(position)
    it.trail.down = false
    const answered = await send()
    expect([answered.status, await answered.json()]).toEqual([status, expect.anything()])
    const events = await it.gateway.events.readStored({ after: position, asOf: 1_000_000n, limit: 100 })
    expect(events[0]).toMatchObject({ type: event, actor: expect.stringMatching(/^admin@127\.0\.0\.1$/) })
    if (!event.startsWith('log.')) expect(events[0]?.requestId).toBeTruthy()
  })

test('gateway G10: every change in the document has its place in this file', async () => {
  const { ask } = await adminOf()
  const { paths } = (await (await ask('/openapi.json')).json()) as { paths: Record<string, object> }
  const changes = Object.entries(paths).flatMap(([path, operations]) =>
    ['post', 'delete', 'put', 'patch']
      .filter((method) => method in operations)
      .map((method) => `${method.toUpperCase()} ${path}`),
  )
  expect(changes.filter((name) => name !== 'POST /admin/events/verify').sort()).toEqual(Object.keys(mutations).sort())
})

/** The finished request under another id, as another gateway would have exported it. */
async function elsewhere(it: World): Promise<unknown> {
  const bundle = (await (await it.ask(`/admin/requests/${it.done}/export`)).json()) as { record: { id: string } }
  return { ...bundle, record: { ...bundle.record, id: `${it.done.slice(0, -4)}ffff` } }
}
