import type { ConnectionPool } from './connection-pool.ts'
import type { HistogramSnapshot } from './figures.ts'
import type { FactoryMetrics, PoolMetrics } from './metrics.ts'

/** One figure under its OpenTelemetry name. */
export interface PoolMeasurement {
  readonly name: string
  readonly kind: 'counter' | 'up_down_counter' | 'histogram'
  readonly unit: string
  readonly description: string
  readonly attributes: Readonly<Record<string, string>>
  readonly value: number | HistogramSnapshot
}

interface MetricName {
  readonly name: string
  readonly kind: PoolMeasurement['kind']
  readonly unit: string
  readonly description: string
  readonly state?: string
  readonly read: (metrics: FactoryMetrics) => number | HistogramSnapshot
}

/**
 * The names of OpenTelemetry's semantic conventions for database connection pools. Their status is "Development": when
 * they change, this table does.
 */
const table: readonly MetricName[] = [
  {
    name: 'db.client.connection.count',
    kind: 'up_down_counter',
    unit: '{connection}',
    description: 'Connections in the state that `db.client.connection.state` names',
    state: 'idle',
    read: (metrics) => metrics.idleConnections,
  },
  {
    name: 'db.client.connection.count',
    kind: 'up_down_counter',
    unit: '{connection}',
    description: 'Connections in the state that `db.client.connection.state` names',
    state: 'used',
    read: (metrics) => metrics.activeConnections,
  },
  {
    name: 'db.client.connection.idle.min',
    kind: 'up_down_counter',
    unit: '{connection}',
    description: 'The fewest connections kept',
    read: (metrics) => metrics.minConnections,
  },
  {
    name: 'db.client.connection.idle.max',
    kind: 'up_down_counter',
    unit: '{connection}',
    description: 'The most connections that may lie idle',
    read: (metrics) => metrics.maxConnections,
  },
  {
    name: 'db.client.connection.max',
    kind: 'up_down_counter',
    unit: '{connection}',
    description: 'The most connections allowed',
    read: (metrics) => metrics.maxConnections,
  },
  {
    name: 'db.client.connection.pending_requests',
    kind: 'up_down_counter',
    unit: '{request}',
    description: 'Requests that wait for a connection',
    read: (metrics) => metrics.waitingRequests,
  },
  {
    name: 'db.client.connection.timeouts',
    kind: 'counter',
    unit: '{timeout}',
    description: 'Requests that waited too long',
    read: (metrics) => metrics.acquisitionTimeouts,
  },
  {
    name: 'db.client.connection.create_time',
    kind: 'histogram',
    unit: 's',
    description: 'Time to make a connection',
    read: (metrics) => metrics.createTime,
  },
  {
    name: 'db.client.connection.wait_time',
    kind: 'histogram',
    unit: 's',
    description: 'Time to get a connection from the pool',
    read: (metrics) => metrics.waitTime,
  },
  {
    name: 'db.client.connection.use_time',
    kind: 'histogram',
    unit: 's',
    description: 'Time between getting a connection and giving it back',
    read: (metrics) => metrics.useTime,
  },
]

/** The figures of a pool as OpenTelemetry names them, one set for each factory, whose name follows the pool's after a slash. */
export function poolMeasurements(pool: ConnectionPool, metrics: PoolMetrics = pool.metrics()): PoolMeasurement[] {
  return Object.entries(metrics.factories).flatMap(([factory, figures]) =>
    table.map(({ name, kind, unit, description, state, read }) => ({
      name,
      kind,
      unit,
      description,
      attributes: {
        'db.client.connection.pool.name': `${pool.name}/${factory}`,
        ...(state === undefined ? {} : { 'db.client.connection.state': state }),
      },
      value: read(figures),
    })),
  )
}
