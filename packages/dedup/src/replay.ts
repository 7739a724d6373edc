import type { CompletedRecord } from './answer-cache.ts'
import { spillField } from './spill.ts'
import type { StoredResponse } from './store.ts'

const inRunField = 'gw-answer-in-run'

/**
 * Fields that belong to one exchange or one client, never to a stored answer: hop-by-hop (RFC 9110 §7.6.1), credentials, dates,
 * traces, rate limits, and what cross-origin middleware sets anew for each origin.
 */
const never: ReadonlySet<string> = new Set([
  inRunField,
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'authorization',
  'www-authenticate',
  'content-length',
  'date',
  'age',
  'server-timing',
  'x-request-id',
  'request-id',
  'x-correlation-id',
  'x-trace-id',
  'x-amzn-trace-id',
  'x-cloud-trace-context',
  'uber-trace-id',
  'traceparent',
  'tracestate',
  'traceresponse',
  'baggage',
  'sentry-trace',
  'b3',
  'ratelimit',
  'ratelimit-policy',
  'idempotency-status',
  'idempotent-replayed',
  'preference-applied',
  'gw-durability',
])
const neverPrefixes = ['proxy-', 'ratelimit-', 'x-ratelimit-', 'x-rate-limit-', 'x-b3-', 'access-control-']
const credential = /cookie|authorization|api-?key|auth-token|access-token|csrf/

/** Whether a field may be stored with an answer. */
export function isReplayable(name: string): boolean {
  const lower = name.toLowerCase()
  return !never.has(lower) && !neverPrefixes.some((prefix) => lower.startsWith(prefix)) && !credential.test(lower)
}

/** An answer without the fields that are not replayed, and without those that its `Connection` field names. */
export function withoutUnreplayable(response: StoredResponse): StoredResponse {
  const named = response.headers.find(([name]) => name.toLowerCase() === 'connection')?.[1]
  const hops = named === undefined ? undefined : new Set(named.split(',').map((hop) => hop.trim().toLowerCase()))
  const headers = response.headers.filter(([name]) => isReplayable(name) && hops?.has(name.toLowerCase()) !== true)
  return { ...response, headers }
}

/** Whether an answer said that it must not be stored. */
export function isNoStore({ headers }: Pick<StoredResponse, 'headers'>): boolean {
  return headers.some(([name, value]) => name.toLowerCase() === 'cache-control' && /\bno-store\b/i.test(value))
}

/** A whole answer, read to its end. */
export async function storedOf(response: Response): Promise<StoredResponse> {
  const body = response.body === null ? new Uint8Array() : new Uint8Array(await response.arrayBuffer())
  return { status: response.status, headers: [...response.headers], body }
}

/** Told by its fields: servers put a `Response` of their own in place of the platform's, and then one is not an instance of the other. */
export function isStored(response: Response | StoredResponse): response is StoredResponse {
  return Array.isArray(response.headers)
}

/** RFC 9110 §15: answers of these statuses have no body, and `Response` refuses one. */
export const nullBodyStatuses: ReadonlySet<number> = new Set([101, 204, 205, 304])

/** The fields that say what became of a key, for scripts of other origins to read. */
export const exposedFields = 'Idempotency-Status, Idempotent-Replayed, Retry-After, Link, Preference-Applied'

/** An answer as it is given again, made once: the server writes a plain record of fields, and a text, in the fewest steps. */
interface Prepared {
  readonly headers: Fields
  /** For a caller that was authorised: what it gets is not for caches on the way. */
  readonly privateHeaders: Fields
  readonly body: string | Uint8Array<ArrayBuffer>
  readonly encoding: string | undefined
}

type Fields = Record<string, string> | [string, string][]

const prepared = new WeakMap<StoredResponse, Prepared>()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const maxTextBytes = 65_536

