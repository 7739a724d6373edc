import type { MiddlewareHandler } from 'hono'
import type { z } from 'zod'
import { problem } from '../problem.ts'

/**
 * Refuses a body that is not JSON (400 `invalid_json`) or not of this shape (400 `invalid_body`, with each path) before
 * anything is stored. The handler reads it again with `c.req.json()`, also when it is resumed without this check.
 */
export function checkedJson(schema: z.ZodType): MiddlewareHandler {
  return async function checkedJson(c, next) {
    let body: unknown
    try {
      body = JSON.parse(await c.req.text())
    } catch {
      return problem(c, 400, 'invalid_json', 'The body is not valid JSON')
    }
    const result = schema.safeParse(body)
    if (!result.success) {
      return problem(c, 400, 'invalid_body', 'The body does not have the expected form', {
        members: {
          errors: result.error.issues.map(({ path, message }) => ({ path: path.map(String).join('.'), message })),
        },
      })
    }
    return next()
  }
}
