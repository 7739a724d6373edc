export type { Controls } from './controls.ts'
export { ensureInstalled, type Installable } from './install.ts'
export { type Postgres, type PostgresOptions, postgres } from './postgres.ts'
export { type Redis, type RedisOptions, redis } from './redis.ts'
export { type RedisCluster, type RedisClusterOptions, redisCluster } from './redis-cluster.ts'
export type { Reply } from './resp.ts'
export {
  freshDatabase,
  type SharedRedis,
  type SharedRedisCluster,
  sharedPostgres,
  sharedRedis,
  sharedRedisCluster,
} from './shared.ts'
