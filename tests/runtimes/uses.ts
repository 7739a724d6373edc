const expected = (condition: string) =>
  `if (!(${condition})) throw new Error('Expected ' + ${JSON.stringify(condition)})\nconsole.log('used')\n`

/** What is run with each package where nothing but it and its peers is installed; it is JavaScript and TypeScript alike. */
export const uses: Readonly<Record<string, string>> = {
  '@gw/dedup': `import { dedup, RequestDeduplicator } from '@gw/dedup'
import { memoryDedupStore } from '@gw/dedup/memory'
import { Hono } from 'hono'
const app = new Hono()
let executions = 0
const deduplicator = new RequestDeduplicator({ store: memoryDedupStore() })
app.post('/', dedup({ deduplicator, scope: 'global' }), (c) => c.json(++executions))
const send = () => app.request('/', { method: 'POST', headers: { 'idempotency-key': 'a' } })
const answers = [await (await send()).text(), await (await send()).text()]
await deduplicator.stop()
${expected("answers.join() === '1,1'")}`,
  '@gw/checkpoint': `import { CheckpointManager, durable } from '@gw/checkpoint'
import { memoryCheckpointStore } from '@gw/checkpoint/memory'
import { Hono } from 'hono'
const checkpoints = new CheckpointManager({ store: memoryCheckpointStore() })
const app = new Hono()
app.post('/', durable({ checkpoints, operation: 'job' }), async (c) => c.json(await c.var.run.step('one', () => 1), 201))
checkpoints.serve(app)
const response = await app.request('/', { method: 'POST', body: '{}' })
await checkpoints.stop({ gracefulShutdownMs: 1000 })
${expected('response.status === 201')}`,
  '@gw/events': `import { EventStore, memoryEventStore } from '@gw/events'
const events = new EventStore({ store: memoryEventStore() })
await events.append('made', { a: 1 }, { stream: 's', expected: 'none' })
const { ok } = await events.verify()
await events.stop()
${expected('ok')}`,
  '@gw/breaker': `import { CircuitBreaker } from '@gw/breaker'
const breaker = new CircuitBreaker({ name: 'b', failureThreshold: 1 })
await breaker.run(() => Promise.reject(new Error('no'))).catch(() => {})
${expected("breaker.state === 'OPEN'")}`,
  '@gw/pool': `import { ConnectionPool } from '@gw/pool'
const pool = new ConnectionPool({ name: 'p', min: 0, max: 1 })
pool.register('database', { create: async () => ({ open: true }) })
await pool.start()
const lease = await pool.acquire('database')
lease.release()
await pool.drain({ deadlineMs: 1000 })
${expected('lease.released')}`,
  '@gw/sqlite': `import { openDatabase } from '@gw/sqlite'
const db = await openDatabase({ directory: './data-' + Math.random().toString(36).slice(2) })
await db.migrate('app', ['CREATE TABLE item (key TEXT)', "INSERT INTO item VALUES ('a')"])
const rows = db.reader.all('SELECT key FROM item')
await db.close()
${expected('rows.length === 1')}`,
  '@gw/postgres': `import { postgresDatabase, PostgresError } from '@gw/postgres'
${expected("typeof postgresDatabase === 'function' && PostgresError.name === 'PostgresError'")}`,
  '@gw/gateway': `import { createGateway } from '@gw/gateway'
const gateway = await createGateway({ durable: false, dataDir: './data-' + Math.random().toString(36).slice(2) })
gateway.post('/pay', gateway.durable({ operation: 'pay', idempotency: 'required' }), (c) => c.json(c.var.run.id, 201))
await gateway.start()
const pay = () => gateway.request('/pay', { method: 'POST', body: '{}', headers: { 'idempotency-key': 'a' } })
const answers = [await (await pay()).text(), await (await pay()).text()]
await gateway.close()
${expected("answers[0] === answers[1] && answers[0] !== ''")}`,
}
