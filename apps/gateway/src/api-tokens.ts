import type { Context, MiddlewareHandler } from 'hono'
import { bearerOf, sameToken } from './bearer.ts'
import { problem } from './problem.ts'

/** Bearer tokens by principal. */
export type ApiTokens = Readonly<Record<string, string>>

/** Who proves to be whom: with tokens, the principal of the bearer token; without, whoever `X-User-ID` says, for trying out only. */
export function principalOf(tokens: ApiTokens): (c: Context) => string | undefined {
  const known = Object.entries(tokens)
  if (known.length === 0) return (c) => c.req.header('x-user-id')
  return (c) => {
    const given = bearerOf(c.req.header('authorization'))
    if (given === undefined) return undefined
    let found: string | undefined
    // Every token is compared, so that the time it takes says nothing.
    for (const [principal, token] of known) if (sameToken(given, token)) found = principal
    return found
  }
}

/** Refuses whoever brings none of the tokens; lets everyone pass where there are none. */
export function apiTokens(tokens: ApiTokens): MiddlewareHandler {
  const principal = principalOf(tokens)
  const open = Object.keys(tokens).length === 0
  return async function apiTokens(c, next) {
    if (!open && principal(c) === undefined) {
      return problem(c, 401, 'unauthenticated', 'A bearer token is needed', {
        headers: { 'www-authenticate': 'Bearer realm="api"' },
      })
    }
    return next()
  }
}
