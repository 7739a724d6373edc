import { afterEach, expect, test, vi } from 'vitest'
import type * as shared from './index.ts'

afterEach(() => vi.unstubAllEnvs())

/** The module as a process that has not asked for a server yet has it. */
async function untouched(): Promise<typeof shared> {
  vi.resetModules()
  return import('./index.ts')
}

test('a shared server is started once for all who ask', async () => {
  vi.stubEnv('GW_TEST_POSTGRES_URL', '')
  vi.stubEnv('GW_TEST_REDIS_URL', '')
  const { sharedPostgres, sharedRedis } = await untouched()
  const [first, second] = await Promise.all([sharedPostgres(), sharedPostgres()])
  expect(first).toBe(second)
  expect(await sharedRedis()).toBe(await sharedRedis())
})

test('a fresh database is empty and of the shared PostgreSQL', async () => {
  const { freshDatabase, sharedPostgres } = await untouched()
  const server = await sharedPostgres()
  const urls = await Promise.all([freshDatabase(), freshDatabase()])
  expect(new Set(urls).size).toBe(2)
  for (const url of urls) {
    expect(new URL(url).port).toBe(new URL(server.url).port)
    const name = new URL(url).pathname.slice(1)
    const tables = "select count(*) from information_schema.tables where table_schema = 'public'"
    expect(await server.psql(`select current_database(); ${tables}`, name)).toBe(`${name}\n0`)
  }
})

test('servers that the environment names are used as they are', async () => {
  vi.stubEnv('GW_TEST_POSTGRES_URL', 'postgres://user@127.0.0.1:1234/some')
  vi.stubEnv('GW_TEST_REDIS_URL', 'redis://127.0.0.1:2345')
  vi.stubEnv('GW_TEST_REDIS_CLUSTER_URL', 'redis://127.0.0.1:1,redis://127.0.0.1:2')
  vi.stubEnv('GW_TEST_S3_URL', 'http://key:secret%2F@127.0.0.1:3456')
  const { sharedPostgres, sharedRedis, sharedRedisCluster, sharedS3 } = await untouched()
  expect(await sharedPostgres()).toMatchObject({ url: 'postgres://user@127.0.0.1:1234/some', port: 1234 })
  expect(await sharedRedis()).toEqual({ url: 'redis://127.0.0.1:2345' })
  expect(await sharedRedisCluster()).toEqual({ urls: ['redis://127.0.0.1:1', 'redis://127.0.0.1:2'] })
  expect(await sharedS3()).toMatchObject({
    url: 'http://127.0.0.1:3456',
    accessKeyId: 'key',
    secretAccessKey: 'secret/',
    region: 'us-east-1',
  })
})
