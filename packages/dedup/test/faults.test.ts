import { connectPostgres, postgresDatabase } from '@gw/postgres'
import { type FaultProxy, faultProxy, freshDatabase, postgres, redis, redisCluster } from '@gw/services'
import { drizzle } from 'drizzle-orm/postgres-js'
import type { Hono } from 'hono'
import { createClient, createCluster } from 'redis'
import { describe, expect, test } from 'vitest'
import type { DedupStore } from '../src/index.ts'
import { postgresDedupStore } from '../src/stores/postgres.ts'
import { type NodeRedisClient, type RedisRisk, redisClientOptions, redisDedupStore } from '../src/stores/redis.ts'
import { afterwards, appOf, codeOfAnswer, counting, gate, send } from './fixture.ts'

const deadlineMs = 1_000

async function redisOn(url: string, more: Partial<Parameters<typeof redisDedupStore>[0]> = {}): Promise<DedupStore> {
  const client = createClient({ url, ...redisClientOptions({ deadlineMs }) })
  client.on('error', () => {})
  await client.connect()
  afterwards(async () => client.destroy())
  return redisDedupStore({ client, deadlineMs, onRisk: () => {}, ...more })
}

async function postgresOn(url: string): Promise<DedupStore> {
  const client = connectPostgres(url, { deadlineMs })
  const db = postgresDatabase(drizzle(client), { deadlineMs })
  afterwards(async () => {
    await db.close()
    await client.end()
  })
  return postgresDedupStore({ db })
}

const appOn = (store: DedupStore) =>
  counting({}, undefined, { store, cache: false, monotonic: () => performance.now(), now: () => Date.now() })

/** What is promised while a store is away, and when it is back. */
async function survives(app: Hono, away: () => Promise<unknown>, back: () => Promise<unknown>): Promise<void> {
  expect((await send(app, 'before')).status).toBe(201)
  await away()
  for (let i = 0; i < 2; i++) {
    const began = performance.now()
    expect(await codeOfAnswer(await send(app, `during${i}`))).toEqual([503, 'idempotency_store_unavailable'])
    expect(performance.now() - began).toBeLessThan(deadlineMs + 500)
  }
  expect((await send(app, undefined)).status).toBe(201)
  await back()
  const began = performance.now()
  await expect.poll(async () => (await send(app, 'after')).status, { timeout: 10_000, interval: 50 }).toBe(201)
  expect(performance.now() - began).toBeLessThan(2_000 + deadlineMs)
  expect((await send(app, 'before')).headers.get('idempotent-replayed')).toBe('true')
  // A claim that was sent and not answered ran nothing, and does not keep its key.
  await expect.poll(async () => (await send(app, 'during0')).status, { timeout: 10_000, interval: 50 }).toBe(201)
}

async function through(url: string): Promise<FaultProxy> {
  const proxy = await faultProxy(url)
  afterwards(() => proxy.close())
  return proxy
}

describe('P10, R1: the store goes away', { timeout: 60_000 }, () => {
  for (const mode of ['refuse', 'reset', 'blackhole', 'half-open-c2s', 'half-open-s2c'] as const) {
    test(`Redis: ${mode}`, async () => {
      const server = await redis()
      afterwards(() => server.stop())
      const proxy = await through(server.url)
      const { app } = appOn(await redisOn(proxy.url))
      await survives(
        app,
        () => proxy.set(mode),
        () => proxy.set('pass'),
      )
      const { lostBytes, resets } = proxy.counts
      expect(lostBytes.c2s + lostBytes.s2c + resets).toBeGreaterThan(0)
    })

    test(`PostgreSQL: ${mode}`, async () => {
      const proxy = await through(await freshDatabase())
      const { app } = appOn(await postgresOn(proxy.url))
      await survives(
        app,
        () => proxy.set(mode),
        () => proxy.set('pass'),
      )
      const { lostBytes, resets } = proxy.counts
      expect(lostBytes.c2s + lostBytes.s2c + resets).toBeGreaterThan(0)
    })
  }

  test('Redis stopped, and killed and started again on its file', async () => {
    const server = await redis({ appendfsync: 'always' })
    afterwards(() => server.stop())
    const { app } = appOn(await redisOn(server.url))
    await survives(
      app,
      async () => server.pause(),
      async () => server.resume(),
    )
    const killed = appOn(await redisOn(server.url))
    await survives(
      killed.app,
      () => server.kill(),
      () => server.restart(),
    )
  })

  test('PostgreSQL stopped, and killed and started again', async () => {
    const server = await postgres()
    afterwards(() => server.stop())
    const { app } = appOn(await postgresOn(server.url))
    await survives(
      app,
      async () => server.pause(),
      async () => server.resume(),
    )
    await survives(
      appOn(await postgresOn(server.url)).app,
      () => server.kill(),
      () => server.restart(),
    )
  })
})

