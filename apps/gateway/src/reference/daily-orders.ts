import { DatabaseSync } from 'node:sqlite'
import type { ConnectionFactory } from '@gw/pool'
import { postgresFactory } from '@gw/pool/postgres'
import type { EmbeddedEngine, Engine, PostgresEngine } from '../engine.ts'

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
  `SELECT substr(created_at, 1, 10) AS day, CAST(count(*) AS INTEGER) AS orders, sum(amount) AS revenue FROM orders WHERE created_at >= ${mark} GROUP BY 1 ORDER BY 1`

/** Makes real connections to the database that the orders lie in. */
export function dailyOrdersFactory(engine: Engine): ConnectionFactory<OrdersConnection> {
  return engine.kind === 'postgres' ? onPostgres(engine as PostgresEngine) : embedded(engine as EmbeddedEngine)
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

function onPostgres({ url }: PostgresEngine): ConnectionFactory<OrdersConnection> {
  const sockets = postgresFactory({ url })
  const opened = new WeakMap<OrdersConnection, Awaited<ReturnType<typeof sockets.create>>>()
  return {
    async create(context) {
      const sql = await sockets.create(context)
      const connection: OrdersConnection = {
        since: async (since) => [...(await sql.unsafe<DailyOrders[]>(byDay('$1'), [since]))],
      }
      opened.set(connection, sql)
      return connection
    },
    validate: (connection) => sockets.validate(opened.get(connection)!),
    destroy: (connection) => sockets.destroy(opened.get(connection)!),
  }
}
