import { connectPostgres, postgresDatabase } from '@gw/postgres'
import { freshDatabase, postgres } from '@gw/services'
import { drizzle } from 'drizzle-orm/postgres-js'
import { describe, expect, test } from 'vitest'
import type { DedupStore } from '../src/index.ts'
import { postgresDedupStore } from '../src/stores/postgres.ts'
import { appOn, deadlineMs, survives, through } from './away.ts'
import { afterwards } from './fixture.ts'

async function postgresOn(url: string): Promise<DedupStore> {
  const client = connectPostgres(url, { deadlineMs })
  const db = postgresDatabase(drizzle(client), { deadlineMs })
  afterwards(async () => {
    await db.close()
    await client.end()
  })
  return postgresDedupStore({ db })
}

describe('P10, R1: PostgreSQL goes away', () => {
  for (const mode of ['refuse', 'reset', 'blackhole', 'half-open-c2s', 'half-open-s2c'] as const) {
    test(mode, async () => {
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

  test('stopped, and killed and started again', async () => {
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
