import { getConnInfo } from '@hono/node-server/conninfo'
import { type Context, Hono, type MiddlewareHandler } from 'hono'
import { breakerRoutes, poolRoutes } from './admin-dependencies.ts'
import { bearerOf, sameToken } from './bearer.ts'
import type { Gateway } from './gateway.ts'
import { healthOf } from './health.ts'
import { overviewPage } from './overview-page.tsx'
import { problem } from './problem.ts'

/** The app of the admin listener: everything needs the token, and every mutation is an audit event before its answer. */
export function adminApp(gateway: Gateway, token: string): Hono {
  const app = new Hono()
  app.use(adminAuthentication(token))
  app.onError((error, c) => {
    const code = 'code' in error ? String(error.code) : 'internal_error'
    const client = /^(invalid_|unknown_|bad_)/.test(code)
    return problem(c, client ? 400 : 500, code, client ? error.message : 'The request failed')
  })
  app.notFound((c) => problem(c, 404, 'not_found', 'There is nothing at this path'))

  app.get('/', async (c) => c.html(overviewPage(await overviewOf(gateway))))
  app.get('/metrics', async (c) =>
    gateway.metrics === undefined
      ? problem(c, 404, 'metrics_off', 'Metrics are switched off')
      : c.body(await gateway.metrics.registry.metrics(), 200, { 'content-type': gateway.metrics.registry.contentType }),
  )
  app.get('/admin/system', (c) => c.json(healthOf(gateway)))
  app.route('/admin/requests', requests(gateway))
  app.route('/admin/connection-pools', poolRoutes(gateway, actorOf))
  app.route('/admin', breakerRoutes(gateway, actorOf))
  app.get('/admin/audit-trail', (c) => auditTrail(gateway, c))
  app.post('/admin/events/verify', (c) => verify(gateway, c))
  app.get('/admin/events/verify', (c) => verify(gateway, c))
  return app
}

const failuresPerMinute = 10

function adminAuthentication(token: string): MiddlewareHandler {
  const failures = new Map<string, { count: number; since: number }>()
  return async function adminAuthentication(c, next) {
    const given = bearerOf(c.req.header('authorization'))
    const address = addressOf(c)
    const now = performance.now()
    const failed = failures.get(address)
    if (failed !== undefined && now - failed.since > 60_000) failures.delete(address)
    if (failed !== undefined && now - failed.since <= 60_000 && failed.count >= failuresPerMinute) {
      const retryAfter = Math.ceil((60_000 - (now - failed.since)) / 1_000)
      return problem(c, 429, 'too_many_failures', 'Too many failed log-ins from this address', {
        headers: { 'retry-after': String(retryAfter) },
      })
    }
    if (given === undefined || !sameToken(given, token)) {
      if (failures.size > 10_000) failures.clear()
      const entry = failures.get(address) ?? { count: 0, since: now }
      failures.set(address, { count: entry.count + 1, since: entry.since })
      return problem(c, 401, 'unauthenticated', 'The admin API needs its bearer token', {
        headers: { 'www-authenticate': 'Bearer realm="gateway admin"' },
      })
    }
    const origin = c.req.header('origin')
    if (c.req.method !== 'GET' && c.req.method !== 'HEAD' && origin !== undefined && !sameOrigin(origin, c.req.url)) {
      return problem(c, 403, 'cross_origin', 'Changes are accepted from the same origin only')
    }
    await next()
    c.res.headers.set('cache-control', 'no-store')
  }
}

function addressOf(c: Context): string {
  try {
    return getConnInfo(c).remote.address ?? 'unknown'
  } catch {
    return 'unknown'
  }
}

function sameOrigin(origin: string, url: string): boolean {
  return URL.canParse(origin) && new URL(origin).origin === new URL(url).origin
}

