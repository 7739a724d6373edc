export { type PoolClock, systemClock } from './clock.ts'
export {
  ConnectionPool,
  type DrainOptions,
  type NamedPool,
  type NoticedLeak,
  type ResizeOptions,
  type StartOptions,
} from './connection-pool.ts'
export { PoolError, type PoolErrorCode, type PoolErrorDetails, type PoolFigures } from './errors.ts'
export type { ConnectBreaker, ConnectionFactory, CreateContext } from './factory.ts'
export type { DrainReport } from './factory-pool.ts'
export type { HistogramSnapshot } from './figures.ts'
export { Lease } from './lease.ts'
export { type PoolMeasurement, poolMeasurements } from './metric-names.ts'
export { type FactoryMetrics, type PoolFigureSet, type PoolHealth, type PoolMetrics, poolHealth } from './metrics.ts'
export { type PoolEnv, type PoolMiddlewareOptions, pool } from './middleware.ts'
export type { PoolLeak, PoolOptions, PoolTransition } from './options.ts'
export type { PreWarmWindow } from './pre-warm.ts'
export type { AcquireOptions } from './request.ts'
