import type { FactoryPool } from './factory-pool.ts'
import type { HistogramSnapshot } from './figures.ts'

/** Figures of one factory, or of all of a pool's together, read in one instant: `activeConnections + idleConnections + pendingConnections` is `totalConnections`, and that is never above `maxConnections`. */
export interface PoolFigureSet {
  readonly activeConnections: number
  readonly idleConnections: number
  /** Being opened. */
  readonly pendingConnections: number
  readonly totalConnections: number
  readonly maxConnections: number
  readonly minConnections: number
  /** How many are kept now: the minimum, or what a schedule or the demand asks for. */
  readonly keptConnections: number
  /** Being closed, or given up while being opened; they take up room below the maximum. */
  readonly closingConnections: number
  readonly waitingRequests: number
  readonly successfulAcquisitions: number
  readonly failedAcquisitions: number
  readonly acquisitionTimeouts: number
  readonly connectionErrors: number
  readonly validationFailures: number
  readonly avgAcquisitionTimeMs: number
  /** Of the connections closed so far. */
  readonly avgConnectionLifetimeSeconds: number
  readonly connectionsCreatedTotal: number
  readonly connectionsClosedTotal: number
  /** Loans reported as too long. */
  readonly leaksTotal: number
  /** Loans whose lease was garbage. */
  readonly reclaimedTotal: number
}

/** Figures of one factory. */
export interface FactoryMetrics extends PoolFigureSet {
  /** Whether the last connect failed or a breaker keeps connects back. */
  readonly failing: boolean
  readonly waitTime: HistogramSnapshot
  readonly useTime: HistogramSnapshot
  readonly createTime: HistogramSnapshot
}

/** Figures of a pool: all of its factories together, and each. */
export interface PoolMetrics extends PoolFigureSet {
  readonly factories: Readonly<Record<string, FactoryMetrics>>
}

/** What `GET /health/connection-pool` answers. */
export interface PoolHealth {
  readonly pool_status: {
    readonly active_connections: number
    readonly idle_connections: number
    readonly total_connections: number
    readonly max_connections: number
  }
  readonly health_metrics: {
    readonly successful_acquisitions: number
    readonly failed_acquisitions: number
    readonly acquisition_timeouts: number
    readonly connection_errors: number
  }
  readonly performance_metrics: {
    readonly avg_acquisition_time_ms: number
    readonly avg_connection_lifetime_seconds: number
    readonly connections_created_total: number
    readonly connections_closed_total: number
  }
}

/** Reads the figures of the factories given, in one go. */
export function readMetrics(pools: Iterable<FactoryPool<never>>): PoolMetrics {
  const sum: Record<string, number> = { ...none }
  let waitMs = 0
  let lifetimeMs = 0
  const factories: Record<string, FactoryMetrics> = Object.create(null)
  for (const pool of pools) {
    const { counters } = pool
    const one = figuresOf(pool)
    for (const name of Object.keys(none) as (keyof PoolFigureSet)[]) sum[name] = (sum[name] as number) + one[name]
    waitMs += counters.wait.sumMs
    lifetimeMs += counters.lifetimeMsTotal
    factories[pool.factoryName] = {
      ...one,
      failing: pool.failing,
      waitTime: withImmediate(counters.wait.snapshot(), counters.immediate),
      useTime: counters.use.snapshot(),
      createTime: counters.create.snapshot(),
    }
  }
  const all = sum as unknown as PoolFigureSet
  return {
    ...all,
    avgAcquisitionTimeMs: ratio(waitMs, all.successfulAcquisitions),
    avgConnectionLifetimeSeconds: ratio(lifetimeMs / 1_000, all.connectionsClosedTotal),
    factories,
  }
}

/** The same in the shape of `GET /health/connection-pool`. */
export function poolHealth(metrics: PoolFigureSet): PoolHealth {
  return {
    pool_status: {
      active_connections: metrics.activeConnections,
      idle_connections: metrics.idleConnections,
      total_connections: metrics.totalConnections,
      max_connections: metrics.maxConnections,
    },
    health_metrics: {
      successful_acquisitions: metrics.successfulAcquisitions,
      failed_acquisitions: metrics.failedAcquisitions,
      acquisition_timeouts: metrics.acquisitionTimeouts,
      connection_errors: metrics.connectionErrors,
    },
    performance_metrics: {
      avg_acquisition_time_ms: metrics.avgAcquisitionTimeMs,
      avg_connection_lifetime_seconds: metrics.avgConnectionLifetimeSeconds,
      connections_created_total: metrics.connectionsCreatedTotal,
      connections_closed_total: metrics.connectionsClosedTotal,
    },
  }
}

const none: PoolFigureSet = {
  activeConnections: 0,
  idleConnections: 0,
  pendingConnections: 0,
  totalConnections: 0,
  maxConnections: 0,
  minConnections: 0,
  keptConnections: 0,
  closingConnections: 0,
  waitingRequests: 0,
  successfulAcquisitions: 0,
  failedAcquisitions: 0,
  acquisitionTimeouts: 0,
  connectionErrors: 0,
  validationFailures: 0,
  avgAcquisitionTimeMs: 0,
  avgConnectionLifetimeSeconds: 0,
  connectionsCreatedTotal: 0,
  connectionsClosedTotal: 0,
  leaksTotal: 0,
  reclaimedTotal: 0,
}

function figuresOf(pool: FactoryPool<never>): PoolFigureSet {
  const { counters, figures } = pool
  return {
    activeConnections: figures.active,
    idleConnections: figures.idle,
    pendingConnections: figures.pendingCreate,
    totalConnections: figures.total,
    maxConnections: figures.max,
    minConnections: pool.min,
    keptConnections: pool.floor,
    closingConnections: pool.closing,
    waitingRequests: figures.waiting,
    successfulAcquisitions: counters.acquired,
    failedAcquisitions: counters.failedAcquisitions,
    acquisitionTimeouts: counters.acquisitionTimeouts,
    connectionErrors: counters.connectionErrors,
    validationFailures: counters.validationFailures,
    avgAcquisitionTimeMs: ratio(counters.wait.sumMs, counters.acquired),
    avgConnectionLifetimeSeconds: ratio(counters.lifetimeMsTotal / 1_000, counters.closed),
    connectionsCreatedTotal: counters.created,
    connectionsClosedTotal: counters.closed,
    leaksTotal: counters.leaks,
    reclaimedTotal: counters.reclaimed,
  }
}

function ratio(sum: number, count: number): number {
  return count === 0 ? 0 : sum / count
}

/** What waited for nothing belongs to the first bucket. */
function withImmediate(wait: HistogramSnapshot, immediate: number): HistogramSnapshot {
  const [first = 0, ...rest] = wait.counts
  return { ...wait, counts: [first + immediate, ...rest], count: wait.count + immediate }
}
