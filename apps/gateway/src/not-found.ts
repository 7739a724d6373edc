import type { Context, Hono } from 'hono'
import { problem } from './problem.ts'

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const

/** Answers 405 with `Allow` for a path that other methods have (RFC 9110 §15.5.6), else 404. */
export function notFound<Env extends object>(app: Hono<Env>): (c: Context) => Response {
  return function notFound(c) {
    const allowed = methods.filter((method) => {
      const [matched] = app.router.match(method === 'HEAD' ? 'GET' : method, c.req.path)
      return matched.some(([[, route]]) => route.method !== 'ALL')
    })
    if (allowed.length > 0) {
      return problem(c, 405, 'method_not_allowed', 'This path does not have this method', {
        headers: { allow: allowed.join(', ') },
      })
    }
    return problem(c, 404, 'not_found', 'There is nothing at this path')
  }
}
