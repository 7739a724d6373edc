import { redis, redisCluster } from '@gw/services'
import { describe, expect, test } from 'vitest'
import type { DedupStore } from '../src/index.ts'
import { type RedisRisk, redisDedupStore } from '../src/stores/redis.ts'
import { appOn, deadlineMs, survives, through } from './away.ts'
import { afterwards, appOf, codeOfAnswer, counting, gate, send } from './fixture.ts'
import { type ClientLibrary, forThisTest, libraries } from './redis-clients.ts'

type Options = Partial<Parameters<typeof redisDedupStore>[0]>

async function redisOn(library: ClientLibrary, url: string, more: Options = {}): Promise<DedupStore> {
  const client = await forThisTest(library.single(url, { deadlineMs }))
  return redisDedupStore({ client, deadlineMs, onRisk: () => {}, ...more })
}

describe.each(libraries)('P10, R1: Redis through $name goes away', (library) => {
  for (const mode of ['refuse', 'reset', 'blackhole', 'half-open-c2s', 'half-open-s2c'] as const) {
    test(mode, async () => {
      const server = await redis()
      afterwards(() => server.stop())
      const proxy = await through(server.url)
      const { app } = appOn(await redisOn(library, proxy.url))
      await survives(
        app,
        () => proxy.set(mode),
        () => proxy.set('pass'),
      )
      const { lostBytes, resets } = proxy.counts
      expect(lostBytes.c2s + lostBytes.s2c + resets).toBeGreaterThan(0)
    })
  }

  test('stopped, and killed and started again on its file', async () => {
    const server = await redis({ appendfsync: 'always' })
    afterwards(() => server.stop())
    const { app } = appOn(await redisOn(library, server.url))
    await survives(
      app,
      async () => server.pause(),
      async () => server.resume(),
    )
    const killed = appOn(await redisOn(library, server.url))
    await survives(
      killed.app,
      () => server.kill(),
      () => server.restart(),
    )
  })
})

describe.each(libraries)('R2: a failover after a claim, through $name', (library) => {
  test('in a Cluster whose replica has the claim, the key stays held, and its owner settles it at the new master', async () => {
    const cluster = await redisCluster({ masters: 3, replicas: 1, nodeTimeoutMs: 1_000 })
    afterwards(() => cluster.stop())
    const client = await forThisTest(library.cluster(cluster.urls, { deadlineMs }))
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
  async function pair(more: Options = {}) {
    const master = await redis()
    afterwards(() => master.stop())
    const link = await through(master.url)
    const replica = await redis({ replicaOf: { port: link.port } })
    afterwards(() => replica.stop())
    // A replica whose link is up may still get nothing: its stream begins with the first offset that it acknowledges, and there is
    // none until something is written that it was there for.
    await expect
      .poll(
        async () => {
          await master.command('INCR', 'written')
          return String(await master.command('INFO', 'replication'))
        },
        { timeout: 30_000 },
      )
      .toMatch(/^slave0:.*,offset=[1-9]/m)
    const [atMaster, atReplica] = await Promise.all(
      [master, replica].map(({ url }) => forThisTest(library.single(url, { deadlineMs }))),
    )
    let current = atMaster!
    const client = library.moving(() => current)
    return {
      store: redisDedupStore({ client, deadlineMs, onRisk: () => {}, ...more }),
      cut: () => link.set('blackhole'),
      lost: () => link.counts.lostBytes.c2s + link.counts.lostBytes.s2c,
      async failOver() {
        await replica.command('REPLICAOF', 'NO', 'ONE')
        current = atReplica!
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

describe.each(libraries)('R3: a server that puts keys at risk, through $name', (library) => {
  async function risks(settings: Parameters<typeof redis>[0], more = {}): Promise<string[]> {
    const server = await redis(settings)
    afterwards(() => server.stop())
    let told: readonly RedisRisk[] = []
    const store = await redisOn(library, server.url, {
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
    const store = await redisOn(library, replica.url)
    await expect(store.tryClaim({ ...claim, replaces: undefined })).rejects.toMatchObject({ code: 'unavailable' })
  })

  test('a full server without eviction refuses claims, loses none, and serves again when there is room', async () => {
    const server = await redis({ appendfsync: 'always' })
    afterwards(() => server.stop())
    const { app, calls } = appOn(await redisOn(library, server.url))
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
    const store = await redisOn(library, url, {
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
