import type { CircuitBreakerOptions } from '@gw/breaker'
import type { UpstreamOptions } from '../proxy/upstream.ts'
import type { GatewayConfig } from './schema.ts'

type Configured<Name extends 'upstreams' | 'breakers'> = NonNullable<GatewayConfig[Name]>[string]

/** Drops what is undefined, so that a default can stand. */
export function given<Options extends object>(
  options: Options,
): { [Name in keyof Options]: NonNullable<Options[Name]> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never
}

/** The options of an upstream, its breaker apart. */
export function upstreamOptionsOf({
  breaker: _,
  timeout,
  connectTimeout,
  ...rest
}: Configured<'upstreams'>): UpstreamOptions {
  return given({ ...rest, timeoutMs: timeout, connectTimeoutMs: connectTimeout })
}

/** The options of a circuit breaker, its name apart. */
export function breakerOptionsOf({
  open,
  rollingWindow,
  callTimeout,
  ...rest
}: Configured<'breakers'>): Omit<CircuitBreakerOptions, 'name'> {
  return given({ ...rest, openMs: open, rollingWindowMs: rollingWindow, callTimeoutMs: callTimeout })
}
