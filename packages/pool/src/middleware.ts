import type { Context, MiddlewareHandler } from 'hono'
import type { ConnectionPool } from './connection-pool.ts'
import type { Lease } from './lease.ts'
import { checkWait, expected } from './options.ts'

/** How requests get a connection. */
export interface PoolMiddlewareOptions {
  readonly pool: ConnectionPool
  /** The factory that it comes from. */
  readonly factory: string
  /** The variable it is found in. `lease` */
  readonly as?: string
  /** How long a request waits for it. The pool's `acquireTimeoutMs` */
  readonly timeoutMs?: number
  /** Which requests are served sooner; smaller is sooner. 0 */
  readonly priority?: (c: Context) => number
  /**
   * How long a request keeps it: `response` until the last byte of the body has been taken, which a body that is read
   * from the connection needs; `handler` until the handlers are done, which costs nothing. `response`
   */
  readonly hold?: 'response' | 'handler'
}

/** The variable that `pool()` sets, when it has its usual name. */
export interface PoolEnv<Connection extends object = object> {
  Variables: { lease: Lease<Connection> }
}

const known: ReadonlySet<string> = new Set(['pool', 'factory', 'as', 'timeoutMs', 'priority', 'hold'])

/** Lends each request a connection, and takes it back after the response, however that ends. Without one the answer is 503 with `Retry-After`. */
export function pool(options: PoolMiddlewareOptions): MiddlewareHandler {
  for (const name of Object.keys(options)) if (!known.has(name)) expected(name, 'an option of `pool()`', name)
  const { pool: connections, factory, as = 'lease', timeoutMs, priority, hold = 'response' } = options
  if (hold !== 'response' && hold !== 'handler') expected('hold', "'response' or 'handler'", hold)
  if (timeoutMs !== undefined) checkWait('timeoutMs', timeoutMs)
  if (priority !== undefined && typeof priority !== 'function') expected('priority', 'a function', priority)
  if (typeof connections?.acquire !== 'function') expected('pool', 'a `ConnectionPool`', connections)
  if (typeof factory !== 'string') expected('factory', 'the name of a factory', factory)
  return async function pool(c, next) {
    // The request's signal is made when it is first asked for: not for a request that need not wait.
    const lease =
      connections.tryAcquire(factory) ??
      (await connections.acquire(factory, { signal: c.req.raw.signal, timeoutMs, priority: priority?.(c) }))
    c.set(as, lease)
    let held = false
    try {
      await next()
      if (hold === 'response' && !lease.released && c.req.method !== 'HEAD' && c.res.body !== null) {
        const { signal } = c.req.raw
        // Nobody reads the body of a client that has left, and an abort that has been is not told again.
        if (!signal.aborted) {
          c.res = holding(c.res, lease, signal)
          held = true
        }
      }
    } finally {
      if (!held) lease.release()
    }
  }
}

/** The same response, whose body gives the lease back when it has ended, failed or been given up. */
function holding(response: Response, lease: Lease<object>, signal: AbortSignal): Response {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  const end = (): void => {
    signal.removeEventListener('abort', end)
    lease.release()
  }
  signal.addEventListener('abort', end)
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await reader.read()
        if (!done) return controller.enqueue(value)
        end()
        controller.close()
      } catch (error) {
        end()
        controller.error(error)
      }
    },
    async cancel(reason) {
      try {
        await reader.cancel(reason)
      } finally {
        end()
      }
    },
  })
  return new Response(body, response)
}
