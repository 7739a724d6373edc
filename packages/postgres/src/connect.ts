import postgres, { type Sql } from 'postgres'
import { invalid } from './errors.ts'

/** How a client connects. */
export interface ConnectOptions {
  /** After how long without an answer a connection is dropped, and how long connecting may take: 5,000. */
  readonly deadlineMs?: number
  /** Connections at most: 10. */
  readonly maxConnections?: number
  /** What the server calls us in `pg_stat_activity`: `durable-gateway`. */
  readonly applicationName?: string
}

/**
 * Makes a postgres.js client for `drizzle(client)`. It connects when it is first used; who calls closes it, with `client.end()`.
 */
export function connectPostgres(url: string, options: ConnectOptions = {}): Sql {
  const { deadlineMs = 5_000, maxConnections = 10, applicationName = 'durable-gateway', ...unknown } = options
  const [surplus] = Object.keys(unknown)
  if (surplus !== undefined) throw invalid(surplus, 'no such option', Reflect.get(unknown, surplus))
  if (!Number.isFinite(deadlineMs) || deadlineMs <= 0)
    throw invalid('deadlineMs', 'a finite number above 0', deadlineMs)
  if (!Number.isInteger(maxConnections) || maxConnections < 1)
    throw invalid('maxConnections', 'a whole number above 0', maxConnections)
  return postgres(url, {
    max: maxConnections,
    connect_timeout: deadlineMs / 1000,
    backoff: (attempt) => (0.5 + Math.random() / 2) * Math.min(3 ** attempt / 100, 1),
    onnotice: () => {},
    connection: { application_name: applicationName },
  })
}
