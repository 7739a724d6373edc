import type { Operation } from '@gw/checkpoint'
import { type Context, Hono, type MiddlewareHandler } from 'hono'
import { routePath } from 'hono/route'
import { GatewayError } from '../errors.ts'
import type { Gateway } from '../gateway.ts'
import type { GatewayEnv } from '../gateway-env.ts'
import { notFound } from '../not-found.ts'
import { operationOf, type ProxyRouteOptions, proxyHandlers, Upstreams } from '../proxy/routes.ts'
import type { GatewayConfig } from './schema.ts'
import { given, upstreamOptionsOf } from './upstream-options.ts'

/**
 * The proxied routes of a configuration, behind those of the code, which can be replaced while requests are under way: those go on
 * with the table that they began with, on connections to the upstreams of the newest. A durable route that stays the same keeps its
 * middleware, so that its runs find it; one that has changed takes the operation over.
 */
export class RouteTable {
  readonly #gateway: Gateway
  /** The durable routes of the table in force. */
  #durable: ReadonlyMap<string, readonly MiddlewareHandler[]> = new Map()
  /** Every operation that a table has had: runs of one that is gone may still be under way. */
  readonly #operations = new Set<string>()
  readonly #outer = new WeakMap<Request, Context<GatewayEnv>>()
  #app = new Hono<GatewayEnv>()
  #upstreams = new Upstreams({})

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
    const durable = this.#register(app, routes, fresh)
    app.notFound(notFound(app))
    gateway.checkpoints.serve(app)
    const old = this.#upstreams
    this.#app = app
    this.#durable = durable
    this.#upstreams = fresh
    // Requests under way keep their connections until they are done.
    void old.close()
  }

  /** Adds the routes to an app; where one cannot be, all operations are declared as before. */
  #register(
    app: Hono<GatewayEnv>,
    routes: NonNullable<GatewayConfig['routes']>,
    upstreams: Upstreams,
  ): ReadonlyMap<string, readonly MiddlewareHandler[]> {
    const gateway = this.#gateway
    const { checkpoints } = gateway
    const durable = new Map<string, readonly MiddlewareHandler[]>()
    const operations = new Set<string>()
    const withdrawn: Operation[] = []
    const declared: string[] = []
    try {
      for (const { maxBody, ...route } of routes) {
        const options = given({ ...route, maxBodyBytes: maxBody }) as ProxyRouteOptions
        const { path } = route
        upstreams.get(route.upstream)
        for (const method of route.methods ?? ['ALL']) {
          const handlersOf = () => proxyHandlers(gateway, () => this.#upstreams, method, path, options)
          if (route.durable !== true) {
            app.on(method, [path], ...handlersOf())
            continue
          }
          const operation = operationOf(method, path, options)
          if (operations.has(operation))
            throw new GatewayError('invalid_option', `Expected \`operation\` to be unique, got \`${operation}\` twice`)
          operations.add(operation)
          const id = `${method} ${JSON.stringify(options)}`
          let handlers = this.#durable.get(id)
          if (handlers === undefined) {
            const before = this.#operations.has(operation) ? checkpoints.withdraw(operation) : undefined
            if (before !== undefined) withdrawn.push(before)
            handlers = handlersOf()
            declared.push(operation)
          }
          durable.set(id, handlers)
          app.on(method, [path], ...handlers)
        }
      }
    } catch (error) {
      for (const operation of declared) checkpoints.withdraw(operation)
      for (const operation of withdrawn) checkpoints.declare(operation)
      throw error
    }
    for (const operation of declared) this.#operations.add(operation)
    return durable
  }

  async close(): Promise<void> {
    await this.#upstreams.destroy()
  }
}
