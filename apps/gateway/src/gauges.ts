import type { Gateway } from './gateway.ts'
import type { Metrics } from './metrics.ts'

const circuitStates = ['closed', 'open', 'half_open'] as const

/** Figures that are read from the gateway's parts at each scrape. Their labels are names that the configuration or the code gives. */
export function registerGauges(metrics: Metrics, gateway: Gateway): void {
  const { admission, engine, checkpoints, breakers, keeping } = gateway
  metrics.gauge('http_server_active_requests', 'Requests under way.', () => admission.inFlight)
  metrics.gauge('storage_up', 'Whether the storage takes writes: 1, or 0.', () =>
    engine.health.state === 'open' ? 1 : 0,
  )
  metrics.gauge('storage_pending_writes', 'Writes that wait for a commit.', () => engine.health.pendingWrites)
  metrics.counter('storage_commits_total', 'Commits since the start.', () => engine.health.commits)
  metrics.gauge(
    'runs',
    'Durable requests in the storage, of all nodes, by status.',
    async () => Object.entries(await checkpoints.counts()).map(([status, runs]) => [{ status }, runs] as const),
    ['status'],
  )
  metrics.gauge(
    'circuit_breaker_state',
    'Whether a circuit breaker is in that state: 1, or 0.',
    () =>
      [...breakers.all].flatMap(([name, breaker]) =>
        circuitStates.map((state) => [{ name, state }, breaker.state.toLowerCase() === state ? 1 : 0] as const),
      ),
    ['name', 'state'],
  )
  const ofPools = (read: (figures: ReturnType<typeof figuresOf>[number][1]) => number) => () =>
    figuresOf(gateway).map(([pool, figures]) => [{ pool_name: pool }, read(figures)] as const)
  metrics.gauge(
    'db_client_connections',
    'Connections of a pool, by state.',
    () =>
      figuresOf(gateway).flatMap(([pool, { activeConnections, idleConnections }]) => [
        [{ pool_name: pool, state: 'used' }, activeConnections] as const,
        [{ pool_name: pool, state: 'idle' }, idleConnections] as const,
      ]),
    ['pool_name', 'state'],
  )
  metrics.gauge(
    'db_client_connections_max',
    'Connections that a pool may open.',
    ofPools(({ maxConnections }) => maxConnections),
    ['pool_name'],
  )
  metrics.gauge(
    'db_client_connections_pending_requests',
    'Callers that wait for a connection of a pool.',
    ofPools(({ waitingRequests }) => waitingRequests),
    ['pool_name'],
  )
  metrics.counter(
    'db_client_connection_timeouts_total',
    'Callers that waited for a connection of a pool in vain.',
    ofPools(({ acquisitionTimeouts }) => acquisitionTimeouts),
    ['pool_name'],
  )
  metrics.gauge(
    'audit_verified',
    'Whether the audit trail was what was written when it was last verified: 1, or 0; absent before the first time.',
    () => (keeping.verified === undefined ? [] : [[{}, keeping.verified.ok ? 1 : 0] as const]),
  )
  metrics.gauge('audit_verified_timestamp_seconds', 'When the audit trail was last verified.', () =>
    keeping.verified === undefined ? [] : [[{}, keeping.verified.at / 1_000] as const],
  )
}

function figuresOf({ pools }: Gateway) {
  return [...pools.all].map(([name, pool]) => [name, pool.metrics()] as const)
}
