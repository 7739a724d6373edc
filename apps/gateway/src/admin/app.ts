import { Hono } from 'hono'
import { dashboard } from '../dashboard/app.tsx'
import { assets } from '../dashboard/assets.ts'
import { logInRoutes } from '../dashboard/log-in-routes.tsx'
import type { Gateway } from '../gateway.ts'
import { notFound } from '../not-found.ts'
import { problem } from '../problem.ts'
import { requestIdOf } from '../request-id.ts'
import { auditTrailRoutes } from './audit-trail.ts'
import { type AdminAccess, Authentication, permission } from './authentication.ts'
import { breakerRoutes } from './breakers.ts'
import { bulkRoutes } from './bulk.ts'
import { eraseRoutes } from './erase.ts'
import { eventRoutes } from './event-routes.ts'
import { eventUpkeepRoutes } from './event-upkeep.ts'
import { keyRoutes } from './keys.ts'
import { openApiOf } from './openapi.ts'
import { poolRoutes } from './pools.ts'
import { adminError, adminRoutes } from './problems.ts'
import { requestActionRoutes } from './request-actions.ts'
import { requestRoutes } from './requests.ts'
import { storageRoutes } from './storage.ts'
import { systemRoutes } from './system.ts'
import { transferRoutes } from './transfer.ts'
import type { AdminEnv } from './visitor.ts'

/**
 * The admin API without its listener's authentication: whoever calls it in this process says who asks, by `visitor` in the bindings.
 * What comes from the listener has been through {@link Authentication}.
 */
export function adminApi(gateway: Gateway) {
  const api = adminRoutes()
    .route('/', bulkRoutes(gateway))
    .route('/', transferRoutes(gateway))
    .route('/', requestRoutes(gateway))
    .route('/', requestActionRoutes(gateway))
    .route('/', auditTrailRoutes(gateway))
    .route('/', eventRoutes(gateway))
    .route('/', eventUpkeepRoutes(gateway))
    .route('/', eraseRoutes(gateway))
    .route('/', keyRoutes(gateway))
    .route('/', breakerRoutes(gateway))
    .route('/', poolRoutes(gateway))
    .route('/', storageRoutes(gateway))
    .route('/', systemRoutes(gateway))
  return api
}

/** The routes of the admin API, for Hono's RPC client. */
export type AdminApi = ReturnType<typeof adminApi>

/** The app of the admin listener. */
export function adminApp(gateway: Gateway, access: AdminAccess): Hono<AdminEnv> {
  const authentication = new Authentication(access)
  const app = new Hono<AdminEnv>()
  app.use(async function requestId(c, next) {
    c.set('requestId', requestIdOf(c.req.header('x-request-id')))
    await next()
    c.res.headers.set('x-request-id', c.var.requestId)
  })
  app.onError((error, c) => adminError(error, c, (cause) => gateway.report(cause)))
  app.notFound(notFound(app))
  // What browsers keep for good says nothing about anybody, and comes before what nobody may keep.
  app.route('/', assets())
  app.use(authentication.origin())
  const { open, stranger } = logInRoutes(gateway, authentication)
  app.route('/', open)
  app.use(authentication.visitor({ stranger }))
  app.use(permission())
  const api = servedApi(gateway)
  app.route('/', api)
  app.route('/', dashboard(gateway, api))
  return app
}

/** The API as it is served: with its document, and with an answer for whoever is not known. */
export function servedApi(gateway: Gateway): Hono<AdminEnv> {
  const api = adminApi(gateway)
  let document: object | undefined
  const served = new Hono<AdminEnv>()
  served.use(async function visitor(c, next) {
    const visitor = c.env?.visitor
    if (visitor !== undefined) {
      c.set('role', visitor.role)
      c.set('actor', visitor.actor)
    }
    if (c.var.role === undefined) return problem(c, 401, 'unauthenticated', 'The admin API needs to know who asks')
    return next()
  })
  served.use(permission())
  served.onError((error, c) => adminError(error, c, (cause) => gateway.report(cause)))
  served.get('/openapi.json', (c) => {
    document ??= openApiOf(api)
    return c.json(document)
  })
  served.get('/metrics', async (c) =>
    gateway.metrics === undefined
      ? problem(c, 404, 'metrics_off', 'Metrics are switched off')
      : c.body(await gateway.metrics.registry.metrics(), 200, { 'content-type': gateway.metrics.registry.contentType }),
  )
  served.route('/', api)
  return served
}
