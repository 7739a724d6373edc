import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { getRequestListener } from '@hono/node-server'
import { Connections } from './connections.ts'
import { bodyTooLarge, refusalOf } from './edge-guard.ts'
import { GatewayError } from './errors.ts'

/** Where a listener is to be, and the option that moves it elsewhere. */
export interface ListenOptions {
  readonly host: string
  readonly port: number
  /** What to set for another port, for the error message. */
  readonly option: string
  /** Asked at every request: the longest body that any route takes. */
  readonly maxBodyBytes: () => number
  /** Asked at every response: whether the connection is to be closed after it. */
  readonly closing: () => boolean
}

/** An HTTP server that is up. */
export interface Listener {
  readonly url: string
  readonly port: number
  /** Refuses new connections and closes idle ones; resolves when all are gone. */
  close(): Promise<void>
  /** Cuts what is still open. */
  abort(): void
}

const maxHeadBytes = 16_384
const maxUriBytes = 8_192
const maxFields = 100
/** How long a client may leave its answer lying: so many such spans in a row. */
const stalledSpanMs = 7_500
const stalledSpans = 4

/** Serves `fetch` over node:http, behind the edge guard, with bounds on the head, on slow clients and on connections. */
export async function listen(
  fetch: (request: Request, env: unknown) => Response | Promise<Response>,
  { host, port, option, maxBodyBytes, closing }: ListenOptions,
): Promise<Listener> {
  const connections = new Connections()
  const handle = getRequestListener(fetch, { hostname: host })
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    if (!connections.enter(request, response)) return
    const limit = maxBodyBytes()
    const refusal = refusalOf(request, { maxUriBytes, maxFields, maxBodyBytes: limit })
    if (refusal !== undefined) {
      connections.refuse(request, response, refusal)
      return
    }
    if (closing()) response.setHeader('connection', 'close')
    if (request.headers['transfer-encoding'] !== undefined)
      boundBody(request, limit, () => connections.refuse(request, response, bodyTooLarge(limit)))
    void handle(request, response)
  }
  const server = createServer(
    {
      maxHeaderSize: maxHeadBytes,
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      keepAliveTimeout: 5_000,
      connectionsCheckingInterval: 1_000,
      requireHostHeader: false,
    },
    answer,
  )
  // The guard counts the fields itself: Node would drop those above its limit without a word.
  server.maxHeadersCount = 0
  server.maxConnections = 10_000
  server.setTimeout(stalledSpanMs, onSilence(connections))
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    continueWhenRead(request, response)
    answer(request, response)
  })
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    if (!connections.enter(request, response)) return
    connections.refuse(request, response, {
      status: 417,
      code: 'expectation_failed',
      title: 'The only expectation known here is 100-continue',
      close: true,
    })
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) =>
    connections.refuseUnparsed(error, socket as Socket),
  )
  server.on('connect', (_request: IncomingMessage, socket: Duplex) => {
    // Node has let go of the connection, and of what may go wrong on it.
    socket.on('error', () => socket.destroy())
    connections.refuseNext(socket as Socket, {
      status: 501,
      code: 'method_not_implemented',
      title: 'CONNECT is not implemented',
      close: true,
    })
  })
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

/**
 * Of the handler's time there is no limit here, only of the client's: who does not take its answer, or has no request, goes. Node tells of
 * a span in which nothing moved; one that comes later than the next can have had movement in between.
 */
function onSilence(connections: Connections): (socket: Socket) => void {
  const stalled = new WeakMap<Socket, { readonly spans: number; readonly at: number }>()
  return (socket) => {
    if (socket.writableLength === 0 && connections.isBusy(socket)) return
    const at = performance.now()
    const before = stalled.get(socket)
    const spans = before !== undefined && at - before.at < 2 * stalledSpanMs ? before.spans + 1 : 1
    if (spans >= stalledSpans) {
      socket.destroy()
      return
    }
    stalled.set(socket, { spans, at })
    socket.setTimeout(stalledSpanMs)
  }
}

/**
 * Says `100 Continue` when the body is first asked for, and not before: whoever is refused for what the head says alone has not
 * been told to send the body (RFC 9110 §10.1.1).
 */
function continueWhenRead(request: IncomingMessage, response: ServerResponse): void {
  const read = request._read
  request._read = (size) => {
    request._read = read
    if (!response.headersSent && response.writable) response.writeContinue()
    return read.call(request, size)
  }
}

/** Calls `onTooLong` once when a body without a declared length passes the bound, and takes no more of it. */
function boundBody(request: IncomingMessage, maxBytes: number, onTooLong: () => void): void {
  const push = request.push
  let bytes = 0
  request.push = (chunk: Buffer | null) => {
    bytes += chunk?.length ?? 0
    if (bytes <= maxBytes) return push.call(request, chunk)
    request.push = () => false
    onTooLong()
    return false
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
