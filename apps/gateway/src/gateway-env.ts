import type { DurableOptions, Run } from '@gw/checkpoint'
import type { TraceContext } from './trace.ts'

/** What handlers find in `c.var`. */
export interface GatewayEnv {
  Variables: {
    requestId: string
    principal?: string
    /** The status of an answer that a proxied route has written to the connection itself. */
    sentStatus?: number
    /** The pattern of the configured route that answered. */
    matchedRoute?: string
    /** Where the request is in its trace, once somebody has asked. */
    trace?: TraceContext
    /** What a handler threw that nobody expected. */
    failure?: Error
    /** Whether the request has a line of its own in the log. */
    inRequest?: boolean
  }
}

/** What a durable route's handlers find in `c.var`. */
export interface DurableEnv {
  Variables: GatewayEnv['Variables'] & { run: Run }
}

/** How one route is durable. */
export interface DurableRouteOptions extends Omit<DurableOptions, 'checkpoints' | 'principal' | 'around'> {
  /**
   * Whether the route takes an `Idempotency-Key`: `optional` (the default), `required` (400 without one), `fingerprint` (a
   * request without a key is known by its content for a short while; authenticated principals only), or `off`.
   */
  readonly idempotency?: 'optional' | 'required' | 'fingerprint' | 'off'
  readonly idempotencyWindowMs?: number
}
