import { CircuitBreaker } from '@gw/breaker'
import { ConnectionPool } from '@gw/pool'
import type { Gateway } from '../gateway.ts'
import { type DailyOrders, dailyOrdersFactory } from './daily-orders.ts'

/** `GET /api/analytics`: the guide's query over the last thirty days of orders, on a connection of a pool whose connects a breaker guards. */
export function analyticsRoutes(gateway: Gateway): void {
  const pool = new ConnectionPool({
    name: 'main_connection_pool',
    min: 2,
    max: 10,
    acquireTimeoutMs: 30_000,
    idleTimeoutMs: 300_000,
    maxLifetimeMs: 3_600_000,
    healthCheckIntervalMs: 60_000,
    maxFailuresBeforeRefresh: 3,
  })
  const breaker = new CircuitBreaker({ name: pool.name, failureThreshold: 3, openMs: 10_000, halfOpenMaxCalls: 1 })
  gateway.breakers.add(pool.name, breaker)
  const database = pool.register('database', { ...dailyOrdersFactory(gateway.engine), breaker })
  gateway.pools.add(pool)

  gateway.get('/api/analytics', async (c) => {
    const since = new Date(Date.now() - 30 * 86_400_000).toISOString()
    const rows = await database.use((connection) => connection.since(since), { signal: c.req.raw.signal })
    return c.json({ analytics: rows.map(shown) })
  })
}

function shown({ day, orders, revenue }: DailyOrders) {
  return { date: day, orders, revenue, avg_value: Math.round((revenue / orders) * 100) / 100 }
}
