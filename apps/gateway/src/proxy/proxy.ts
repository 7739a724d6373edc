import type { IncomingMessage, ServerResponse } from 'node:http'
import type { BlockList } from 'node:net'
import { isIP } from 'node:net'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context } from 'hono'
import { problem } from '../problem.ts'
import { type RawFields, requestFields } from './fields.ts'
import { collectingSink, outgoingSink, streamingSink } from './sinks.ts'
import { type AnswerSink, type Outgoing, type Sending, type Upstream, UpstreamError } from './upstream.ts'

/** A place that a call to the upstream takes in its circuit breaker. */
export interface UpstreamPermit {
  succeed(): Promise<void>
  fail(error?: unknown): Promise<void>
  release(): Promise<void>
}

/** What a proxied route needs beside the request. */
export interface ProxyParts {
  readonly upstream: Upstream
  readonly breaker: { permit(): Promise<UpstreamPermit> } | undefined
  readonly trustedProxies: BlockList
  readonly viaName: string
  readonly requestIdOf: (c: Context) => string
  /** The trace for the upstream; `undefined` leaves the client's as it is. */
  readonly traceparentOf: (c: Context) => string | undefined
  /** The answer is read by a middleware around, so that it may not go straight to the client's connection. */
  readonly captured: boolean
}

/** An upstream's whole answer, as a durable route keeps it. */
export interface KeptAnswer {
  readonly status: number
  readonly fields: readonly (readonly [name: string, value: string])[]
  readonly body: Uint8Array
}

/** An upstream's answer that is longer than what is kept: it goes on as it comes. */
export interface LongAnswer {
  readonly status: number
  readonly fields: readonly (readonly [name: string, value: string])[]
  readonly body: ReadableStream<Uint8Array>
}

const idempotent: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'])
const maxTries = 3

/** Passes one request on and its answer back, both as streams. */
export async function forward(c: Context, parts: ProxyParts): Promise<Response> {
  const node = nodeSide(c)
  const head = outgoingHead(c, parts, node)
  if (head instanceof Response) return head
  const body = hasBody(c, node) ? await bodyOf(c, parts, node) : null
  const safe = idempotent.has(head.method) || c.req.header('idempotency-key') !== undefined
  for (let tries = 1; ; tries++) {
    const permit = await parts.breaker?.permit()
    try {
      return await attempt(c, parts, { ...head, body }, node, permit)
    } catch (error) {
      if (!(error instanceof UpstreamError)) throw error
      const again =
        body === null && tries < maxTries && (safe || !error.sent) && retryable(error) && parts.upstream.takeRetry()
      if (!again) return upstreamProblem(c, error)
    }
  }
}

/** Makes one request with a body that is at hand, and keeps the answer whole where it is not too long. Throws {@link UpstreamError}. */
export async function forwardKept(
  c: Context,
  parts: ProxyParts,
  {
    body,
    idempotencyKey,
    signal,
    maxBytes,
  }: {
    readonly body: Uint8Array
    readonly idempotencyKey: string
    readonly signal: AbortSignal
    readonly maxBytes: number
  },
): Promise<KeptAnswer | LongAnswer | Response> {
  const head = outgoingHead(c, parts, nodeSide(c))
  if (head instanceof Response) return head
  const fields = head.fields.filter((_, i, all) => !/^content-length$/i.test(all[i - (i % 2)]!))
  if (c.req.header('idempotency-key') === undefined) fields.push('idempotency-key', idempotencyKey)
  const permit = await parts.breaker?.permit()
  let sending: Sending | undefined
  let tellLong: (answer: LongAnswer) => void = () => {}
  const long = new Promise<LongAnswer>((resolve) => {
    tellLong = resolve
  })
  const abort = () => sending?.abort()
  const resume = () => sending?.resume()
  const sink = collectingSink({ maxBytes, viaName: parts.viaName, resume, abort, onLong: (answer) => tellLong(answer) })
  sending = parts.upstream.send({ ...head, fields, body: body.length === 0 ? null : body }, sink)
  signal.addEventListener('abort', abort, { once: true })
  const whole = sending.done
    .then(
      async () => {
        const answer = sink.answer()
        await settle(permit, answer.status)
        return answer
      },
      async (error: unknown) => {
        await permit?.fail(error)
        throw error
      },
    )
    .finally(() => signal.removeEventListener('abort', abort))
  // Of a long answer that breaks off its reader hears.
  whole.catch(() => {})
  return Promise.race([whole, long])
}

