import type { IncomingMessage, ServerResponse } from 'node:http'

/** Why a message is not let in, and how that is answered. The connection is closed behind it where its framing is in doubt. */
export interface Refusal {
  readonly status: number
  readonly code: string
  readonly title: string
  readonly headers?: Readonly<Record<string, string>>
  /** Whether what follows on the connection can still be trusted. */
  readonly close: boolean
}

/** Bounds of a request's head. */
export interface EdgeLimits {
  /** 8 KiB */
  readonly maxUriBytes: number
  /** 100 */
  readonly maxFields: number
  /** A declared body above this is refused before any of it is read. */
  readonly maxBodyBytes: number
}

const bad = (code: string, title: string): Refusal => ({ status: 400, code, title, close: true })

/** Fields that say one thing once (RFC 9110 §5.3): Fetch would join two of them with a comma, and nobody could tell. */
const singletons: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'content-type',
  'authorization',
  'idempotency-key',
  'x-request-id',
  'transfer-encoding',
  'expect',
  'from',
  'if-modified-since',
  'if-unmodified-since',
  'max-forwards',
  'proxy-authorization',
  'referer',
  'user-agent',
])

/** Names that would reach into objects made from fields. */
const poisonous: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype'])

/**
 * What is wrong with the head of a request that Node's parser let through: framing that another parser would read differently
 * (RFC 9112 §6), fields that may stand only once, and targets that name one thing to the router and another to whoever is behind it.
 */
export function refusalOf(request: IncomingMessage, limits: EdgeLimits): Refusal | undefined {
  return versionRefusal(request) ?? fieldRefusal(request, limits) ?? targetRefusal(request, limits)
}

function versionRefusal({ httpVersionMajor, httpVersionMinor, method }: IncomingMessage): Refusal | undefined {
  if (httpVersionMajor !== 1 || httpVersionMinor > 1) {
    return {
      status: 505,
      code: 'http_version_not_supported',
      title: 'HTTP/1.1 and HTTP/1.0 are spoken here',
      close: true,
    }
  }
  if (method === 'TRACE' || method === 'CONNECT') {
    return { status: 501, code: 'method_not_implemented', title: `${method} is not implemented`, close: true }
  }
  return undefined
}

function fieldRefusal(request: IncomingMessage, { maxFields, maxBodyBytes }: EdgeLimits): Refusal | undefined {
  const { rawHeaders } = request
  if (rawHeaders.length > maxFields * 2) {
    return { status: 431, code: 'too_many_fields', title: `The head has more than ${maxFields} fields`, close: true }
  }
  let seen = 0n
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase()
    if (poisonous.has(name)) return bad('field_name_invalid', `A field may not be called ${name}`)
    if (!singletons.has(name)) continue
    const bit = 1n << BigInt(positions.get(name)!)
    if ((seen & bit) !== 0n) return bad('field_repeated', `${name} may stand only once`)
    seen |= bit
  }
  const { headers } = request
  const coding = headers['transfer-encoding']
  if (coding !== undefined) {
    if (request.httpVersionMinor === 0) return bad('framing_invalid', 'HTTP/1.0 has no Transfer-Encoding')
    if (headers['content-length'] !== undefined)
      return bad('framing_invalid', 'Content-Length and Transfer-Encoding exclude each other')
    if (coding.toLowerCase() !== 'chunked') {
      return {
        status: 501,
        code: 'transfer_coding_not_implemented',
        title: 'The only transfer coding known here is chunked',
        close: true,
      }
    }
  }
  const host = headers.host
  if (request.httpVersionMinor === 1 && host === undefined) return bad('host_missing', 'HTTP/1.1 needs a Host field')
  if (host !== undefined && !isAuthority(host)) return bad('host_invalid', 'The Host field is not a host and port')
  const encoding = headers['content-encoding']
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    return {
      status: 415,
      code: 'content_encoding_not_supported',
      title: 'Bodies are taken as they are',
      headers: { 'accept-encoding': 'identity' },
      close: true,
    }
  }
  return Number(headers['content-length'] ?? 0) > maxBodyBytes ? bodyTooLarge(maxBodyBytes) : undefined
}

