import { type Context, Hono, type MiddlewareHandler } from 'hono'
import { routePath } from 'hono/route'
import type { Gateway } from '../gateway.ts'
import type { GatewayEnv } from '../gateway-env.ts'
import { notFound } from '../not-found.ts'
import { type ProxyRouteOptions, proxyHandlers, Upstreams } from '../proxy/routes.ts'
import type { GatewayConfig } from './schema.ts'
import { given, upstreamOptionsOf } from './upstream-options.ts'

/**
 * The proxied routes of a configuration, behind those of the code, which can be replaced while requests are under way: those go on
 * with the table that they began with. A durable route that stays the same keeps its middleware, so that its runs find it.
 */
export class RouteTable {
  readonly #gateway: Gateway
  readonly #durable = new Map<string, readonly MiddlewareHandler[]>()
  readonly #outer = new WeakMap<Request, Context<GatewayEnv>>()
  #app = new Hono<GatewayEnv>()
  #upstreams: Upstreams | undefined

  constructor(gateway: Gateway) {
    this.#gateway = gateway
    gateway.all('*', (c) => {
      this.#outer.set(c.req.raw, c)
      return this.#app.fetch(c.req.raw, c.env)
    })
  }

  /** Puts a new table in place of the old one. Throws, and changes nothing, where the table cannot be. */
  replace({ upstreams = {}, routes = [], trustedProxies, viaName }: GatewayConfig): void {
    const gateway = this.#gateway
    const fresh = new Upstreams({
      ...(trustedProxies === undefined ? {} : { trustedProxies }),
      ...(viaName === undefined ? {} : { viaName }),
    })
    for (const [name, options] of Object.entries(upstreams)) fresh.add(name, upstreamOptionsOf(options))
    const app = new Hono<GatewayEnv>()
    app.onError(gateway.errorAnswer)
    app.use(async (c, next) => {
      const outer = this.#outer.get(c.req.raw)
      c.set('requestId', outer?.get('requestId') ?? '')
      await next()
      outer?.set('sentStatus', c.get('sentStatus') ?? c.res.status)
      outer?.set('matchedRoute', routePath(c, -1))
    })
    for (const { maxBody, ...route } of routes) {
      const options = given({ ...route, maxBodyBytes: maxBody }) as ProxyRouteOptions
      const { path } = route
      const id = JSON.stringify(options)
      for (const method of route.methods ?? ['ALL']) {
        const kept = route.durable === true ? this.#durable.get(`${method} ${id}`) : undefined
        const handlers = kept ?? proxyHandlers(gateway, fresh, method, path, options)
        if (route.durable === true) this.#durable.set(`${method} ${id}`, handlers)
        app.on(method, [path], ...handlers)
      }
    }
    app.notFound(notFound(app))
    gateway.checkpoints.serve(app)
    const old = this.#upstreams
    this.#app = app
    this.#upstreams = fresh
    // Requests under way keep their connections until they are done.
    void old?.close()
  }

  async close(): Promise<void> {
    await this.#upstreams?.destroy()
  }
}
