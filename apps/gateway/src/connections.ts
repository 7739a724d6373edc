import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { type Refusal, refusalBody, refusalOfParseError, refuse } from './edge-guard.ts'

/**
 * Which answers are still to come on each connection, so that a refusal takes its turn: behind the answers to the requests that came
 * before it, and in the place of the answer to the message that it refuses.
 */
export class Connections {
  /** The newest request of a connection. Answers leave in order, so when this one is out all are. */
  readonly #newest = new WeakMap<Socket, ServerResponse>()
  /** Connections of which no more is read. */
  readonly #ended = new WeakSet<Socket>()

  /** `false` where the request comes behind one that ended its connection: it is not looked at. */
  enter(request: IncomingMessage, response: ServerResponse): boolean {
    if (this.#ended.has(request.socket)) return false
    this.#newest.set(request.socket, response)
    return true
  }

  /** Whether a request of the connection is still to be answered. */
  isBusy(socket: Socket): boolean {
    return this.#newest.get(socket)?.writableFinished === false
  }

  /** Answers a request with a refusal in its turn. */
  refuse(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
    if (refusal.close) this.#ended.add(request.socket)
    if (response.headersSent) request.socket.destroy()
    else refuse(request, response, refusal)
  }

  /** Answers what the parser could not read, which is the body of the newest request or a message of its own. */
  refuseUnparsed(error: NodeJS.ErrnoException, socket: Socket): void {
    // Behind a request that said `Connection: close`; the connection ends with its answer.
    if (error.code === 'HPE_CLOSED_CONNECTION' || this.#ended.has(socket)) return
    const refusal = refusalOfParseError(error)
    if (refusal === undefined) {
      socket.destroy()
      return
    }
    const newest = this.#newest.get(socket)
    if (newest === undefined || newest.req.complete) {
      this.refuseNext(socket, refusal)
      return
    }
    this.refuse(newest.req, newest, refusal)
  }

  /** Answers what follows the newest request, once that has its answer. */
  refuseNext(socket: Socket, refusal: Refusal): void {
    this.#ended.add(socket)
    const newest = this.#newest.get(socket)
    if (newest === undefined || newest.writableFinished) refuseSocket(socket, refusal)
    else newest.once('close', () => refuseSocket(socket, refusal))
  }
}

function refuseSocket(socket: Socket, refusal: Refusal): void {
  if (!socket.writable) {
    socket.destroy()
    return
  }
  const body = refusalBody(refusal)
  socket.end(
    `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}\r\nContent-Type: application/problem+json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    () => socket.destroy(),
  )
}
