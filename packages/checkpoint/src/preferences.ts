import type { Context } from 'hono'
import type { CheckpointManager } from './manager.ts'
import { responseOf } from './outcome.ts'
import { finished, precluded } from './run-record.ts'

/** What a client wants to wait (RFC 7240 §4.1, §4.3). */
export interface Preference {
  readonly respondAsync: boolean
  readonly waitMs: number | undefined
}

/** Reads the `Prefer` field; what it does not understand it ignores, as the RFC says. `wait` is at most ten minutes. */
export function preferenceOf(prefer: string | undefined): Preference {
  if (prefer === undefined) return { respondAsync: false, waitMs: undefined }
  const wait = /(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?/i.exec(prefer)
  return {
    respondAsync: /(?:^|[,;\s])respond-async(?:$|[,;\s])/i.test(prefer),
    waitMs: wait === null ? undefined : Math.min(Number(wait[1]), 600) * 1_000,
  }
}

/** 202 with the place where the answer will be. */
export function acceptedResponse(id: string, status: string, applied: string | undefined): Response {
  return new Response(JSON.stringify({ id, status, location: locationOf(id) }), {
    status: 202,
    headers: {
      'content-type': 'application/json',
      location: locationOf(id),
      'gw-run': id,
      'retry-after': '1',
      ...(applied === undefined ? {} : { 'preference-applied': applied }),
    },
  })
}

/** Where a run is watched. */
export function locationOf(id: string): string {
  return `/requests/${id}`
}

/** How the field says which preference was honoured. */
export function appliedText({ respondAsync, waitMs }: Preference): string | undefined {
  if (waitMs !== undefined) return `wait=${waitMs / 1_000}`
  return respondAsync ? 'respond-async' : undefined
}

/** The answer to a duplicate of a keyed durable request: the outcome if there is one, else as it prefers. */
export async function answerAttached(
  manager: CheckpointManager,
  c: Context,
  id: string,
): Promise<Response | undefined> {
  const run = await manager.get(id)
  if (run === undefined || run.method === precluded) return undefined
  const preference = preferenceOf(c.req.header('prefer'))
  const applied = appliedText(preference)
  const waitMs = finished.has(run.status) ? 0 : preference.waitMs
  const outcome = waitMs === undefined ? undefined : await manager.wait(id, { timeoutMs: waitMs })
  if (outcome !== undefined) {
    const response = responseOf(outcome, id)
    response.headers.set('idempotent-replayed', 'true')
    response.headers.set('idempotency-status', 'replayed')
    if (applied !== undefined) response.headers.set('preference-applied', applied)
    return response
  }
  if (applied !== undefined) return acceptedResponse(id, run.status, applied)
  return new Response(
    JSON.stringify({
      type: 'urn:gw:problem:idempotency_request_in_flight',
      title: 'A request with this key is under way',
      status: 409,
      code: 'idempotency_request_in_flight',
      retryable: true,
      safeToUseNewKey: false,
      instance: locationOf(id),
    }),
    {
      status: 409,
      headers: {
        'content-type': 'application/problem+json',
        'retry-after': '1',
        'gw-run': id,
        location: locationOf(id),
        'cache-control': 'no-store',
      },
    },
  )
}
