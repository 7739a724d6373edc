import type { Context, MiddlewareHandler } from 'hono'
import type { CircuitBreaker } from './circuit-breaker.ts'
import { BreakerError, type CircuitBreakerOpenError } from './errors.ts'
import { callable, checkOptions, object, type Rule, rule } from './options.ts'
import type { CircuitBreakerRegistry } from './registry.ts'

/** Which breaker guards a route, and what its answers mean. */
export interface BreakerOptions {
  /** The breaker itself. Give this, or `registry` with `name` or `key`. */
  readonly breaker?: CircuitBreaker
  readonly registry?: CircuitBreakerRegistry
  /** A named breaker of `registry`. */
  readonly name?: string
  /** The key of a breaker of `registry`, e.g. the tenant. */
  readonly key?: (c: Context) => string
  /** The statuses that count as failures: by default 429 and all from 500. */
  readonly failureStatus?: (status: number) => boolean
  /** The answer in place of the 503 of an open breaker, e.g. a cached one. */
  readonly fallback?: (c: Context, error: CircuitBreakerOpenError) => Response | Promise<Response>
}

const rules: Readonly<Record<keyof BreakerOptions, Rule>> = {
  breaker: object,
  registry: object,
  name: rule('a string', (value) => typeof value === 'string'),
  key: callable,
  failureStatus: callable,
  fallback: callable,
}

/** Whether an answer speaks against whoever gave it: 429 and all from 500. */
export function failureByStatus(status: number): boolean {
  return status >= 500 || status === 429
}

/**
 * Guards what follows with a circuit breaker. Answers of 429 and from 500 on, and errors that become such answers, count
 * as failures; a client that went away says nothing. While open, the answer is a 503 with `Retry-After`.
 */
export function breaker(options: BreakerOptions): MiddlewareHandler {
  const choose = choice(options)
  const { failureStatus = failureByStatus, fallback } = options
  return async function breaker(c, next) {
    const circuit = choose(c)
    try {
      await circuit.run(next, {
        judge() {
          if (!failureStatus(c.res.status)) return 'ok'
          // Only now: reading the signal makes one, and a good answer needs none.
          if (c.req.raw.signal.aborted) return 'neutral'
          return c.error === undefined ? 'failure' : circuit.classify(c.error)
        },
      })
    } catch (error) {
      if ((error as { code?: unknown } | undefined)?.code !== 'breaker_open') throw error
      const refusal = error as CircuitBreakerOpenError
      return fallback === undefined ? refusal.getResponse() : fallback(c, refusal)
    }
    return undefined
  }
}

function choice(options: BreakerOptions): (c: Context) => CircuitBreaker {
  checkOptions(options, rules, [])
  const { breaker, registry, name, key } = options
  if (breaker !== undefined && registry === undefined && name === undefined && key === undefined) return () => breaker
  if (breaker === undefined && registry !== undefined) {
    if (name !== undefined && key === undefined) return () => registry.get(name)
    if (key !== undefined && name === undefined) return (c) => registry.for(key(c))
  }
  throw new BreakerError('invalid_option', 'Expected `breaker`, or `registry` with either `name` or `key`')
}