describe('R2: a failover after a claim', { timeout: 60_000 }, () => {
  test('in a Cluster whose replica has the claim, the key stays held, and its owner settles it at the new master', async () => {
    const cluster = await redisCluster({ masters: 3, replicas: 1, nodeTimeoutMs: 1_000 })
    afterwards(() => cluster.stop())
    const client = createCluster({
      rootNodes: cluster.urls.map((url) => ({ url })),
      defaults: redisClientOptions({ deadlineMs }),
    })
    client.on('error', () => {})
    await client.connect()
    afterwards(async () => client.destroy())
    const store = redisDedupStore({ client, deadlineMs, onRisk: () => {}, wait: { replicas: 1, timeoutMs: 500 } })
    const { opened, open } = gate()
    let calls = 0
    const { deduplicator } = appOn(store)
    const app = appOf(deduplicator, async (c) => {
      const n = ++calls
      await opened
      return c.json({ n })
    })
    const first = send(app, 'k')
    await expect.poll(() => calls, { timeout: 5_000 }).toBe(1)
    const key = await deduplicator.storageKey({ principal: 'ann', method: 'POST', path: '/pay/:id' }, 'k')
    const slot = Number(await cluster.nodes[0]!.command('CLUSTER', 'KEYSLOT', `gw:dd:{${key}}`))
    await cluster.killMaster(Math.min(2, Math.floor(slot / 5_462)))
    await cluster.settled()
    await expect
      .poll(async () => (await store.get(key).catch(() => undefined))?.state, { timeout: 10_000 })
      .toBe('in_flight')
    const other = appOn(store)
    expect((await send(other.app, 'k')).status).toBe(409)
    open()
    const answer = await first
    expect([answer.status, await answer.json()]).toEqual([200, { n: 1 }])
    await expect
      .poll(async () => (await send(other.app, 'k')).headers.get('idempotent-replayed'), { timeout: 10_000 })
      .toBe('true')
    expect([calls, other.calls.n]).toEqual([1, 0])
  })

  /** A master, a replica whose link can be cut, and a client that is moved to the replica. */
  async function pair(more: Partial<Parameters<typeof redisDedupStore>[0]> = {}) {
    const master = await redis()
    afterwards(() => master.stop())
    const link = await through(master.url)
    const replica = await redis({ replicaOf: { port: link.port } })
    afterwards(() => replica.stop())
    // A replica whose link is up may still get nothing: its stream begins with the first offset that it acknowledges.
    await expect
      .poll(async () => String(await master.command('INFO', 'replication')), { timeout: 10_000 })
      .toMatch(/^slave0:.*,offset=[1-9]/m)
    const clients = await Promise.all(
      [master, replica].map(async ({ url }) => {
        const client = createClient({ url, ...redisClientOptions({ deadlineMs }) })
        client.on('error', () => {})
        await client.connect()
        afterwards(async () => client.destroy())
        return client as unknown as NodeRedisClient
      }),
    )
    let current = clients[0]!
    const client: NodeRedisClient = { sendCommand: (args, options) => current.sendCommand(args, options) }
    return {
      store: redisDedupStore({ client, deadlineMs, onRisk: () => {}, ...more }),
      cut: () => link.set('blackhole'),
      lost: () => link.counts.lostBytes.c2s + link.counts.lostBytes.s2c,
      async failOver() {
        await replica.command('REPLICAOF', 'NO', 'ONE')
        current = clients[1]!
      },
    }
  }

  test('a claim that no replica had is forgotten: the request may run twice, and the first owner is told so', async () => {
    const { store, cut, lost, failOver } = await pair()
    const { opened, open } = gate()
    const one = counting(
      {},
      async (_, c) => {
        await opened
        return c.json({ by: 'one' })
      },
      { store, cache: false, monotonic: () => performance.now() },
    )
    const two = appOn(store)
    await one.deduplicator.start()
    await cut()
    const first = send(one.app, 'k')
    await expect.poll(() => one.calls.n).toBe(1)
    await failOver()
    expect((await send(two.app, 'k')).status).toBe(201)
    open()
    const late = await first
    expect([late.headers.get('idempotency-status'), one.told().at(-1)]).toEqual(['superseded', 'superseded'])
    expect(await (await send(two.app, 'k')).json()).toEqual({ n: 1 })
    expect(lost()).toBeGreaterThan(0)
  })

  test('with `wait` a claim that no replica had is refused, and nothing runs twice', async () => {
    const { store, cut, failOver } = await pair({ wait: { replicas: 1, timeoutMs: 500 } })
    const { app, calls } = appOn(store)
    expect((await send(app, 'before')).status).toBe(201)
    await cut()
    expect(await codeOfAnswer(await send(app, 'k'))).toEqual([503, 'idempotency_store_unavailable'])
    await failOver()
    expect((await send(app, 'before')).headers.get('idempotent-replayed')).toBe('true')
    expect(calls.n).toBe(1)
  })
})

