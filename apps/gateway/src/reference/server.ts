import { join } from 'node:path'
import type { Context } from 'hono'
import { bearerOf, sameToken } from '../bearer.ts'
import { createGateway, type Gateway } from '../gateway.ts'
import type { GatewayOptions } from '../options.ts'
import { problem } from '../problem.ts'
import { analyticsRoutes } from './analytics.ts'
import { fileEffectLog } from './effect-log.ts'
import { jobRoutes } from './jobs.ts'
import { orderRoutes } from './orders.ts'
import { paymentRoutes } from './payments.ts'
import { sensitiveRoutes } from './sensitive.ts'
import { referenceTables } from './tables.ts'
import { userProfileRoutes } from './user-profiles.ts'

/** A principal and the token that proves it. */
export interface ApiToken {
  readonly principal: string
  readonly token: string
}

/** The server that `gw start` runs: the guide's own routes on the embedded database. */
export async function createReferenceServer(options: GatewayOptions, tokens: readonly ApiToken[]): Promise<Gateway> {
  const principalOf = (c: Context) =>
    tokens.length === 0 ? c.req.header('x-user-id') : principalByToken(tokens, bearerOf(c.req.header('authorization')))
  const gateway = await createGateway({ title: 'Reference gateway', ...options, principal: principalOf })
  const tables = referenceTables(gateway.engine)
  try {
    await tables.migrate()
  } catch (error) {
    await gateway.close()
    throw error
  }
  if (tokens.length > 0) {
    for (const path of ['/api/*', '/requests/*']) {
      gateway.use(path, async function authentication(c, next) {
        if (principalOf(c) === undefined) {
          return problem(c, 401, 'unauthenticated', 'A bearer token is needed', {
            headers: { 'www-authenticate': 'Bearer realm="api"' },
          })
        }
        return next()
      })
    }
  }
  paymentRoutes(gateway, tables)
  orderRoutes(gateway, tables)
  jobRoutes(gateway, tables, fileEffectLog(join(gateway.engine.directory, 'effects.log')))
  sensitiveRoutes(gateway, tables)
  userProfileRoutes(gateway, tables)
  analyticsRoutes(gateway)
  return gateway
}

/** Reads `alice:<token>,bob:<token>`. Throws for an entry without both parts. */
export function parseApiTokens(text: string | undefined): ApiToken[] {
  if (text === undefined || text.trim() === '') return []
  return text.split(',').map((entry) => {
    const [, principal, token] = /^\s*([A-Za-z0-9._@-]+):(\S+)\s*$/.exec(entry) ?? []
    if (principal === undefined || token === undefined) {
      throw new RangeError('Expected `GW_API_TOKENS` to be like alice:<token>,bob:<token>; one entry is not')
    }
    return { principal, token }
  })
}

function principalByToken(tokens: readonly ApiToken[], given: string | undefined): string | undefined {
  if (given === undefined) return undefined
  let found: string | undefined
  for (const { principal, token } of tokens) if (sameToken(given, token)) found = principal
  return found
}
