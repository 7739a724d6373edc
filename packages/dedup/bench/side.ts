/** One side of the bench: a server that says its port, and on SIGUSR2 and SIGTERM how many microseconds of CPU it took so far. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectPostgres, postgresDatabase } from '@gw/postgres'
import { openDatabase } from '@gw/sqlite'
import { serve } from '@hono/node-server'
import { Idempotency } from '@node-idempotency/core'
import { MemoryStorageAdapter } from '@node-idempotency/storage-adapter-memory'
import { RedisStorageAdapter } from '@node-idempotency/storage-adapter-redis'
import { drizzle } from 'drizzle-orm/postgres-js'
import { type Context, Hono } from 'hono'
import { createClient } from 'redis'
import { type DedupStore, dedup, RequestDeduplicator } from '../dist/index.js'
import { nodeCrypto } from '../dist/node/index.js'
import { memoryDedupStore } from '../dist/stores/memory.js'
import { postgresDedupStore } from '../dist/stores/postgres.js'
import { redisClientOptions, redisDedupStore } from '../dist/stores/redis.js'
import { sqliteDedupStore } from '../dist/stores/sqlite.js'

const [side = '', redisUrl = '', postgresUrl = ''] = process.argv.slice(2)

async function pay(c: Context): Promise<Response> {
  const { amount } = await c.req.json<{ amount: number }>()
  const charged = { amount, fee: amount * 0.01 }
  return c.json({ id: crypto.randomUUID(), charged, status: 'succeeded' }, 201)
}

async function redis(options: object = {}) {
  const client = createClient({ url: redisUrl, ...options })
  await client.connect()
  return client
}

const stores: Readonly<Record<string, () => Promise<DedupStore>>> = {
  memory: async () => memoryDedupStore(),
  sqlite: async () =>
    sqliteDedupStore({ db: await openDatabase({ directory: join(mkdtempSync(join(tmpdir(), 'gw-bench-')), 'data') }) }),
  redis: async () =>
    redisDedupStore({ client: await redis(redisClientOptions()), onRisk: () => {}, prefix: `${side}:` }),
  postgres: async () => postgresDedupStore({ db: postgresDatabase(drizzle(connectPostgres(postgresUrl))) }),
}

/** A key's answer by a GET, as it would be written by hand: compares the body, and has no scope, claims or states. */
async function handwritten(options: object): Promise<Hono> {
  const client = await redis(options)
  const app = new Hono()
  app.post('/pay', async (c) => {
    const key = `hand:${side}:${c.req.header('idempotency-key')}`
    const request = `${await c.req.text()}\n`
    const kept = await client.get(key)
    if (kept !== null) {
      if (!kept.startsWith(request)) return c.json({ code: 'idempotency_key_reused' }, 422)
      return c.body(kept.slice(request.length), 201, { 'content-type': 'application/json' })
    }
    const response = await pay(c)
    await client.set(key, request + (await response.clone().text()), { expiration: { type: 'EX', value: 600 } })
    return response
  })
  return app
}

/**
 * The nearest idempotency middleware that npm has: `@node-idempotency/core`, which has adapters for Express, Fastify and Nest,
 * with the few lines that Hono needs.
 */
async function nodeIdempotency(storage: MemoryStorageAdapter | RedisStorageAdapter): Promise<Hono> {
  if ('connect' in storage) await storage.connect()
  const idempotency = new Idempotency(storage, { cacheKeyPrefix: side })
  const app = new Hono()
  app.use('/pay', async (c, next) => {
    const request = { headers: c.req.header(), body: await c.req.json(), path: c.req.path, method: c.req.method }
    const kept = await idempotency.onRequest(request)
    if (kept !== undefined) return c.body(kept.body as string, kept.additional as { status: 201 })
    await next()
    const { status } = c.res
    const additional = { status, headers: Object.fromEntries(c.res.headers) }
    await idempotency.onResponse(request, { body: await c.res.clone().text(), additional })
    return
  })
  return app.post('/pay', pay) as unknown as Hono
}

async function appOf(): Promise<Hono> {
  const app = new Hono()
  if (side === 'peer-memory') return nodeIdempotency(new MemoryStorageAdapter())
  if (side === 'peer-redis') return nodeIdempotency(new RedisStorageAdapter({ url: redisUrl }))
  if (side === 'plain') return app.post('/pay', pay) as unknown as Hono
  if (side === 'hand-default') return handwritten({})
  if (side === 'hand') return handwritten({ commandOptions: { timeout: 0 } })
  const [store = '', cache] = side.split('+')
  const deduplicator = new RequestDeduplicator({
    store: await stores[store]!(),
    crypto: nodeCrypto,
    ...(cache === 'nocache' ? { cache: false as const } : {}),
  })
  await deduplicator.start()
  app.post('/pay', dedup({ deduplicator, principal: (c) => c.req.header('x-user') }), pay)
  return app
}

const { fetch } = await appOf()
serve({ fetch, port: 0, hostname: '127.0.0.1' }, ({ port }) => console.log(port))
const tell = (then: () => void) => {
  const { user, system } = process.cpuUsage()
  process.stdout.write(`${user + system}\n`, then)
}
process.on('SIGUSR2', () => tell(() => {}))
process.on('SIGTERM', () => tell(() => process.exit(0)))
