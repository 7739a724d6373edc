import { performance } from 'node:perf_hooks'
import { masked } from '../config/mask.ts'
import type { Gateway } from '../gateway.ts'
import { versionOf } from '../version.ts'

/** A process on the storage, and what is left of its lease. */
export interface NodeLease {
  readonly owner: string
  readonly leaseRemainingMs: number
}

/** The processes that hold leases on runs, or lately did. */
export async function nodesOf({ checkpoints }: Gateway): Promise<readonly NodeLease[]> {
  return (await checkpoints.store.owners?.()) ?? []
}

const startedAt = Math.round(performance.timeOrigin)

/** What there is to say of this process and its like. */
export async function systemOf(gateway: Gateway) {
  const { admission, checkpoints, engine, events, idempotency, settings } = gateway
  const memory = process.memoryUsage()
  const nodes = await nodesOf(gateway)
  const running = await Promise.all(
    nodes.map(async ({ owner, leaseRemainingMs }) => ({
      owner,
      leaseRemainingMs,
      running: (await checkpoints.store.held(owner)).length,
    })),
  )
  return {
    version: versionOf(),
    runtime: runtime(),
    node: { id: settings.nodeId, owner: checkpoints.owner ?? null, pid: process.pid, startedAt },
    nodes: running,
    figures: {
      uptimeMs: Math.round(performance.now()),
      inFlight: admission.inFlight,
      maxConcurrentRequests: admission.maxConcurrentRequests,
      liveRuns: checkpoints.live,
      heldKeys: idempotency.held,
      rssBytes: memory.rss,
      heapUsedBytes: memory.heapUsed,
      eventLoopUtilization: performance.eventLoopUtilization?.().utilization ?? 0,
      pendingWrites: engine.health.pendingWrites,
      commits: engine.health.commits,
      bufferedEvents: events.buffered.events,
    },
    configuration: masked(gateway.configuration()) as Record<string, unknown>,
    configurationRefusal: gateway.configRefusal ?? null,
    configurationPending: [...gateway.configPending],
  }
}

function runtime(): { readonly name: string; readonly version: string; readonly platform: string } {
  const { bun, deno, node } = process.versions as Record<string, string | undefined>
  const [name, version] = bun !== undefined ? ['bun', bun] : deno !== undefined ? ['deno', deno] : ['node', node ?? '']
  return { name, version, platform: `${process.platform} ${process.arch}` }
}
