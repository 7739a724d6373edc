import { randomBytes } from 'node:crypto'
import { type Postgres, postgres, psql } from './postgres.ts'
import { redis } from './redis.ts'
import { redisCluster } from './redis-cluster.ts'

/** A PostgreSQL for the whole run: `GW_TEST_POSTGRES_URL`, else one that this process starts once and that ends with it. */
export function sharedPostgres(): Promise<Pick<Postgres, 'url' | 'port' | 'psql'>> {
  postgresOnce ??= (async () => {
    const url = process.env['GW_TEST_POSTGRES_URL']
    if (!url) return postgres({ maxConnections: 300 })
    return {
      url,
      port: Number(new URL(url).port || 5432),
      psql: (sql: string, database?: string) => psql(database === undefined ? url : inDatabase(url, database), sql),
    }
  })()
  return postgresOnce
}
let postgresOnce: Promise<Pick<Postgres, 'url' | 'port' | 'psql'>> | undefined

/** Makes an empty database in the shared PostgreSQL and gives its URL. */
export async function freshDatabase(): Promise<string> {
  const server = await sharedPostgres()
  const name = `gw_${randomBytes(8).toString('hex')}`
  await server.psql(`create database ${name}`)
  return inDatabase(server.url, name)
}

function inDatabase(url: string, database: string): string {
  const changed = new URL(url)
  changed.pathname = `/${database}`
  return changed.href
}

export interface SharedRedis {
  readonly url: string
}

/** A Redis for the whole run: `GW_TEST_REDIS_URL`, else one that this process starts once and that ends with it. Others use it too: take keys of your own. */
export function sharedRedis(): Promise<SharedRedis> {
  redisOnce ??= (async () => {
    const url = process.env['GW_TEST_REDIS_URL']
    return { url: url || (await redis()).url }
  })()
  return redisOnce
}
let redisOnce: Promise<SharedRedis> | undefined

export interface SharedRedisCluster {
  readonly urls: readonly string[]
}

/** A Redis Cluster with replicas for the whole run: the nodes of `GW_TEST_REDIS_CLUSTER_URL`, else one that this process starts once and that ends with it. */
export function sharedRedisCluster(): Promise<SharedRedisCluster> {
  clusterOnce ??= (async () => {
    const urls = process.env['GW_TEST_REDIS_CLUSTER_URL']
    return { urls: urls ? urls.split(',') : (await redisCluster({ masters: 3, replicas: 1 })).urls }
  })()
  return clusterOnce
}
let clusterOnce: Promise<SharedRedisCluster> | undefined
