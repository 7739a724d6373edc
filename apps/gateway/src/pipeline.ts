/**
 * A request's way through the gateway, from the socket to the answer:
 *
 * 1. `listener.ts`: limits on the head, connections, the drain's `Connection: close`;
 * 2. {@link requestWay}: request id → admission (drain, overload) → figures and log line;
 * 3. your own authentication, registered with `gateway.use` as on any Hono app;
 * 4. {@link durableWay}, on routes that ask for it: idempotency key → **one commit** (key's claim + run + event) → handler with
 *    its steps, breakers and pools → **one commit** (outcome + event + key's answer) → response. The two commits are put
 *    together in `commit-hooks.ts`, which also serves runs that are resumed after a crash, where no middleware is around.
 */
import { durable, type Run } from '@gw/checkpoint'
import { dedup } from '@gw/dedup'
import type { Context, MiddlewareHandler } from 'hono'
import { routePath } from 'hono/route'
import type { Admission } from './admission.ts'
import type { RecentFigures } from './dashboard/recent-figures.ts'
import type { Gateway } from './gateway.ts'
import type { DurableRouteOptions, GatewayEnv } from './gateway-env.ts'
import { asksForHealth } from './health.ts'
import type { Metrics, RequestFigures } from './metrics.ts'
import type { OtlpExporter, Span } from './otlp.ts'
import { problem } from './problem.ts'
import { requestIdOf } from './request-id.ts'
import { traceOf } from './trace.ts'

/** What {@link requestWay} needs of its gateway. */
export interface RequestWayParts {
  readonly admission: Admission
  readonly metrics: Metrics | undefined
  readonly figures: RecentFigures
  readonly log: ((c: Context, durationMs: number) => void) | undefined
  readonly traces: OtlpExporter | undefined
}

/** What every request passes first. Health answers are never refused. */
export function requestWay({
  admission,
  metrics,
  figures,
  log,
  traces,
}: RequestWayParts): MiddlewareHandler<GatewayEnv> {
  return async function requestWay(c, next) {
    const began = performance.now()
    const requestId = requestIdOf(c.req.header('x-request-id'))
    c.set('requestId', requestId)
    c.set('inRequest', true)
    const counted = !asksForHealth(c)
    if (!counted || admission.enter()) {
      try {
        await next()
      } finally {
        if (counted) admission.leave()
      }
    } else {
      c.res = problem(c, 503, 'overloaded', 'The gateway has as many requests under way as it may', {
        headers: { 'retry-after': '1' },
        members: { retryable: true },
      })
    }
    c.res.headers.set('x-request-id', requestId)
    const durationMs = performance.now() - began
    const status = c.get('sentStatus') ?? c.res.status
    if (counted) figures.record(durationMs, status)
    const { method } = c.req
    const matched = c.get('matchedRoute') ?? routePath(c, -1)
    const route = matched === '/*' || matched === '*' ? 'unmatched' : matched
    metrics?.observe({ method, route, status, durationSeconds: durationMs / 1_000 })
    if (traces !== undefined && traceOf(c).sampled) traces.add(requestSpan(c, { method, route, status, durationMs }))
    log?.(c, durationMs)
  }
}

function requestSpan(
  c: Context,
  { method, route, status, durationMs }: Omit<RequestFigures, 'durationSeconds'> & { readonly durationMs: number },
): Span {
  const run = (c.get('run') as Run | undefined)?.id
  const endMs = Date.now()
  return {
    ...traceOf(c),
    name: `${method} ${route}`,
    kind: 'server',
    startMs: endMs - durationMs,
    endMs,
    failed: status >= 500,
    attributes: {
      'http.request.method': method,
      'http.route': route,
      'http.response.status_code': status,
      'gw.request.id': c.get('requestId') as string,
      ...(run === undefined ? {} : { 'gw.run.id': run }),
    },
  }
}

/** What a route passes that is registered with `gateway.durable(options)`. */
export function durableWay(gateway: Gateway, options: DurableRouteOptions): MiddlewareHandler {
  const { idempotency = gateway.settings.deduplicate ? 'optional' : 'off', idempotencyWindowMs, ...route } = options
  const keyed = idempotency !== 'off'
  const principal = (c: Context) => gateway.principalOf(c)
  return durable({
    ...route,
    checkpoints: gateway.checkpoints,
    principal,
    ...(keyed
      ? {
          around: dedup({
            deduplicator: gateway.idempotency,
            missing: idempotency,
            principal,
            join: gateway.settings.sharedCommit,
            runs: gateway.linkedRuns,
            ...(idempotencyWindowMs === undefined ? {} : { windowMs: idempotencyWindowMs }),
          }),
        }
      : {}),
  })
}