/** The answer to a body that is longer than any route takes. */
export function bodyTooLarge(maxBodyBytes: number): Refusal {
  return { status: 413, code: 'body_too_large', title: `The body is longer than ${maxBodyBytes} bytes`, close: true }
}

const positions: ReadonlyMap<string, number> = new Map([...singletons].map((name, i) => [name, i]))

/** A host and an optional port, without user information (RFC 9110 §7.2). An IPv6 address stands in brackets. */
function isAuthority(text: string): boolean {
  return /^(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~-]{1,255})(?::\d{1,5})?$/.test(text)
}

function targetRefusal(request: IncomingMessage, { maxUriBytes }: EdgeLimits): Refusal | undefined {
  let target = request.url ?? ''
  if (target.length > maxUriBytes) {
    return { status: 414, code: 'uri_too_long', title: `The target is longer than ${maxUriBytes} bytes`, close: true }
  }
  if (target === '*') {
    return request.method === 'OPTIONS' ? undefined : bad('target_invalid', 'Only OPTIONS is for *')
  }
  if (!target.startsWith('/')) {
    const [, authority, rest] = /^https?:\/\/([^/?#]*)(.*)$/i.exec(target) ?? []
    if (authority === undefined || rest === undefined) return bad('target_invalid', 'The target must begin with /')
    if (authority.toLowerCase() !== request.headers.host?.toLowerCase())
      return bad('host_mismatch', 'The target and the Host field name different authorities')
    target = rest.startsWith('/') ? rest : `/${rest}`
    request.url = target
  }
  return isClean(target)
    ? undefined
    : bad('target_invalid', 'The target has characters or segments that are not let in')
}

/**
 * Visible ASCII without `#` and `\`, whole escapes only, none of them NUL, a slash or a backslash, no empty segments, and no
 * segment that means "here" or "up", however it is spelled.
 */
function isClean(target: string): boolean {
  const query = target.indexOf('?')
  const path = query < 0 ? target : target.slice(0, query)
  if (/[^\x21-\x7e]|[#\\]/.test(target) || /%(?![0-9A-Fa-f]{2})/.test(target)) return false
  if (/\/\/|%(?:00|2f|5c)/i.test(path) || target.includes('%00')) return false
  return !/\/(?:\.|%2e){1,2}(?:\/|$)/i.test(path)
}

/** What Node's own parser found wrong, as an answer; `undefined` where nobody is left to answer. */
export function refusalOfParseError({ code }: NodeJS.ErrnoException): Refusal | undefined {
  switch (code) {
    case 'ECONNRESET':
    case 'EPIPE':
      return undefined
    case 'HPE_HEADER_OVERFLOW':
      return { status: 431, code: 'head_too_large', title: 'The head is too large', close: true }
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return { status: 413, code: 'body_too_large', title: 'The chunk extensions are too large', close: true }
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return { status: 408, code: 'request_timeout', title: 'The request did not arrive in time', close: true }
    case 'HPE_INVALID_METHOD':
      return { status: 501, code: 'method_not_implemented', title: 'This method is not implemented', close: true }
    default:
      return bad('message_malformed', 'The message is not HTTP')
  }
}

/** The body of a refusal: the shape of every problem here, without a request id, since there may be no request. */
export function refusalBody({ status, code, title }: Refusal): string {
  return JSON.stringify({ type: `urn:gw:problem:${code}`, title, status, code })
}

/**
 * Answers a refusal and, where it says so, closes the connection once the answer is out. Whoever is still at work on the request
 * writes its answer into the void.
 */
export function refuse(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
  const { status, headers, close } = refusal
  const body = refusalBody(refusal)
  response.writeHead(status, {
    'content-type': 'application/problem+json',
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    ...headers,
    ...(close ? { connection: 'close' } : {}),
  })
  response.end(body)
  response.writeHead = () => response
  response.write = () => true
  response.end = () => response
  if (!close) return
  response.once('finish', () => {
    request.socket.destroySoon()
    // Node forgets a request with its answer: whoever still waits for more of the body has to hear that none will come.
    if (!request.complete) request.destroy()
  })
}
