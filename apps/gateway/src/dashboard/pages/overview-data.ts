import { nodesOf } from '../../admin/nodes.ts'
import { noticesOf } from '../notices.ts'
import type { PageServices } from '../page-context.ts'
import type { OverviewProps } from './overview.tsx'

const startedAt = Date.now() - performance.now()

/** Reads what the first page shows. */
export async function overviewOf({ gateway, feed }: PageServices): Promise<OverviewProps> {
  const [figures, nodes] = await Promise.all([feed.look(), nodesOf(gateway).catch(() => [])])
  return {
    phase: gateway.admission.phase,
    storage: gateway.engine.health.state,
    engine: gateway.engine.kind,
    startedAt,
    figures,
    history: gateway.figures.history(),
    counts: feed.counts,
    notices: noticesOf(gateway, feed.counts),
    breakers: [...gateway.breakers.all].map(([name, breaker]) => ({
      name,
      state: breaker.state,
      forced: breaker.forced ?? null,
      failureCount: breaker.failureCount,
      trace: feed.trace('breaker', name),
    })),
    pools: [...gateway.pools.all].map(([name, pool]) => {
      const metrics = pool.metrics()
      return {
        name,
        active: metrics.activeConnections,
        idle: metrics.idleConnections,
        max: metrics.maxConnections,
        waiting: metrics.waitingRequests,
        failing: Object.values(metrics.factories).some(({ failing }) => failing),
        trace: feed.trace('pool', name),
      }
    }),
    nodes: (nodes.length > 0 ? nodes : aloneOf(gateway)).map(({ owner, leaseRemainingMs }) => ({
      owner,
      here: owner === gateway.checkpoints.owner,
      leaseRemainingMs,
    })),
  }
}

/** The one process of a storage that takes no other and so keeps no leases. */
function aloneOf({ checkpoints }: PageServices['gateway']) {
  return checkpoints.owner === undefined ? [] : [{ owner: checkpoints.owner, leaseRemainingMs: undefined }]
}