function prepare(response: StoredResponse): Prepared {
  const known = prepared.get(response)
  if (known !== undefined) return known
  const list = response.headers
    .filter(([name]) => name !== spillField)
    .map(([name, value]): [string, string] => [name.toLowerCase(), value])
  list.push(['idempotent-replayed', 'true'], ['idempotency-status', 'replayed'])
  list.push(['access-control-expose-headers', exposedFields])
  const names = new Set(list.map(([name]) => name))
  const made: Prepared = {
    headers: fieldsOf(list),
    privateHeaders: isNoStore(response)
      ? fieldsOf(list)
      : fieldsOf([...list.filter(([name]) => name !== 'cache-control'), ['cache-control', 'no-store']]),
    body: bodyOf(response.body ?? new Uint8Array(), names.has('content-type')),
    encoding: list.find(([name]) => name === 'content-encoding')?.[1],
  }
  prepared.set(response, made)
  return made
}

function fieldsOf(list: [string, string][]): Fields {
  const record = Object.fromEntries(list)
  return Object.keys(record).length === list.length ? record : list
}

/** Text where the bytes are just that. Without a type of its own a text would be given one. */
function bodyOf(bytes: Uint8Array, typed: boolean): Prepared['body'] {
  if (typed && bytes.length > 0 && bytes.length <= maxTextBytes) {
    try {
      return decoder.decode(bytes)
    } catch {
      // Not UTF-8.
    }
  }
  return bytes as Uint8Array<ArrayBuffer>
}

/** An answer that is kept by the run behind its key and nowhere else: a replay reads it there, as long as the run is kept. */
export function answerInRun(status: number): StoredResponse {
  return { status, headers: [[inRunField, '1']], body: undefined }
}

/** Whether the answer is with the run behind its key. */
export function isInRun({ headers, body }: StoredResponse): boolean {
  return body === undefined && headers[0]?.[0] === inRunField
}

/** What of a request decides on the form of its replay. */
export interface ReplayRequest {
  readonly acceptEncoding: string | undefined
  /** It had an `Authorization` field: its replay is `Cache-Control: no-store`. */
  readonly authorised: boolean
}

/**
 * The stored answer again, marked as such, with its body from `spilled` where that is given; `undefined` where its body was not
 * retained, or is in a coding the client refuses.
 */
export function replayResponse(
  { response }: CompletedRecord,
  { acceptEncoding, authorised }: ReplayRequest,
  spilled?: ReadableStream<Uint8Array>,
): Response | undefined {
  const { status } = response
  const { body, encoding, ...made } = prepare(response)
  const headers = authorised ? made.privateHeaders : made.headers
  if (nullBodyStatuses.has(status)) return new Response(null, { status, headers })
  if (response.body === undefined && spilled === undefined) return undefined
  if (encoding === undefined || encoding === 'identity' || accepts(acceptEncoding, encoding))
    return new Response(spilled ?? body, { status, headers })
  const decoded = decodedBody(spilled ?? streamOf(response.body!), encoding)
  if (decoded === undefined) return undefined
  const plain = new Headers(headers)
  plain.delete('content-encoding')
  plain.append('vary', 'Accept-Encoding')
  return new Response(decoded, { status, headers: plain })
}

/** Whether a client takes a content coding (RFC 9110 §12.5.3). */
export function accepts(acceptEncoding: string | undefined, coding: string): boolean {
  if (acceptEncoding === undefined) return false
  const wanted = coding.trim().toLowerCase()
  let any = false
  for (const part of acceptEncoding.toLowerCase().split(',')) {
    const [name = '', ...parameters] = part.split(';').map((piece) => piece.trim())
    const refused = parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter))
    if (name === wanted || (name === 'x-gzip' && wanted === 'gzip')) return !refused
    if (name === '*') any = !refused
  }
  return any
}

function streamOf(body: Uint8Array): ReadableStream<Uint8Array> {
  return new Blob([body as Uint8Array<ArrayBuffer>]).stream()
}

function decodedBody(body: ReadableStream<Uint8Array>, encoding: string): ReadableStream<Uint8Array> | undefined {
  try {
    const decoder = new DecompressionStream(encoding.trim().toLowerCase().replace(/^x-/, '') as CompressionFormat)
    return body.pipeThrough(decoder as TransformStream<Uint8Array, Uint8Array>)
  } catch {
    return undefined
  }
}
