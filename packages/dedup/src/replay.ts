import type { StoredResponse } from './store.ts'

/** Fields that belong to one exchange or one client, never to a stored answer (RFC 9110 §7.6.1 and the like). */
const never: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'set-cookie',
  'authorization',
  'www-authenticate',
  'content-length',
  'date',
  'server-timing',
  'x-request-id',
  'traceparent',
  'tracestate',
  'ratelimit',
  'ratelimit-policy',
  'idempotency-status',
  'idempotent-replayed',
  'gw-durability',
])

/** Whether a field may be stored with an answer. */
export function replayable(name: string): boolean {
  const lower = name.toLowerCase()
  return !never.has(lower) && !lower.startsWith('ratelimit-') && !lower.startsWith('x-ratelimit-')
}

const nullBody: ReadonlySet<number> = new Set([204, 205, 304])

/** The stored answer again, marked as such. */
export function replayResponse({ status, headers, body }: StoredResponse): Response {
  const replay = new Headers(headers as [string, string][])
  replay.set('idempotent-replayed', 'true')
  replay.set('idempotency-status', 'replayed')
  return new Response(nullBody.has(status) ? null : (body as Uint8Array<ArrayBuffer>), { status, headers: replay })
}
