/** @jsxImportSource hono/jsx */
import { Hono } from 'hono'
import type { AdminEnv } from '../admin/visitor.ts'
import type { Gateway } from '../gateway.ts'
import { failed, lost, wantsPage } from './failure.tsx'
import { FiguresFeed } from './figures-feed.ts'
import { pageHeaders } from './headers.ts'
import type { PageServices } from './page-context.ts'
import { auditRoutes } from './pages/audit.tsx'
import { breakerRoutes } from './pages/breakers.tsx'
import { bulkRoutes } from './pages/bulk.tsx'
import { eventRoutes } from './pages/event.tsx'
import { keyRoutes } from './pages/keys.tsx'
import { overviewRoutes } from './pages/overview.tsx'
import { poolRoutes } from './pages/pools.tsx'
import { requestPageRoutes } from './pages/request.tsx'
import { requestActionRoutes } from './pages/request-actions.tsx'
import { requestListRoutes } from './pages/requests.tsx'
import { storageRoutes } from './pages/storage.tsx'
import { systemRoutes } from './pages/system.tsx'
import { liveStream } from './stream.ts'

/** The bulk page's address has the form of a request's: it comes first. */
const pages: readonly ((services: PageServices) => Hono<AdminEnv>)[] = [
  overviewRoutes,
  bulkRoutes,
  requestListRoutes,
  requestActionRoutes,
  requestPageRoutes,
  auditRoutes,
  eventRoutes,
  keyRoutes,
  breakerRoutes,
  poolRoutes,
  storageRoutes,
  systemRoutes,
]

/**
 * The dashboard: pages rendered here, with forms for every action, and a stream for what moves. It asks the admin API for what it
 * shows and for what it does, in the name of whoever looks.
 */
export function dashboard(gateway: Gateway, api: Hono<AdminEnv>): Hono<AdminEnv> {
  const feed = new FiguresFeed(gateway)
  gateway.onStartup(() => feed.start())
  gateway.onShutdown(() => feed.stop())
  const services: PageServices = { gateway, feed, api }
  const app = new Hono<AdminEnv>()
  app.get('/live', liveStream(feed))
  app.get('/live/history', (c) => c.json(gateway.figures.history()))
  app.use(pageHeaders())
  app.onError((error, c) => failed(services, c, error))
  for (const routes of pages) app.route('/', routes(services))
  app.all('*', (c, next) => (wantsPage(c) ? lost(services, c) : next()))
  return app
}
