import { DatabaseSync } from 'node:sqlite'
import type { ConnectionFactory } from '@gw/pool'
import type { EmbeddedEngine, Engine } from '../engine.ts'

/** One day's orders. */
export interface DailyOrders {
  readonly day: string
  readonly orders: number
  readonly revenue: number
}

/** A connection that knows the one query of `/api/analytics`. */
export interface OrdersConnection {
  /** The days from `since` (ISO 8601) on, oldest first. */
  since(since: string): Promise<DailyOrders[]>
}

const byDay = (mark: string) =>
  `SELECT substr(created_at, 1, 10) AS day, count(*) AS orders, sum(amount) AS revenue FROM orders WHERE created_at >= ${mark} GROUP BY 1 ORDER BY 1`

/** Makes real connections to the database that the orders lie in. */
export function dailyOrdersFactory(engine: Engine): ConnectionFactory<OrdersConnection> {
  return embedded(engine as EmbeddedEngine)
}

function embedded({ database }: EmbeddedEngine): ConnectionFactory<OrdersConnection> {
  const opened = new WeakMap<OrdersConnection, DatabaseSync>()
  return {
    create() {
      const file = new DatabaseSync(database.file, { readOnly: true, timeout: 5_000 })
      const query = file.prepare(byDay('?'))
      const connection: OrdersConnection = { since: async (since) => query.all(since) as unknown as DailyOrders[] }
      opened.set(connection, file)
      return connection
    },
    validate: (connection) => opened.get(connection)!.prepare('SELECT 1').get() !== undefined,
    destroy: (connection) => opened.get(connection)!.close(),
  }
}