function requests(gateway: Gateway): Hono {
  const app = new Hono()
  app.get('/', async (c) => {
    const { status, operation, principal, request_id: requestId, stage, cursor, limit } = c.req.query()
    const page = await gateway.checkpoints.list({
      ...(status === undefined ? {} : { status: status as never }),
      ...(operation === undefined ? {} : { operation }),
      ...(principal === undefined ? {} : { principal }),
      ...(requestId === undefined ? {} : { requestId }),
      ...(stage === undefined ? {} : { stage }),
      ...(cursor === undefined ? {} : { cursor }),
      limit: boundedLimit(limit, 50),
    })
    return c.json({ requests: page.runs, cursor: page.cursor ?? null, counts: await gateway.checkpoints.counts() })
  })
  app.get('/:id', async (c) => {
    const run = await gateway.checkpoints.get(c.req.param('id'))
    if (run === undefined) return problem(c, 404, 'not_found', 'There is no such request')
    const outcome = await gateway.checkpoints.outcome(run.id)
    return c.json({
      request: run,
      steps: await gateway.checkpoints.steps(run.id),
      outcome: outcome === undefined ? null : { status: outcome.status, bytes: outcome.body.byteLength },
    })
  })
  for (const action of ['cancel', 'retry', 'resume'] as const) {
    app.post(`/:id/${action}`, async (c) => {
      const id = c.req.param('id')
      const actor = actorOf(c)
      const result = await gateway.checkpoints[action](id, { actor })
      await gateway.events.append(`checkpoint.${action}`, { run: id, result }, { actor, subject: id })
      return c.json({ request: id, result })
    })
  }
  return app
}

/** The guide's parameters and answer, with a cursor for what is beyond `limit`. */
async function auditTrail(gateway: Gateway, c: Context): Promise<Response> {
  const query = c.req.query()
  const { user_id, event_type, start_time, end_time, request_id, stream, subject, cursor } = query
  const page = await gateway.events.query({
    ...(user_id === undefined ? {} : { actor: user_id }),
    ...(event_type === undefined ? {} : { type: event_type }),
    ...(start_time === undefined ? {} : { from: timeOf('start_time', start_time) }),
    ...(end_time === undefined ? {} : { to: timeOf('end_time', end_time) }),
    ...(request_id === undefined ? {} : { requestId: request_id }),
    ...(stream === undefined ? {} : { stream }),
    ...(subject === undefined ? {} : { subject }),
    ...(cursor === undefined ? {} : { cursor }),
    limit: boundedLimit(query['limit'], 1_000),
  })
  return c.json({
    events: page.events,
    total_count: page.events.length,
    cursor: page.cursor ?? null,
    query_filters: {
      user_id: user_id ?? null,
      event_type: event_type ?? null,
      start_time: start_time ?? null,
      end_time: end_time ?? null,
    },
  })
}

async function verify(gateway: Gateway, c: Context): Promise<Response> {
  return c.json(await gateway.events.verify())
}

class BadParameterError extends Error {
  override readonly name = 'BadParameterError'
  readonly code = 'invalid_parameter'
}

function boundedLimit(text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback
  const limit = Number(text)
  if (!Number.isInteger(limit) || limit < 1 || limit > 1_000) {
    throw new BadParameterError(`Expected \`limit\` to be a whole number from 1 to 1000, got \`${text}\``)
  }
  return limit
}

/** Milliseconds since the epoch, from an ISO 8601 time or from seconds since the epoch as the guide's `time.time()`. */
function timeOf(name: string, text: string): number {
  const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1_000 : Date.parse(text)
  if (!Number.isFinite(ms)) {
    throw new BadParameterError(`Expected \`${name}\` to be an ISO 8601 time or seconds since 1970, got \`${text}\``)
  }
  return ms
}

function actorOf(c: Context): string {
  return `admin@${addressOf(c)}`
}

/** What the first page of the admin listener shows. */
export interface Overview {
  readonly title: string
  readonly health: ReturnType<typeof healthOf>
  readonly counts: Readonly<Record<string, number>>
  readonly recent: readonly {
    readonly id: string
    readonly operation: string
    readonly status: string
    readonly createdAt: number
  }[]
}

async function overviewOf(gateway: Gateway): Promise<Overview> {
  const { runs } = await gateway.checkpoints.list({ limit: 20 })
  return { title: gateway.title, health: healthOf(gateway), counts: await gateway.checkpoints.counts(), recent: runs }
}
