import { CircuitBreaker } from '@gw/breaker'
import { z } from 'zod'
import type { Gateway } from '../gateway.ts'
import { problem } from '../problem.ts'
import { type DemoUpstream, startDemoUpstream } from './demo-upstream.ts'
import { checkedJson } from './input.ts'
import type { ReferenceTables } from './tables.ts'

const userIdForm = /^[A-Za-z0-9._-]{1,100}$/
const maxCached = 1_000
const externalTimeoutMs = 1_000

/**
 * `GET /api/user-profile/:user_id`: the guide's two breakers, and the last good answer while one of them is open.
 * `POST /demo/upstream {"mode":"ok"|"fail"|"slow"}` breaks and mends the external service, which runs on loopback.
 */
export function userProfileRoutes(gateway: Gateway, tables: ReferenceTables): void {
  gateway.breakers
    .add(
      'database',
      new CircuitBreaker({
        name: 'database',
        failureThreshold: 5,
        openMs: 60_000,
        halfOpenMaxCalls: 3,
        rollingWindowMs: 300_000,
      }),
    )
    .add(
      'external_api',
      new CircuitBreaker({
        name: 'external_api',
        failureThreshold: 10,
        openMs: 30_000,
        halfOpenMaxCalls: 2,
        rollingWindowMs: 180_000,
      }),
    )
  let upstream: DemoUpstream | undefined
  gateway.onStartup(async () => {
    upstream = await startDemoUpstream()
  })
  gateway.onShutdown(() => upstream?.close())
  /** The last live profiles, least recently seen first. */
  const cache = new Map<string, object>()

  gateway.get('/api/user-profile/:user_id', async (c) => {
    const userId = c.req.param('user_id')
    if (!userIdForm.test(userId)) return problem(c, 400, 'invalid_user_id', 'A user id is letters, digits and . _ -')
    try {
      const user = await gateway.breakers.get('database').run(() => userOf(tables, userId))
      const enrichment = await gateway.breakers
        .get('external_api')
        .run(() => enrichmentOf(`${upstream!.url}/enrichment/${userId}`))
      cache.delete(userId)
      cache.set(userId, { ...user, enrichment })
      if (cache.size > maxCached) cache.delete(cache.keys().next().value!)
      return c.json({ user, enrichment, source: 'live_data' })
    } catch (error) {
      if (!isOpen(error)) {
        return problem(c, 502, 'upstream_failed', 'A service that this answer needs has failed', {
          members: { retryable: true },
        })
      }
      const service = { circuit_breaker_open: true, service: error.circuitBreakerName }
      const cached = cache.get(userId)
      if (cached !== undefined) return c.json({ user: cached, source: 'cached_data', ...service })
      return c.json({ error: 'Service temporarily unavailable', ...service }, 503, {
        'retry-after': String(Math.max(1, Math.ceil(error.retryAfterMs / 1_000))),
      })
    }
  })

  const mode = z.object({ mode: z.enum(['ok', 'fail', 'slow']) })
  gateway.post('/demo/upstream', checkedJson(mode), async (c) => {
    upstream!.mode = mode.parse(await c.req.json()).mode
    return c.json({ mode: upstream!.mode, calls: upstream!.calls })
  })
}

/** The row of a user; one who was never seen is entered as a guest. */
async function userOf(tables: ReferenceTables, userId: string) {
  const [known] = await tables.select('users', { user_id: userId })
  if (known !== undefined) return known
  const guest = { user_id: userId, name: userId, tier: 'guest' }
  await tables.insert('users', guest)
  return guest
}

async function enrichmentOf(url: string): Promise<unknown> {
  const response = await fetch(url, { signal: AbortSignal.timeout(externalTimeoutMs) })
  if (!response.ok) {
    await response.body?.cancel()
    throw new Error(`The external service answered ${response.status}`)
  }
  return response.json()
}

function isOpen(error: unknown): error is { readonly circuitBreakerName: string; readonly retryAfterMs: number } {
  return error instanceof Error && 'code' in error && error.code === 'breaker_open'
}
