import { connectPostgres, postgresDatabase } from '@gw/postgres'
import { freshDatabase, sharedRedis, sharedRedisCluster } from '@gw/services'
import { drizzle } from 'drizzle-orm/postgres-js'
import { createClient, createCluster } from 'redis'
import { describe, expect, test } from 'vitest'
import type { DedupStore, KeyRecord } from '../src/index.ts'
import { postgresDedupStore } from '../src/stores/postgres.ts'
import { redisClientOptions, redisDedupStore } from '../src/stores/redis.ts'
import { afterwards, database, memoryOf, sqliteOf } from './fixture.ts'
import { type Call, isLinearizable, type Operation } from './linearizable.ts'

const operationsInAll = Number(process.env['GW_LINEARIZABILITY_OPERATIONS'] ?? 5_000)
const operationsPerKey = 20

/** Three gateways on one store. */
const stores: Readonly<Record<string, () => Promise<readonly DedupStore[]>>> = {
  async memory() {
    const store = memoryOf()
    return [store, store, store]
  },
  async SQLite() {
    const db = await database()
    return [sqliteOf(db), sqliteOf(db), sqliteOf(db)]
  },
  async PostgreSQL() {
    const url = await freshDatabase()
    return [0, 1, 2].map(() => {
      const client = connectPostgres(url)
      const db = postgresDatabase(drizzle(client))
      afterwards(async () => {
        await db.close()
        await client.end()
      })
      return postgresDedupStore({ db })
    })
  },
  Redis: async () =>
    Promise.all(
      [0, 1, 2].map(async () => {
        const client = createClient({ url: (await sharedRedis()).url, ...redisClientOptions() })
        await client.connect()
        afterwards(async () => client.destroy())
        return redisDedupStore({ client, onRisk: () => {} })
      }),
    ),
  'Redis Cluster': async () =>
    Promise.all(
      [0, 1, 2].map(async () => {
        const rootNodes = (await sharedRedisCluster()).urls.map((url) => ({ url }))
        const client = createCluster({ rootNodes, defaults: redisClientOptions() })
        await client.connect()
        afterwards(async () => client.destroy())
        return redisDedupStore({ client, onRisk: () => {} })
      }),
    ),
}

const shown = (record: KeyRecord | undefined) =>
  record === undefined ? 'none' : `${record.token} ${record.response?.status ?? 'in flight'}`

async function carryOut(store: DedupStore, key: string, call: Call): Promise<{ answer: string; fence?: number }> {
  if (call.kind === 'get') return { answer: shown(await store.get(key)) }
  if (call.kind === 'claim') {
    const claim = { key, token: call.token, fingerprint: '', principalHash: '', link: undefined, replaces: undefined }
    const answer = await store.tryClaim({ ...claim, leaseMs: 60_000, windowMs: 60_000 })
    return answer.kind === 'claimed'
      ? { answer: 'claimed', fence: answer.fence }
      : { answer: `held ${shown(answer.record)}` }
  }
  const link = { key, token: call.token }
  const unit = store.unit()
  let answer = ''
  const write =
    call.kind === 'release'
      ? store.release(link)
      : store.complete(link, { status: call.status, headers: [], body: undefined }, undefined)
  unit.add(write, (result) => {
    answer = String(result)
  })
  await unit.commit()
  return { answer }
}

/** Six clients on one key, whose calls overlap; each claims, and settles or frees what it has, or what it had. */
async function historyOf(all: readonly DedupStore[], key: string, seed: number) {
  const operations: Operation[] = []
  const fences: { readonly fence: number; readonly began: number; readonly ended: number }[] = []
  let state = seed
  const random = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 4_294_967_296) * below)
  }
  let left = operationsPerKey
  await Promise.all(
    Array.from({ length: 6 }, async (_, client) => {
      let claims = 0
      let token = `c${client}.0`
      while (left-- > 0) {
        const kind = (['claim', 'claim', 'claim', 'complete', 'release', 'release', 'get'] as const)[random(7)]!
        if (kind === 'claim' && random(3) > 0) token = `c${client}.${++claims}`
        const call: Call =
          kind === 'get' ? { kind } : kind === 'complete' ? { kind, token, status: 200 + random(20) } : { kind, token }
        const began = performance.now()
        const { answer, fence } = await carryOut(all[random(all.length)]!, key, call)
        const ended = performance.now()
        operations.push({ call, answer, began, ended })
        if (fence !== undefined) fences.push({ fence, began, ended })
      }
    }),
  )
  return { operations, fences }
}

describe('D4: every history is that of one copy of the key, over three gateways', () => {
  for (const [name, open] of Object.entries(stores)) {
    test(name, { timeout: 120_000 }, async () => {
      const all = await open()
      await Promise.all(all.map((store) => store.open()))
      const keys = Math.ceil(operationsInAll / operationsPerKey)
      let count = 0
      let overlapping = 0
      for (let i = 0; i < keys; i += 10) {
        const histories = await Promise.all(
          Array.from({ length: 10 }, (_, j) => historyOf(all, crypto.randomUUID(), i + j + 1)),
        )
        for (const { operations, fences } of histories) {
          count += operations.length
          overlapping += operations.filter((one) =>
            operations.some((two) => two.began < one.began && one.began < two.ended),
          ).length
          if (!isLinearizable(operations)) expect.fail(JSON.stringify(operations, undefined, 1))
          for (const one of fences)
            for (const two of fences) if (one.ended < two.began) expect(two.fence).toBeGreaterThanOrEqual(one.fence)
        }
      }
      expect(count).toBeGreaterThanOrEqual(operationsInAll * 0.99)
      expect(overlapping / count).toBeGreaterThan(name === 'memory' ? 0 : 0.2)
    })
  }
})

test('M2: the checker refuses a history in which two claims won, and one that read the past', () => {
  const at = (began: number, ended: number, call: Call, answer: string): Operation => ({ call, answer, began, ended })
  const claim = (token: string): Call => ({ kind: 'claim', token })
  expect(isLinearizable([at(0, 10, claim('a'), 'claimed'), at(5, 15, claim('b'), 'claimed')])).toBe(false)
  expect(isLinearizable([at(0, 1, claim('a'), 'claimed'), at(2, 3, { kind: 'get' }, 'none')])).toBe(false)
  expect(isLinearizable([at(0, 5, claim('a'), 'claimed'), at(2, 3, { kind: 'get' }, 'none')])).toBe(true)
  expect(
    isLinearizable([
      at(0, 1, claim('a'), 'claimed'),
      at(2, 3, { kind: 'complete', token: 'a', status: 200 }, 'ok'),
      at(4, 5, { kind: 'complete', token: 'a', status: 201 }, 'ok'),
      at(6, 7, claim('b'), 'held a 201'),
    ]),
  ).toBe(false)
})
