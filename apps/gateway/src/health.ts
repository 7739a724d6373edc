import { type Context, Hono } from 'hono'
import type { Gateway } from './gateway.ts'
import { problem } from './problem.ts'

const paths: ReadonlySet<string> = new Set([
  '/health',
  '/health/live',
  '/health/ready',
  '/health/circuit-breakers',
  '/health/connection-pool',
])

/** Whether a request asks for one of these routes, which are open to all, and never refused; others may begin like them. */
export function asksForHealth(c: Context): boolean {
  return (c.req.method === 'GET' || c.req.method === 'HEAD') && paths.has(c.req.path)
}

/** The health routes of the main listener: names and states only. */
export function healthRoutes(gateway: Gateway): Hono {
  const app = new Hono()
  app.use(async (c, next) => {
    await next()
    c.res.headers.set('cache-control', 'no-store')
  })
  app.get('/live', (c) => c.json({ status: 'live' }))
  app.get('/ready', (c) => {
    const { phase } = gateway.admission
    const storage = gateway.engine.health.state
    const ready = phase === 'ready' && storage === 'open'
    return c.json(
      {
        status: ready ? 'ready' : 'not_ready',
        phase,
        storage,
        ...(gateway.configRefusal === undefined ? {} : { configuration: gateway.configRefusal }),
      },
      ready ? 200 : 503,
    )
  })
  app.get('/circuit-breakers', (c) => c.json(gateway.breakers))
  app.get('/connection-pool', (c) => {
    const [first, ...others] = gateway.pools.all.values()
    const { name } = c.req.query()
    const pool = name === undefined ? first : gateway.pools.all.get(name)
    if (pool === undefined) return problem(c, 404, 'not_found', 'There is no such pool')
    const health = pool.health()
    if (name !== undefined || others.length === 0) return c.json(health)
    return c.json({
      ...health,
      pools: Object.fromEntries([...gateway.pools.all].map(([each, other]) => [each, other.health()])),
    })
  })
  return app
}

/** `GET /health`: each component by name and state. */
export function healthOf(gateway: Gateway) {
  const { state } = gateway.engine.health
  const { phase } = gateway.admission
  return {
    status: state === 'open' && (phase === 'ready' || phase === 'starting') ? 'ok' : 'unavailable',
    title: gateway.title,
    phase,
    components: { storage: state },
  }
}
