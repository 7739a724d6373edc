export { findLibrary, findProgram } from './binaries.ts'
export type { Controls } from './controls.ts'
export {
  type Direction,
  type FaultCounts,
  type FaultMode,
  type FaultProxy,
  type FaultProxyOptions,
  faultProxy,
} from './fault-proxy.ts'
export { type Haproxy, type HaproxyOptions, haproxy } from './haproxy.ts'
export { ensureInstalled, type Installable } from './install.ts'
export { type ClaimedPort, claimPort, freePorts } from './ports.ts'
export { type Postgres, type PostgresOptions, postgres } from './postgres.ts'
export { type Redis, type RedisOptions, redis } from './redis.ts'
export { type RedisCluster, type RedisClusterOptions, redisCluster } from './redis-cluster.ts'
export type { Reply } from './resp.ts'
export { type S3, type S3Options, s3 } from './s3.ts'
export { createBucket, type S3Access, s3Request } from './s3-request.ts'
export {
  freshDatabase,
  type SharedRedis,
  type SharedRedisCluster,
  type SharedS3,
  sharedPostgres,
  sharedRedis,
  sharedRedisCluster,
  sharedS3,
} from './shared.ts'