describe('R3: a server that puts keys at risk', { timeout: 30_000 }, () => {
  async function risks(settings: Parameters<typeof redis>[0], more = {}): Promise<string[]> {
    const server = await redis(settings)
    afterwards(() => server.stop())
    let told: readonly RedisRisk[] = []
    const store = await redisOn(server.url, {
      onRisk(all) {
        told = all
      },
      ...more,
    })
    await store.open()
    return told.map(({ code }) => code)
  }

  test('eviction, no file, a file that is not synced, and too few replicas are told', async () => {
    expect(await risks({ appendfsync: 'always' })).toEqual([])
    expect(await risks({ appendfsync: 'always', maxmemoryPolicy: 'volatile-lru' })).toEqual(['evicts'])
    expect(await risks({ appendfsync: 'everysec' })).toEqual(['not_synced'])
    expect(await risks({ settings: { appendonly: 'no' } })).toEqual(['not_persisted'])
    expect(await risks({ appendfsync: 'always' }, { wait: { replicas: 1, timeoutMs: 100 } })).toEqual([
      'too_few_replicas',
    ])
  })

  test('under `strict` such a server is refused; a replica always is, and takes no claim', async () => {
    await expect(risks({ maxmemoryPolicy: 'allkeys-lru' }, { strict: true })).rejects.toMatchObject({
      code: 'store_unsafe',
    })
    const master = await redis()
    afterwards(() => master.stop())
    await expect(risks({ replicaOf: master })).rejects.toMatchObject({ code: 'store_unsafe' })
    const replica = await redis({ replicaOf: master })
    afterwards(() => replica.stop())
    const claim = { key: 'k', token: 't', fingerprint: '', principalHash: '', link: undefined, leaseMs: 1, windowMs: 1 }
    const store = await redisOn(replica.url)
    await expect(store.tryClaim({ ...claim, replaces: undefined })).rejects.toMatchObject({ code: 'unavailable' })
  })

  test('a full server without eviction refuses claims, loses none, and serves again when there is room', async () => {
    const server = await redis({ appendfsync: 'always' })
    afterwards(() => server.stop())
    const { app, calls } = appOn(await redisOn(server.url))
    await send(app, 'before')
    await server.command('CONFIG', 'SET', 'maxmemory', '1')
    expect(await codeOfAnswer(await send(app, 'k'))).toEqual([503, 'idempotency_store_unavailable'])
    expect((await send(app, 'before')).headers.get('idempotent-replayed')).toBe('true')
    await server.command('CONFIG', 'SET', 'maxmemory', '0')
    expect((await send(app, 'k')).status).toBe(201)
    expect(calls.n).toBe(2)
  })

  test('a user who may not read settings is told that they were not checked', async () => {
    const server = await redis({ appendfsync: 'always' })
    afterwards(() => server.stop())
    await server.command('ACL', 'SETUSER', 'limited', 'on', '>pw', '~gw:*', '&*', '+@all', '-config', '-info')
    const url = server.url.replace('redis://', 'redis://limited:pw@')
    let told: readonly RedisRisk[] = []
    const store = await redisOn(url, {
      onRisk(all) {
        told = all
      },
    })
    await store.open()
    expect(told.map(({ code }) => code)).toEqual(['unchecked'])
    const { app } = appOn(store)
    expect((await send(app, 'k')).status).toBe(201)
  })
})
