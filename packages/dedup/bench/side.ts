/** One side of the bench: a server that says its port, and on SIGUSR2 and SIGTERM how many microseconds of CPU it took so far. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectPostgres, postgresDatabase } from '@gw/postgres'
import { openDatabase } from '@gw/sqlite'
import { serve } from '@hono/node-server'
import { drizzle } from 'drizzle-orm/postgres-js'
import { type Context, Hono } from 'hono'
import { createClient } from 'redis'
import { type DedupStore, dedup, RequestDeduplicator } from '../dist/index.js'
import { nodeCrypto } from '../dist/node/index.js'
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

async function appOf(): Promise<Hono> {
  const app = new Hono()
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
