import { connectPostgres, postgresDatabase } from '@gw/postgres'
import { freshDatabase, sharedRedis } from '@gw/services'
import { drizzle } from 'drizzle-orm/postgres-js'
import { createClient } from 'redis'
import { describe, expect, test } from 'vitest'
import type { DedupStore } from '../src/index.ts'
import { postgresDedupStore } from '../src/stores/postgres.ts'
import { redisClientOptions, redisDedupStore } from '../src/stores/redis.ts'
import { afterwards, appOf, deduplicatorOf, send } from './fixture.ts'

const keys = process.env['GW_TEST_LONG'] ? 300 : 100
const repeats = 60

const stores: Readonly<Record<string, () => Promise<readonly DedupStore[]>>> = {
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
  async Redis() {
    const { url } = await sharedRedis()
    const prefix = `once:${crypto.randomUUID()}:`
    return Promise.all(
      [0, 1, 2].map(async () => {
        const client = createClient({ url, ...redisClientOptions() })
        await client.connect()
        afterwards(async () => client.destroy())
        return redisDedupStore({ client, prefix, onRisk: () => {} })
      }),
    )
  },
}

describe(`P2, P3: each of ${keys} keys with ${repeats} requests at once over three gateways runs once`, () => {
  for (const [name, open] of Object.entries(stores)) {
    test(name, { timeout: 120_000 }, async () => {
      const executions = new Map<string, number>()
      const apps = (await open()).map((store) =>
        appOf(deduplicatorOf(store, undefined, { monotonic: () => performance.now() }), async (c) => {
          const key = c.req.header('idempotency-key')!
          executions.set(key, (executions.get(key) ?? 0) + 1)
          await new Promise((resolve) => setTimeout(resolve, 2))
          return c.json({ id: crypto.randomUUID() }, 201)
        }),
      )
      let conflicts = 0
      for (let i = 0; i < keys; i += 10) {
        await Promise.all(
          Array.from({ length: 10 }, async (_, j) => {
            const key = `key-${i + j}`
            const answers = await Promise.all(
              Array.from({ length: repeats }, async (_, n) => {
                const response = await send(apps[n % 3]!, key)
                return {
                  status: response.status,
                  after: response.headers.get('retry-after'),
                  text: await response.text(),
                }
              }),
            )
            const given = answers.filter(({ status }) => status === 201)
            expect(new Set(given.map(({ text }) => text)).size).toBe(1)
            for (const { status, after } of answers) {
              if (status === 201) continue
              conflicts++
              expect([status, after]).toEqual([409, expect.stringMatching(/^[1-9]\d*$/)])
            }
            expect((await send(apps[1]!, key)).headers.get('idempotent-replayed')).toBe('true')
          }),
        )
      }
      expect(executions.size).toBe(keys)
      expect([...executions.values()].every((times) => times === 1)).toBe(true)
      expect(conflicts).toBeGreaterThan(0)
    })
  }
})
