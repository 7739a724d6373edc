import { join } from 'node:path'
import { type ApiTokens, apiTokens, principalOf } from '../api-tokens.ts'
import { createGateway, type Gateway } from '../gateway.ts'
import type { GatewayOptions } from '../options.ts'
import { analyticsRoutes } from './analytics.ts'
import { fileEffectLog } from './effect-log.ts'
import { jobRoutes } from './jobs.ts'
import { orderRoutes } from './orders.ts'
import { paymentRoutes } from './payments.ts'
import { sensitiveRoutes } from './sensitive.ts'
import { referenceTables } from './tables.ts'
import { userProfileRoutes } from './user-profiles.ts'

/** The server that `gw start` runs where there is no configuration file: the guide's own routes. */
export async function createReferenceServer(options: GatewayOptions, tokens: ApiTokens): Promise<Gateway> {
  const gateway = await createGateway({ title: 'Reference gateway', ...options, principal: principalOf(tokens) })
  const tables = referenceTables(gateway.engine)
  try {
    await tables.migrate()
  } catch (error) {
    await gateway.close()
    throw error
  }
  for (const path of ['/api/*', '/requests/*']) gateway.use(path, apiTokens(tokens))
  paymentRoutes(gateway, tables)
  orderRoutes(gateway, tables)
  jobRoutes(gateway, tables, fileEffectLog(join(gateway.engine.directory, 'effects.log')))
  sensitiveRoutes(gateway, tables)
  userProfileRoutes(gateway, tables)
  analyticsRoutes(gateway)
  return gateway
}
