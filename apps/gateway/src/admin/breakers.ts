import type { CircuitBreaker, Operator } from '@gw/breaker'
import { createRoute, z } from '@hono/zod-openapi'
import type { Gateway } from '../gateway.ts'
import { audited } from './audited.ts'
import { EventShape } from './event-shapes.ts'
import { historyOf } from './history.ts'
import { Name } from './parameters.ts'
import { AdminProblem, adminRoutes, answer, refusals } from './problems.ts'

const State = z.enum(['CLOSED', 'OPEN', 'HALF_OPEN'])

const Breaker = z
  .object({
    state: State,
    failure_count: z.int(),
    failure_rate: z.number(),
    last_failure: z.string().nullable(),
    next_attempt: z.string().nullable(),
  })
  .openapi('CircuitBreaker')

const Cluster = z
  .object({
    state: z.enum(['idle', 'shared', 'local']).openapi({
      description: '`local`: the store cannot be asked, and each node decides alone',
    }),
    reason: z.string().nullable(),
    votes: z.array(z.string()).openapi({ description: 'The nodes that have found it failing and are not enough yet' }),
    calls: z.int().openapi({ description: 'Of all nodes, since it last closed' }),
    failures: z.int(),
  })
  .openapi('CircuitBreakerCluster')

const Detail = Breaker.extend({
  name: z.string(),
  forced: z.enum(['open', 'closed', 'disabled']).nullable().openapi({ description: 'What an operator has decided' }),
  ready: z.boolean(),
  terms: z.object({ openMs: z.number(), halfOpenMaxCalls: z.int(), rollingWindowMs: z.number() }),
  figures: z.record(z.string(), z.number()),
  cluster: Cluster.nullable().openapi({ description: 'What all nodes know of it; null where it is not shared' }),
  history: z.array(EventShape).openapi({ description: 'Its newest 100 transitions, oldest first' }),
}).openapi('CircuitBreakerDetail')

const list = createRoute({
  method: 'get',
  path: '/admin/circuit-breakers',
  operationId: 'listCircuitBreakers',
  summary: 'Lists the circuit breakers',
  tags: ['circuit breakers'],
  responses: { 200: answer(z.object({ circuit_breakers: z.record(z.string(), Breaker) }), 'By name'), ...refusals },
})

const show = createRoute({
  method: 'get',
  path: '/admin/circuit-breakers/{name}',
  operationId: 'showCircuitBreaker',
  summary: 'Shows one circuit breaker and its history',
  tags: ['circuit breakers'],
  request: { params: z.object({ name: Name }) },
  responses: { 200: answer(Detail, 'The breaker'), ...refusals },
})

const act = createRoute({
  method: 'post',
  path: '/admin/circuit-breaker/{name}/{action}',
  operationId: 'actOnCircuitBreaker',
  summary: 'Resets a circuit breaker, or forces it open or closed until it is reset',
  tags: ['circuit breakers'],
  request: { params: z.object({ name: Name, action: z.enum(['reset', 'open', 'close']) }) },
  responses: { 200: answer(z.object({ message: z.string(), state: State }), 'It is done'), ...refusals },
})

const actions: Readonly<Record<'reset' | 'open' | 'close', (breaker: CircuitBreaker, by: Operator) => void>> = {
  reset: (breaker, by) => breaker.reset(by),
  open: (breaker, by) => breaker.forceOpen(by),
  close: (breaker, by) => breaker.forceClose(by),
}
const done = { reset: 'reset', open: 'opened', close: 'closed' } as const

/** `/admin/circuit-breakers`, and the actions on one breaker. */
export function breakerRoutes(gateway: Gateway) {
  const found = (name: string) => {
    const breaker = gateway.breakers.find(name)
    if (breaker !== undefined) return breaker
    const error = `Circuit breaker '${name}' not found`
    throw new AdminProblem(404, 'not_found', error, { members: { error } })
  }
  return adminRoutes()
    .openapi(list, (c) => c.json(gateway.breakers.toJSON(), 200))
    .openapi(show, async (c) => {
      const { name } = c.req.valid('param')
      const breaker = found(name)
      return c.json(
        {
          ...breaker.toJSON(),
          name,
          forced: breaker.forced ?? null,
          ready: breaker.ready,
          terms: { ...breaker.terms },
          figures: { ...breaker.figures },
          cluster: clusterOf(gateway, name),
          history: await historyOf(gateway.events, name, 'breaker.'),
        },
        200,
      )
    })
    .openapi(act, async (c) => {
      const { name, action } = c.req.valid('param')
      const breaker = found(name)
      const intent = { type: `admin.circuit-breaker.${action}`, subject: name, data: { breaker: name } }
      await audited(c, gateway, intent, async () => {
        actions[action](breaker, { actor: c.var.actor })
        await gateway.audit.settled()
      })
      return c.json({ message: `Circuit breaker '${name}' ${done[action]} successfully`, state: breaker.state }, 200)
    })
}

/** How a breaker stands on all nodes together, where they share it. */
function clusterOf({ breakerSharing }: Gateway, name: string): z.infer<typeof Cluster> | null {
  if (breakerSharing === undefined) return null
  const { state, reason = null, breakers } = breakerSharing.health
  const known = breakers[name]
  if (known === undefined) return null
  return { state, reason, votes: [...known.votes], calls: known.calls, failures: known.failures }
}
