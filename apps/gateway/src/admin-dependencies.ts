import type { CircuitBreaker } from '@gw/breaker'
import { type Context, Hono } from 'hono'
import type { Gateway } from './gateway.ts'
import { problem } from './problem.ts'

const absent = (c: Context, kind: string) =>
  problem(c, 404, 'not_found', `${kind} '${c.req.param('name')}' not found`, {
    members: { error: `${kind} '${c.req.param('name')}' not found` },
  })

/** `/admin/circuit-breakers` and the actions on one breaker; each action is an audit event that is durable before the answer. */
export function breakerRoutes(gateway: Gateway, actorOf: (c: Context) => string): Hono {
  const app = new Hono()
  const actions: Readonly<Record<string, (breaker: CircuitBreaker, actor: string) => void>> = {
    reset: (breaker, actor) => breaker.reset({ actor }),
    open: (breaker, actor) => breaker.forceOpen({ actor }),
    close: (breaker, actor) => breaker.forceClose({ actor }),
  }
  app.get('/circuit-breakers', (c) => c.json(gateway.breakers))
  app.get('/circuit-breakers/:name', (c) => {
    const breaker = gateway.breakers.find(c.req.param('name'))
    if (breaker === undefined) return absent(c, 'Circuit breaker')
    return c.json({
      ...breaker.toJSON(),
      forced: breaker.forced ?? null,
      ready: breaker.ready,
      figures: breaker.figures,
    })
  })
  app.post('/circuit-breaker/:name/:action', async (c) => {
    const { name, action } = c.req.param()
    const act = Object.hasOwn(actions, action) ? actions[action] : undefined
    if (act === undefined) return problem(c, 404, 'not_found', 'There is nothing at this path')
    const breaker = gateway.breakers.find(name)
    if (breaker === undefined) return absent(c, 'Circuit breaker')
    act(breaker, actorOf(c))
    await gateway.audit.settled()
    const done = { reset: 'reset', open: 'opened', close: 'closed' }[action]
    return c.json({ message: `Circuit breaker '${name}' ${done} successfully`, state: breaker.state })
  })
  return app
}

/** `/admin/connection-pools` and the actions on one pool. */
export function poolRoutes(gateway: Gateway, actorOf: (c: Context) => string): Hono {
  const app = new Hono()
  app.get('/', (c) =>
    c.json({
      connection_pools: Object.fromEntries([...gateway.pools.all].map(([name, pool]) => [name, pool.metrics()])),
    }),
  )
  app.post('/:name/:action', async (c) => {
    const { name, action } = c.req.param()
    const pool = gateway.pools.all.get(name)
    if (pool === undefined) return absent(c, 'Connection pool')
    if (action === 'refresh') pool.refresh()
    else if (action === 'resize') {
      const bounds = (await c.req.json().catch(() => ({}))) as { readonly min?: number; readonly max?: number }
      pool.resize(bounds)
    } else return problem(c, 404, 'not_found', 'There is nothing at this path')
    const { minConnections, maxConnections } = pool.metrics()
    await gateway.events.append(
      `pool.${action}`,
      { pool: name, minConnections, maxConnections },
      { actor: actorOf(c), subject: name },
    )
    return c.json({
      message: `Connection pool '${name}' ${action === 'refresh' ? 'refreshed' : 'resized'} successfully`,
    })
  })
  return app
}
