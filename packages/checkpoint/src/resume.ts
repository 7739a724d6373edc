import { type Context, type Handler, Hono } from 'hono'
import { decode } from './codec.ts'
import { CheckpointError } from './errors.ts'
import type { Answer, Resumer } from './operation.ts'
import type { Run } from './run.ts'

/** The middlewares that `durable()` made, and the operation of each. */
export const durableRoutes: WeakMap<object, string> = new WeakMap()

/** What a resumed request brings to its handler. */
interface Resumed {
  readonly run: Run
  readonly variables: Readonly<Record<string, unknown>>
  thrown?: unknown
}

interface Route {
  readonly path: string
  readonly method: string
  readonly handler: unknown
}

/**
 * For each durable route of the app, a way into what follows it on the same method and path, with the same pattern and the app's
 * error handler. The middleware in front of it stays out: what it checked (a token, say) may have expired.
 */
export function resumersOf(app: { readonly routes: readonly Route[] }): Map<string, Resumer> {
  const resumers = new Map<string, Resumer>()
  const onError: unknown = Reflect.get(app, 'errorHandler')
  for (const [index, route] of app.routes.entries()) {
    const operation = durableRoutes.get(unwrapped(route.handler))
    if (operation === undefined) continue
    const handlers = app.routes
      .slice(index + 1)
      .filter(({ path, method }) => path === route.path && method === route.method)
      .map(({ handler }) => handler as Handler)
    if (handlers.length === 0)
      throw new CheckpointError(
        'invalid_option',
        `Expected a handler after \`durable\` on ${route.method} ${route.path}, got none that a run of \`${operation}\` could be resumed with`,
      )
    resumers.set(operation, resumerOf(route, handlers, onError))
  }
  return resumers
}

function resumerOf({ method, path }: Route, handlers: readonly Handler[], onError: unknown): Resumer {
  const app = new Hono<{ Bindings: { resumed: Resumed } }>()
  if (typeof onError === 'function') app.onError(onError as Parameters<typeof app.onError>[0])
  app.use(async function resume(c, next) {
    const { resumed } = c.env
    for (const [name, value] of Object.entries(resumed.variables)) (c as Context).set(name, value)
    ;(c as Context).set('run', resumed.run)
    ;(c as Context).set('requestId', resumed.run.requestId)
    await next()
    resumed.thrown = c.error
  })
  for (const handler of handlers) app.on([method], [path], handler)
  return async (run, record, input): Promise<Answer> => {
    const bare = record.method === 'GET' || record.method === 'HEAD' || input.body.length === 0
    const request = new Request(input.url, {
      method: record.method,
      headers: input.headers as [string, string][],
      ...(bare ? {} : { body: input.body as Uint8Array<ArrayBuffer> }),
    })
    const resumed: Resumed = { run, variables: decode(input.variables) as Record<string, unknown> }
    const response = await app.fetch(request, { resumed })
    return resumed.thrown === undefined ? { response } : { response, error: resumed.thrown }
  }
}

/** Hono wraps the handlers of a mounted sub-app that has its own error handler, and leaves the original on the wrapper. */
function unwrapped(handler: unknown): object {
  const inner: unknown = typeof handler === 'function' ? Reflect.get(handler, '__COMPOSED_HANDLER') : undefined
  return (inner ?? handler) as object
}
