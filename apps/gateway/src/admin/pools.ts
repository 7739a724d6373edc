import type { ConnectionPool } from '@gw/pool'
import { createRoute, z } from '@hono/zod-openapi'
import type { Gateway } from '../gateway.ts'
import { audited } from './audited.ts'
import { EventShape } from './event-shapes.ts'
import { historyOf } from './history.ts'
import { Name } from './parameters.ts'
import { AdminProblem, adminRoutes, answer, refusals } from './problems.ts'

const figures = {
  activeConnections: z.int(),
  idleConnections: z.int(),
  pendingConnections: z.int(),
  totalConnections: z.int(),
  maxConnections: z.int(),
  minConnections: z.int(),
  keptConnections: z.int(),
  closingConnections: z.int(),
  waitingRequests: z.int(),
  successfulAcquisitions: z.int(),
  failedAcquisitions: z.int(),
  acquisitionTimeouts: z.int(),
  connectionErrors: z.int(),
  validationFailures: z.int(),
  avgAcquisitionTimeMs: z.number(),
  avgConnectionLifetimeSeconds: z.number(),
  connectionsCreatedTotal: z.int(),
  connectionsClosedTotal: z.int(),
  leaksTotal: z.int(),
  reclaimedTotal: z.int(),
}

const Factory = z.object({
  ...figures,
  failing: z.boolean(),
  waitTime: z.looseObject({}),
  useTime: z.looseObject({}),
  createTime: z.looseObject({}),
})

const Pool = z.object({ ...figures, factories: z.record(z.string(), Factory) }).openapi('ConnectionPool')

const Detail = z
  .object({
    name: z.string(),
    metrics: Pool,
    history: z.array(EventShape).openapi({ description: 'Its newest 100 transitions, oldest first' }),
  })
  .openapi('ConnectionPoolDetail')

const list = createRoute({
  method: 'get',
  path: '/admin/connection-pools',
  operationId: 'listConnectionPools',
  summary: 'Lists the connection pools and their figures',
  tags: ['connection pools'],
  responses: { 200: answer(z.object({ connection_pools: z.record(z.string(), Pool) }), 'By name'), ...refusals },
})

const show = createRoute({
  method: 'get',
  path: '/admin/connection-pools/{name}',
  operationId: 'showConnectionPool',
  summary: 'Shows one connection pool and its history',
  tags: ['connection pools'],
  request: { params: z.object({ name: Name }) },
  responses: { 200: answer(Detail, 'The pool'), ...refusals },
})

const Done = z.object({ message: z.string() })

const refresh = createRoute({
  method: 'post',
  path: '/admin/connection-pools/{name}/refresh',
  operationId: 'refreshConnectionPool',
  summary: 'Replaces every connection: idle ones now, those on loan when they come back',
  tags: ['connection pools'],
  request: { params: z.object({ name: Name }) },
  responses: { 200: answer(Done, 'It is done'), ...refusals },
})

const resize = createRoute({
  method: 'post',
  path: '/admin/connection-pools/{name}/resize',
  operationId: 'resizeConnectionPool',
  summary: 'Sets new bounds, until the process ends',
  tags: ['connection pools'],
  request: {
    params: z.object({ name: Name }),
    body: {
      required: true,
      content: {
        'application/json': {
          schema: z
            .strictObject({ min: z.int().min(0).optional(), max: z.int().min(1).optional(), factory: Name.optional() })
            .refine(({ min, max }) => min !== undefined || max !== undefined, 'expected `min` or `max`'),
        },
      },
    },
  },
  responses: { 200: answer(Done, 'It is done'), ...refusals },
})

/** `/admin/connection-pools`, and the actions on one pool. */
export function poolRoutes(gateway: Gateway) {
  const found = (name: string) => {
    const pool = gateway.pools.all.get(name)
    if (pool !== undefined) return pool
    const error = `Connection pool '${name}' not found`
    throw new AdminProblem(404, 'not_found', error, { members: { error } })
  }
  return adminRoutes()
    .openapi(list, (c) =>
      c.json(
        { connection_pools: Object.fromEntries([...gateway.pools.all].map(([name, pool]) => [name, metricsOf(pool)])) },
        200,
      ),
    )
    .openapi(show, async (c) => {
      const { name } = c.req.valid('param')
      const history = await historyOf(gateway.events, name, 'pool.')
      return c.json({ name, metrics: metricsOf(found(name)), history }, 200)
    })
    .openapi(refresh, async (c) => {
      const { name } = c.req.valid('param')
      const pool = found(name)
      await audited(c, gateway, { type: 'pool.refresh', subject: name, data: { pool: name } }, () => pool.refresh())
      return c.json({ message: `Connection pool '${name}' refreshed successfully` }, 200)
    })
    .openapi(resize, async (c) => {
      const { name } = c.req.valid('param')
      const { min, max, factory } = c.req.valid('json')
      const pool = found(name)
      const bounds = {
        ...(min === undefined ? {} : { min }),
        ...(max === undefined ? {} : { max }),
        ...(factory === undefined ? {} : { factory }),
      }
      const { minConnections, maxConnections } = pool.metrics()
      const intent = {
        type: 'pool.resize',
        subject: name,
        data: { pool: name, ...bounds, minConnections, maxConnections },
      }
      await audited(c, gateway, intent, () => pool.resize(bounds))
      return c.json({ message: `Connection pool '${name}' resized successfully` }, 200)
    })
}

function metricsOf(pool: ConnectionPool): z.infer<typeof Pool> {
  const { factories, ...sum } = pool.metrics()
  return {
    ...sum,
    factories: Object.fromEntries(
      Object.entries(factories).map(([name, { waitTime, useTime, createTime, ...each }]) => [
        name,
        { ...each, waitTime: { ...waitTime }, useTime: { ...useTime }, createTime: { ...createTime } },
      ]),
    ),
  }
}
