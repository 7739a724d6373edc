import { ParkError } from '@gw/checkpoint'

/** An open breaker, an exhausted pool, and a database of ours that is away or full: none of them says anything about the request. */
const away: ReadonlySet<unknown> = new Set([
  'breaker_open',
  'pool_exhausted',
  'pool_factory_failed',
  'unavailable',
  'unknown',
  'write_queue_full',
])
const defaultRetryMs = 1_000

/**
 * What a durable run does about a dependency that is away: it waits until another try has a
 * chance, and burns no attempt. Any other error stays what it is.
 */
export function parkWhenAway(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error) || !away.has(error.code)) return error
  const retryAfterMs = 'retryAfterMs' in error ? Number(error.retryAfterMs) : defaultRetryMs
  const waitMs = Number.isFinite(retryAfterMs) ? Math.max(0, retryAfterMs) : defaultRetryMs
  return new ParkError(`${String(error.code)}: ${error.message}`, Date.now() + waitMs, { cause: error })
}