async function attempt(
  c: Context,
  { upstream, viaName, requestIdOf, captured }: ProxyParts,
  outgoing: Outgoing,
  node: NodeSide | undefined,
  permit: UpstreamPermit | undefined,
): Promise<Response> {
  let sending: Sending | undefined
  const resume = () => sending?.resume()
  let head: (answer: { readonly status: number; readonly response: Response | undefined }) => void = () => {}
  const begun = new Promise<{ readonly status: number; readonly response: Response | undefined }>((resolve) => {
    head = resolve
  })
  // Hono makes the answer to HEAD anew, out of the answer that GET would have had.
  const direct = node !== undefined && !captured && outgoing.method !== 'HEAD'
  const sink: AnswerSink = direct
    ? outgoingSink(node.outgoing, {
        viaName,
        requestId: requestIdOf(c),
        prepared: preparedFields(c),
        resume,
        onHead: (status) => head({ status, response: undefined }),
      })
    : streamingSink({
        viaName,
        resume,
        abort: () => sending?.abort(),
        onHead: (response) => head({ status: response.status, response }),
      })
  sending = upstream.send(outgoing, sink)
  const onClose = () => {
    if (node !== undefined && !captured && !node.outgoing.writableFinished) sending?.abort()
  }
  node?.outgoing.once('close', onClose)
  // An answer that is captured is for the key: whoever brings the key again gets it, so it is read to its end without this client.
  if (!direct && !captured) c.req.raw.signal.addEventListener('abort', () => sending?.abort(), { once: true })
  const done = sending.done.then(
    () => undefined,
    (error: UpstreamError) => error,
  )
  const first = await Promise.race([begun, done])
  if (first === undefined || first instanceof UpstreamError) {
    node?.outgoing.off('close', onClose)
    if (first === undefined) return new Response(null, { status: 502 })
    await (first.code === 'upstream_aborted' ? permit?.release() : permit?.fail(first))
    throw first
  }
  if (direct) {
    const error = await done
    node.outgoing.off('close', onClose)
    await settle(permit, first.status, error)
    c.set('sentStatus', first.status)
    return RESPONSE_ALREADY_SENT
  }
  void done.then((error) => settle(permit, first.status, error))
  return first.response!
}

/** A client that went away says nothing about the upstream. */
async function settle(permit: UpstreamPermit | undefined, status: number, error?: UpstreamError): Promise<void> {
  if (error !== undefined && error.code !== 'upstream_aborted') await permit?.fail(error)
  else if (status >= 500 || status === 429) await permit?.fail()
  else await permit?.succeed()
}

function retryable({ code }: UpstreamError): boolean {
  return code === 'upstream_unreachable' || code === 'upstream_timeout'
}

/** What a client is told whose request an upstream did not answer. */
export function upstreamProblem(c: Context, { code, status, message }: UpstreamError): Response {
  return problem(c, status, code, message, {
    members: { retryable: code !== 'upstream_forbidden' },
    ...(code === 'upstream_forbidden' ? {} : { headers: { 'retry-after': '1' } }),
  })
}

interface NodeSide {
  readonly incoming: IncomingMessage
  readonly outgoing: ServerResponse
}

/** Node's own request and response where the gateway serves over node:http; absent under `app.request`. */
function nodeSide(c: Context): NodeSide | undefined {
  const env = c.env as Partial<NodeSide> | undefined
  return env?.incoming?.rawHeaders !== undefined && env.outgoing !== undefined ? (env as NodeSide) : undefined
}

function rawFieldsOf(c: Context, node: NodeSide | undefined): RawFields {
  return node?.incoming.rawHeaders ?? [...c.req.raw.headers].flat()
}

function outgoingHead(
  c: Context,
  { trustedProxies, viaName, requestIdOf, traceparentOf }: ProxyParts,
  node: NodeSide | undefined,
): Omit<Outgoing, 'body'> | Response {
  const { method } = c.req
  if ((method === 'GET' || method === 'HEAD') && hasBody(c, node))
    return problem(c, 400, 'body_not_allowed', `${method} has no body here`)
  const raw = rawFieldsOf(c, node)
  const address = (node?.incoming.socket.remoteAddress ?? '127.0.0.1').replace(/^::ffff:/, '')
  const forwardable = requestFields(
    raw,
    {
      address,
      protocol: 'http',
      trusted: isIP(address) !== 0 && trustedProxies.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6'),
      requestId: requestIdOf(c),
      traceparent: traceparentOf(c),
    },
    viaName,
  )
  if ('status' in forwardable) return problem(c, forwardable.status, forwardable.code, forwardable.title)
  const { fields } = forwardable
  if (method === 'OPTIONS') {
    const left = lessForward(fields)
    if (left === 0) return new Response(null, { status: 204 })
  }
  const url = node?.incoming.url ?? c.req.url.slice(c.req.url.indexOf('/', 8))
  return { method, target: url, fields }
}

/** Counts `Max-Forwards` down (RFC 9110 §7.6.2); 0 when this is as far as the request goes. */
function lessForward(fields: string[]): number | undefined {
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i]!.toLowerCase() !== 'max-forwards') continue
    const left = Number(fields[i + 1])
    if (!Number.isInteger(left) || left <= 0) return 0
    fields[i + 1] = String(left - 1)
    return left
  }
  return undefined
}

function hasBody(c: Context, node: NodeSide | undefined): boolean {
  if (node === undefined) return c.req.raw.body !== null
  const { headers } = node.incoming
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

/** A middleware that captures the answer has read the body, too, and left it with the request. */
async function bodyOf(c: Context, { captured }: ProxyParts, node: NodeSide | undefined): Promise<Outgoing['body']> {
  if (node !== undefined && !captured) return node.incoming
  if (Object.keys(c.req.bodyCache).length > 0) return new Uint8Array(await c.req.arrayBuffer())
  return c.req.raw.body as unknown as Outgoing['body']
}

/** Fields that middlewares in front have set for the answer. */
function preparedFields(c: Context): string[] {
  const fields: string[] = []
  for (const [name, value] of c.newResponse(null).headers) fields.push(name, value)
  return fields
}
