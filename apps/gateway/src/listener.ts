import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { GatewayError } from './errors.ts'

/** Where a listener is to be, and the option that moves it elsewhere. */
export interface ListenOptions {
  readonly host: string
  readonly port: number
  /** What to set for another port, for the error message. */
  readonly option: string
  /** Asked at every response: whether the connection is to be closed after it. */
  readonly closing: () => boolean
}

const maxUriBytes = 8_192

/** An HTTP server that is up. */
export interface Listener {
  readonly url: string
  readonly port: number
  /** Refuses new connections and closes idle ones; resolves when all are gone. */
  close(): Promise<void>
  /** Cuts what is still open. */
  abort(): void
}

/** Serves `fetch` over node:http, with bounds on the head, on slow clients and on connections. */
export async function listen(
  fetch: (request: Request, env: unknown) => Response | Promise<Response>,
  { host, port, option, closing }: ListenOptions,
): Promise<Listener> {
  const handle = getRequestListener(fetch, { hostname: host })
  const server = createServer(
    {
      maxHeaderSize: 16_384,
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      keepAliveTimeout: 5_000,
      connectionsCheckingInterval: 1_000,
    },
    (request, response) => {
      if (closing()) response.setHeader('connection', 'close')
      if ((request.url?.length ?? 0) > maxUriBytes) {
        response.writeHead(414, { 'content-type': 'application/problem+json', connection: 'close' })
        response.end(
          '{"type":"urn:gw:problem:uri_too_long","title":"The URI is longer than 8192 bytes","status":414,"code":"uri_too_long"}',
        )
        return
      }
      handle(request, response)
    },
  )
  server.maxHeadersCount = 100
  server.maxConnections = 10_000
  await bind(server, host, port, option)
  const address = server.address() as AddressInfo
  return {
    port: address.port,
    url: `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`,
    close: () =>
      new Promise((resolve) => {
        // A connection whose answer was on its way when the listener closed becomes idle later.
        const sweep = setInterval(() => server.closeIdleConnections(), 50)
        server.close(() => {
          clearInterval(sweep)
          resolve()
        })
        server.closeIdleConnections()
      }),
    abort: () => server.closeAllConnections(),
  }
}

function bind(server: Server, host: string, port: number, option: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      reject(
        cause.code === 'EADDRINUSE'
          ? new GatewayError(
              'port_in_use',
              `Port ${port} on ${host} is in use by another process; choose another with ${option}`,
              { cause },
            )
          : cause,
      )
    })
    server.listen(port, host, () => resolve())
  })
}
