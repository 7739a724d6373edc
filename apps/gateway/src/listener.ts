import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { getRequestListener } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { bodyTooLarge, type Refusal, refusalBody, refusalOf, refusalOfParseError, refuse } from './edge-guard.ts'
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

/** Serves `fetch` over node:http, behind the edge guard, with bounds on the head, on slow clients and on connections. */
export async function listen(
  fetch: (request: Request, env: unknown) => Response | Promise<Response>,
  { host, port, option, maxBodyBytes, closing }: ListenOptions,
): Promise<Listener> {
  /** Connections on which nothing is believed any more, however much of it has been read. */
  const refused = new WeakSet<Socket>()
  const handle = getRequestListener(
    async (request, env) => {
      const response = await fetch(request, env)
      return refused.has((env as { readonly incoming: IncomingMessage }).incoming.socket)
        ? RESPONSE_ALREADY_SENT
        : response
    },
    { hostname: host },
  )
  const end = (request: IncomingMessage, response: ServerResponse, refusal: Refusal): void => {
    if (refusal.close) refused.add(request.socket)
    refuse(request, response, refusal)
  }
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    if (refused.has(request.socket)) return
    const limit = maxBodyBytes()
    const refusal = refusalOf(request, { maxUriBytes, maxFields, maxBodyBytes: limit })
    if (refusal !== undefined) {
      end(request, response, refusal)
      return
    }
    if (closing()) response.setHeader('connection', 'close')
    if (request.headers['transfer-encoding'] !== undefined)
      boundBody(request, limit, () => end(request, response, bodyTooLarge(limit)))
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
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    continueWhenRead(request, response)
    answer(request, response)
  })
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) =>
    end(request, response, {
      status: 417,
      code: 'expectation_failed',
      title: 'The only expectation known here is 100-continue',
      close: true,
    }),
  )
  server.on('clientError', refuseUnparsed)
  server.on('connect', (_request: IncomingMessage, socket: Duplex) =>
    refuseSocket(socket, {
      status: 501,
      code: 'method_not_implemented',
      title: 'CONNECT is not implemented',
      close: true,
    }),
  )
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

function refuseUnparsed(error: NodeJS.ErrnoException, socket: Duplex): void {
  const refusal = refusalOfParseError(error)
  // Behind an answer that has begun, another one would be taken for its body.
  const begun = (socket as Socket & { _httpMessage?: ServerResponse })._httpMessage?.headersSent === true
  if (refusal === undefined || begun || !socket.writable) socket.destroy()
  else refuseSocket(socket, refusal)
}

function refuseSocket(socket: Duplex, refusal: Refusal): void {
  const body = refusalBody(refusal)
  socket.end(
    `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}\r\nContent-Type: application/problem+json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    () => socket.destroy(),
  )
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
