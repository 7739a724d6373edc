import { ParkError } from '@gw/checkpoint'

const busy: ReadonlySet<unknown> = new Set(['breaker_open', 'pool_exhausted'])
const defaultRetryMs = 1_000

/**
 * What a durable run does about a dependency that is away: an open breaker or an exhausted pool makes it wait until another try
 * has a chance, and burns no attempt. Any other error stays what it is.
 */
export function parkWhenAway(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error) || !busy.has(error.code)) return error
  const retryAfterMs = 'retryAfterMs' in error ? Number(error.retryAfterMs) : defaultRetryMs
  const waitMs = Number.isFinite(retryAfterMs) ? Math.max(0, retryAfterMs) : defaultRetryMs
  return new ParkError(`${String(error.code)}: ${error.message}`, Date.now() + waitMs, { cause: error })
}
