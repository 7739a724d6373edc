import { createRoute, z } from '@hono/zod-openapi'
import type { Gateway } from '../gateway.ts'
import { healthOf } from '../health.ts'
import { audited } from './audited.ts'
import { systemOf } from './nodes.ts'
import { adminRoutes, answer, refusals } from './problems.ts'

const System = z
  .object({
    status: z.string(),
    title: z.string(),
    phase: z.string(),
    components: z.record(z.string(), z.string()),
    version: z.string(),
    runtime: z.object({ name: z.string(), version: z.string(), platform: z.string() }),
    node: z.object({ id: z.string(), owner: z.string().nullable(), pid: z.int(), startedAt: z.number() }),
    nodes: z
      .array(z.object({ owner: z.string(), leaseRemainingMs: z.number(), running: z.int().nullable() }))
      .openapi({ description: 'Every process on the storage that holds a lease, or lately did' }),
    figures: z.object({
      uptimeMs: z.number(),
      inFlight: z.int(),
      maxConcurrentRequests: z.int(),
      liveRuns: z.int(),
      heldKeys: z.int(),
      rssBytes: z.int(),
      heapUsedBytes: z.int(),
      eventLoopUtilization: z.number(),
      pendingWrites: z.int(),
      commits: z.int(),
      bufferedEvents: z.int(),
    }),
    configuration: z.looseObject({}).openapi({ description: 'As it is in force, secrets masked' }),
    configurationRefusal: z.string().nullable().openapi({ description: 'Why the newest file is not in force' }),
    configurationPending: z
      .array(z.string())
      .openapi({ description: 'The options that the newest file changes and that take effect with the next start' }),
  })
  .openapi('System')

const show = createRoute({
  method: 'get',
  path: '/admin/system',
  operationId: 'showSystem',
  summary: 'Shows the version, the nodes, the figures of this process and its configuration',
  tags: ['system'],
  responses: { 200: answer(System, 'The system'), ...refusals },
})

const drain = createRoute({
  method: 'post',
  path: '/admin/system/drain',
  operationId: 'drain',
  summary: 'Shuts this process down in order, as SIGTERM does',
  tags: ['system'],
  responses: { 202: answer(z.object({ phase: z.string() }), 'It drains'), ...refusals },
})

/** `/admin/system`. */
export function systemRoutes(gateway: Gateway) {
  return adminRoutes()
    .openapi(show, async (c) => {
      const { components, ...health } = healthOf(gateway)
      return c.json({ ...health, components: { ...components }, ...(await systemOf(gateway)) }, 200)
    })
    .openapi(drain, async (c) => {
      await audited(c, gateway, { type: 'admin.system.drain', data: { node: gateway.settings.nodeId } }, () =>
        gateway.drain(),
      )
      return c.json({ phase: gateway.admission.phase }, 202)
    })
}
