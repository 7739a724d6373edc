/** `pnpm bench overhead`: what each middleware costs by itself on an empty handler, in CPU time of a process over all its threads. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { breaker, CircuitBreaker, CircuitBreakerRegistry } from '@gw/breaker'
import { CheckpointManager, durable } from '@gw/checkpoint'
import { memoryCheckpointStore } from '@gw/checkpoint/memory'
import { dedup, RequestDeduplicator } from '@gw/dedup'
import { memoryDedupStore } from '@gw/dedup/memory'
import { nodeCrypto } from '@gw/dedup/node'
import { audit, EventStore, memoryEventStore } from '@gw/events'
import { createGateway } from '@gw/gateway'
import { ConnectionPool, pool } from '@gw/pool'
import { Hono, type MiddlewareHandler } from 'hono'
import { median, type Row } from './row.ts'

const body = '{"amount":25,"currency":"EUR","payment_method":"card","customer_id":"ann"}'
let key = 0

function request(): Request {
  const headers = {
    'content-type': 'application/json',
    'content-length': String(body.length),
    'idempotency-key': `k-${key++}`,
  }
  return new Request('http://127.0.0.1/pay', { method: 'POST', headers, body })
}

/** CPU time a request, in nanoseconds. */
async function cost(app: { fetch(request: Request): Response | Promise<Response> }, requests: number): Promise<number> {
  const before = process.cpuUsage()
  for (let n = 0; n < requests; n += 32) {
    const answers = await Promise.all(Array.from({ length: 32 }, () => app.fetch(request())))
    const [wrong] = answers.filter(({ ok }) => !ok)
    if (wrong !== undefined) throw new Error(`Expected 200, got ${wrong.status}: ${await wrong.text()}`)
  }
  const { user, system } = process.cpuUsage(before)
  return ((user + system) * 1_000) / requests
}

/** Every middleware alone on memory stores, then all of them; what the bare route costs is taken off. Medians of alternating rounds. */
export async function overhead(rounds: number, requests = 6_400): Promise<Row[]> {
  const deduplicator = new RequestDeduplicator({ store: memoryDedupStore(), crypto: nodeCrypto })
  const checkpoints = new CheckpointManager({ store: memoryCheckpointStore() })
  const events = new EventStore({ store: memoryEventStore() })
  const registry = new CircuitBreakerRegistry().add('pay', new CircuitBreaker({ name: 'pay' }))
  const connections = new ConnectionPool({ name: 'bench' })
  connections.register('db', { create: async () => ({}), destroy: async () => {} })
  const directory = mkdtempSync(join(tmpdir(), 'gw-overhead-'))
  const gateway = await createGateway({ dataDir: join(directory, 'data'), admin: { enabled: false } })
  gateway.post('/pay', (c) => c.text('ok'))

  const keys = () => dedup({ deduplicator, principal: () => 'ann' })
  const audited = () => audit({ events })
  const guarded = () => breaker({ registry, name: 'pay' })
  const leased = () => pool({ pool: connections, factory: 'db', hold: 'handler' })
  const app = (...middleware: readonly MiddlewareHandler[]) => {
    const made = new Hono()
    for (const each of middleware) made.use(each)
    return made.post('/pay', (c) => c.text('ok'))
  }
  const run = (operation: string) => durable({ checkpoints, operation }) as MiddlewareHandler
  const sides = {
    bare: app(),
    'dedup()': app(keys()),
    'durable()': app(run('alone')),
    'audit()': app(audited()),
    'breaker()': app(guarded()),
    'pool()': app(leased()),
    'the gateway: id, admission, figures, log': gateway,
    'all packages together': app(audited(), keys(), run('all'), guarded(), leased()),
  }
  const costs = new Map<string, number[]>(Object.keys(sides).map((name) => [name, []]))
  for (const side of Object.values(sides)) await cost(side, requests)
  for (let round = 0; round < rounds; round++)
    for (const [name, side] of Object.entries(sides)) costs.get(name)!.push(await cost(side, requests))
  await gateway.close()
  await Promise.all([deduplicator.stop(), checkpoints.stop(), events.stop(), connections.drain()])
  rmSync(directory, { recursive: true, force: true })

  return Object.keys(sides).map((name) => {
    const value = Math.round(median(costs.get(name)!) - (name === 'bare' ? 0 : median(costs.get('bare')!)))
    return { name, value, unit: 'ns/request' }
  })
}
