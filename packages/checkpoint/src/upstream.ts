import { CheckpointError } from './errors.ts'
import type { StepContext } from './step.ts'

/** An upstream's answer as a step keeps it. */
export interface KeptResponse {
  readonly status: number
  readonly headers: [string, string][]
  readonly body: Uint8Array<ArrayBuffer>
}

const later: ReadonlySet<number> = new Set([429, 502, 503, 504])

/** Sends one request with the step's key, unless the caller gave one. */
export async function fetchOnce(url: string | URL, init: RequestInit, context: StepContext): Promise<KeptResponse> {
  const headers = new Headers(init.headers)
  if (!headers.has('idempotency-key')) headers.set('idempotency-key', context.idempotencyKey)
  const { signal } = context
  const response = await fetch(url, {
    ...init,
    headers,
    signal: init.signal == null ? signal : AbortSignal.any([signal, init.signal]),
  })
  if (later.has(response.status)) {
    await response.body?.cancel()
    const retryAfterMs = retryAfterOf(response.headers)
    throw Object.assign(new CheckpointError('upstream_unavailable', `The upstream answered ${response.status}`), {
      retryable: true,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    })
  }
  const kept = new Headers(response.headers)
  if (kept.has('content-encoding')) {
    // The bytes are kept as `fetch` has decoded them.
    kept.delete('content-encoding')
    kept.delete('content-length')
  }
  return {
    status: response.status,
    headers: [...kept],
    body: new Uint8Array(await response.arrayBuffer()),
  }
}

/** `Retry-After` in milliseconds from now (RFC 9110 §10.2.3), seconds or a date; at most a day. */
export function retryAfterOf(headers: Headers): number | undefined {
  const text = headers.get('retry-after')
  if (text === null) return undefined
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - Date.now()
  return Number.isFinite(ms) && ms >= 0 ? Math.min(ms, 86_400_000) : undefined
}
