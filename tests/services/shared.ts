import { randomBytes } from 'node:crypto'
import { type Postgres, postgres, psql } from './postgres.ts'
import { redis } from './redis.ts'
import { redisCluster } from './redis-cluster.ts'
import { s3 } from './s3.ts'
import { createBucket, type S3Access } from './s3-request.ts'

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

export interface SharedS3 extends S3Access {
  createBucket(name: string): Promise<void>
}

/**
 * An S3 for the whole run: `GW_TEST_S3_URL`, with the key and its secret as user and password in it, else one that this process starts once and that ends
 * with it. Others use it too: make a bucket of your own.
 */
export function sharedS3(): Promise<SharedS3> {
  s3Once ??= (async () => {
    const given = process.env['GW_TEST_S3_URL']
    if (!given) return s3()
    const url = new URL(given)
    const access = {
      url: url.origin,
      accessKeyId: decodeURIComponent(url.username),
      secretAccessKey: decodeURIComponent(url.password),
      region: 'us-east-1',
    }
    return { ...access, createBucket: (name: string) => createBucket(access, name) }
  })()
  return s3Once
}
let s3Once: Promise<SharedS3> | undefined
