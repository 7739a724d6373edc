import { type HistogramSnapshot, type PoolMetrics, poolMeasurements } from '@gw/pool'
import { expect, test } from 'vitest'
import { failure } from './fake-server.ts'
import { make } from './making.ts'

function consistent(metrics: PoolMetrics): void {
  const { activeConnections, idleConnections, pendingConnections, totalConnections, maxConnections } = metrics
  expect(activeConnections + idleConnections + pendingConnections).toBe(totalConnections)
  expect(totalConnections).toBeLessThanOrEqual(maxConnections)
}

test('C12: in one snapshot active, idle and pending are the total, never above the maximum, at every turn', async () => {
  const { database, pool, clock, server } = make({ min: 1, max: 3, connectConcurrency: 3, validateAfterIdleMs: 0 })
  server.onCreate = () => new Promise((resolve) => clock.setTimeout(resolve, 3))
  const busy = Promise.all(
    Array.from({ length: 12 }, async (_, index) => {
      const lease = await database.acquire()
      await new Promise<void>((resolve) => clock.setTimeout(resolve, index % 4))
      if (index % 5 === 0) lease.destroy()
      else lease.release()
    }),
  )
  let turns = 0
  let over = false
  const watch = async () => {
    while (!over) {
      consistent(pool.metrics())
      turns++
      await Promise.resolve()
      if (turns % 50 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
  }
  const watching = watch()
  await clock.advance(200)
  await busy
  over = true
  await watching
  expect(turns).toBeGreaterThan(100)
})

test('C12: counts acquisitions, failures, timeouts, connection errors and connections made and closed, with their means', async () => {
  const { database, pool, clock, server } = make({ max: 1, acquireTimeoutMs: 100 })
  const lease = await database.acquire()
  const waiting = failure(database.acquire())
  await clock.advance(100)
  await waiting
  const second = database.acquire()
  await clock.advance(40)
  lease.release()
  await clock.advance(860)
  ;(await second).destroy()
  await clock.advance(0)
  server.onCreate = () => Promise.reject(new Error('down'))
  await failure(database.acquire())
  expect(pool.metrics()).toMatchObject({
    successfulAcquisitions: 2,
    failedAcquisitions: 2,
    acquisitionTimeouts: 1,
    connectionErrors: 1,
    connectionsCreatedTotal: 1,
    connectionsClosedTotal: 1,
    avgAcquisitionTimeMs: 20,
    avgConnectionLifetimeSeconds: 1,
  })
})

test('C12: `health` has the shape of GET /health/connection-pool', async () => {
  const { pool } = make({ min: 2, max: 5 })
  await pool.start()
  await using _lease = await pool.acquire('database')
  expect(pool.health()).toEqual({
    pool_status: { active_connections: 1, idle_connections: 1, total_connections: 2, max_connections: 5 },
    health_metrics: {
      successful_acquisitions: 1,
      failed_acquisitions: 0,
      acquisition_timeouts: 0,
      connection_errors: 0,
    },
    performance_metrics: {
      avg_acquisition_time_ms: 0,
      avg_connection_lifetime_seconds: 0,
      connections_created_total: 2,
      connections_closed_total: 0,
    },
  })
})

test('C12: several factories are counted apart and together, each with bounds of its own', async () => {
  const { pool } = make({ min: 1, max: 4 })
  const cache = pool.register('cache', { create: async () => ({}), min: 2, max: 3 })
  await pool.start()
  await cache.acquire()
  const metrics = pool.metrics()
  expect(metrics).toMatchObject({ activeConnections: 1, idleConnections: 2, maxConnections: 7 })
  expect(metrics.factories['database']).toMatchObject({ activeConnections: 0, idleConnections: 1, maxConnections: 4 })
  expect(metrics.factories['cache']).toMatchObject({ activeConnections: 1, idleConnections: 1, maxConnections: 3 })
  expect(pool.factories).toEqual(['database', 'cache'])
})

test('C12: the names of OpenTelemetry, with the durations in seconds', async () => {
  const { pool, database, clock } = make({ max: 1 })
  const lease = await database.acquire()
  const waiting = database.acquire()
  await clock.advance(30)
  lease.release()
  await waiting
  const measurements = poolMeasurements(pool)
  expect(measurements.map(({ name, attributes }) => [name, attributes['db.client.connection.state']])).toEqual([
    ['db.client.connection.count', 'idle'],
    ['db.client.connection.count', 'used'],
    ['db.client.connection.idle.min', undefined],
    ['db.client.connection.idle.max', undefined],
    ['db.client.connection.max', undefined],
    ['db.client.connection.pending_requests', undefined],
    ['db.client.connection.timeouts', undefined],
    ['db.client.connection.create_time', undefined],
    ['db.client.connection.wait_time', undefined],
    ['db.client.connection.use_time', undefined],
  ])
  expect(measurements.every(({ attributes }) => attributes['db.client.connection.pool.name'] === 'main/database')).toBe(
    true,
  )
  const wait = measurements.find(({ name }) => name.endsWith('wait_time'))
  expect(wait).toMatchObject({ unit: 's', kind: 'histogram', value: { count: 2, sumSeconds: 0.03 } })
  const { boundsSeconds, counts } = wait!.value as HistogramSnapshot
  expect(counts[boundsSeconds.indexOf(0.05)]).toBe(1)
})

test('C12: hooks that throw change nothing', async () => {
  const throwing = () => {
    throw new Error('in the hook')
  }
  const { pool, database, clock } = make({ onTransition: throwing, onLeak: throwing, leakThresholdMs: 1 })
  await pool.start()
  const lease = await database.acquire()
  await clock.advance(1_000)
  lease.release()
  await pool.drain()
})

test('C12: listeners hear of what happens until they leave, and what one throws is kept from the others', async () => {
  const { pool, transitions } = make({ min: 1 })
  const heard: string[] = []
  pool.subscribe(() => {
    throw new Error('a listener')
  })
  const leave = pool.subscribe(({ type }) => heard.push(type))
  await pool.start()
  pool.refresh()
  leave()
  await pool.drain()
  expect(heard).toEqual(['started', 'refreshed'])
  expect(transitions.at(-1)?.type).toBe('drained')
})
