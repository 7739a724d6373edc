import { base64 } from '../codec.ts'
import { type ColdStore, type PutAnswer, sameBytes } from '../cold.ts'
import { CheckpointError } from '../errors.ts'
import { md5 } from '../md5.ts'
import { aboveZero, aFunction, checkOptions, having } from '../option-rules.ts'
import { errorCodeOf, parseListing } from '../s3-listing.ts'
import { type ColdDeadline, checkedName, coldDeadline, coldPrefix, folderOf } from './bucket.ts'

export type { ColdStore, PutAnswer } from '../cold.ts'

/** Signs requests: an `AwsClient` of aws4fetch. Its own `fetch` is not used, because it repeats a put without looking first. */
export interface S3Client {
  readonly region?: string | undefined
  sign(
    url: string,
    init: RequestInit & { readonly aws?: { readonly service?: string; readonly region?: string } },
  ): Promise<Request>
}

/** How the server encrypts what it stores: with its own key, a key of its key service, or one (32 bytes) that each request brings. */
export type ServerSideEncryption = 'AES256' | { readonly kmsKeyId: string } | { readonly customerKey: Uint8Array }

/** Where the bucket lies and how it is spoken to. */
export interface S3CheckpointStoreOptions {
  readonly client: S3Client
  readonly bucket: string
  /** The server's URL; that of AWS in the client's region unless given. */
  readonly endpoint?: string
  /** Whether the bucket stands in the path (the default, which every server knows) or in the host name. */
  readonly addressing?: 'path' | 'virtual-host'
  /** What the signature names as region: the client's. */
  readonly region?: string
  /** A folder inside the bucket. Everything stays below it. */
  readonly prefix?: string
  readonly sse?: ServerSideEncryption
  /** After this a call settles, with all its repeats: 15 s. */
  readonly deadlineMs?: number
  readonly fetch?: (request: Request, init: { readonly signal: AbortSignal }) => Promise<Response>
  readonly random?: () => number
}

interface Answered {
  readonly status: number
  readonly bytes: Uint8Array
}

/** What one request came to: the server's word, or that its effect is unknown. */
type Reply = Answered | { readonly status: 0; readonly cause: unknown }

interface RequestParts {
  readonly method: 'GET' | 'PUT' | 'DELETE'
  readonly key?: string
  readonly query?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array<ArrayBuffer>
}

const text = new TextDecoder()

/** Keeps cold objects in a bucket of any S3-compatible server, with `fetch` and WebCrypto alone. */
export function s3CheckpointStore(options: S3CheckpointStoreOptions): ColdStore {
  checkOptions(options, rules)
  const { client, bucket, addressing = 'path', region = client.region, deadlineMs = 15_000, sse } = options
  const { fetch: send = (request, init) => fetch(request, init), random = () => Math.random() } = options
  const prefix = folderOf(options.prefix)
  const base = new URL(options.endpoint ?? `https://s3.${region ?? 'us-east-1'}.amazonaws.com`)
  if (addressing === 'virtual-host') base.hostname = `${bucket}.${base.hostname}`
  const root = base.href.replace(/\/$/, '') + (addressing === 'path' ? `/${bucket}` : '')
  const aws = { service: 's3', ...(region === undefined ? {} : { region }) }
  const [putHeaders, getHeaders] = encryptionHeaders(sse)

  async function request({ method, key = '', query, headers, body }: RequestParts, limitMs: number): Promise<Reply> {
    const search = query === undefined ? '' : `?${new URLSearchParams(query)}`
    const abort = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const reason = new Error(`no answer within ${Math.ceil(limitMs)} ms`)
        reject(reason)
        abort.abort(reason)
      }, limitMs)
    })
    const exchange = async (): Promise<Answered> => {
      const init: RequestInit = { method, redirect: 'manual', headers: { ...headers } }
      if (body !== undefined) {
        init.body = body
        init.headers = { ...headers, 'x-amz-content-sha256': await sha256(body) }
      }
      const signed = await client.sign(`${root}${key === '' ? '' : `/${prefix}${key}`}${search}`, { ...init, aws })
      // The signal is given here and not to the request: one that a request passes on is lost with that request (undici #3644).
      const response = await send(signed, { signal: abort.signal })
      return { status: response.status, bytes: new Uint8Array(await response.arrayBuffer()) }
    }
    try {
      return await Promise.race([exchange(), late])
    } catch (cause) {
      return { status: 0, cause }
    } finally {
      clearTimeout(timer)
    }
  }

  const deadline = () => coldDeadline(deadlineMs, random)

  /** Repeats what changes nothing, or nothing more when repeated, until the server has a word on it. */
  async function settled(
    parts: RequestParts,
    time: ColdDeadline,
    code: 'cold_unavailable' | 'cold_unknown',
  ): Promise<Answered> {
    for (let tries = 0; ; tries++) {
      const reply = await request(parts, Math.max(1, time.leftMs() / 2))
      if (!isUnknown(reply)) return reply as Answered
      if (!(await time.pause(tries))) throw failure(code, parts, reply)
    }
  }

  async function read(
    key: string,
    time: ColdDeadline,
    code: 'cold_unavailable' | 'cold_unknown',
  ): Promise<Uint8Array | undefined> {
    const parts: RequestParts = { method: 'GET', key, headers: getHeaders }
    const reply = await settled(parts, time, code)
    if (reply.status === 200) return reply.bytes
    if (reply.status === 404 && errorCodeOf(text.decode(reply.bytes)) !== 'NoSuchBucket') return undefined
    throw refusal(parts, reply)
  }

  async function put(name: string, given: Uint8Array): Promise<PutAnswer> {
    const key = checkedName(name)
    const body = given as Uint8Array<ArrayBuffer>
    const parts: RequestParts = { method: 'PUT', key, body, headers: { ...putHeaders, 'if-none-match': '*' } }
    const time = deadline()
    for (let tries = 0; ; tries++) {
      const reply = await request(parts, Math.max(1, time.leftMs() / 2))
      if (reply.status === 200) return 'stored'
      if (reply.status !== 412 && !isUnknown(reply)) throw refusal(parts, reply)
      const there = await read(key, time, 'cold_unknown')
      if (there !== undefined) return sameBytes(there, body) ? 'stored' : 'exists'
      if (!(await time.pause(tries))) throw failure('cold_unknown', parts, reply)
    }
  }

  async function list(
    under: string,
    { after, limit = Number.POSITIVE_INFINITY }: { readonly after?: string; readonly limit?: number } = {},
  ) {
    const names: string[] = []
    const time = deadline()
    for (let continuation: string | undefined; names.length < limit; ) {
      const parts: RequestParts = {
        method: 'GET',
        query: {
          'list-type': '2',
          'encoding-type': 'url',
          'max-keys': String(Math.min(1_000, limit - names.length)),
          prefix: prefix + checkedName(under),
          ...(continuation === undefined ? {} : { 'continuation-token': continuation }),
          ...(continuation !== undefined || after === undefined ? {} : { 'start-after': prefix + checkedName(after) }),
        },
      }
      const reply = await settled(parts, time, 'cold_unavailable')
      if (reply.status !== 200) throw refusal(parts, reply)
      const page = parseListing(text.decode(reply.bytes))
      for (const key of page.keys) {
        const name = key.slice(prefix.length)
        if (!key.startsWith(prefix + under) || name <= (names.at(-1) ?? ''))
          throw new CheckpointError(
            'cold_rejected',
            'The listing of the bucket is not in order, or holds what was not asked for',
          )
        names.push(name)
      }
      if (page.continuation === undefined) break
      continuation = page.continuation
    }
    return names
  }

  async function remove(name: string): Promise<void> {
    const parts: RequestParts = { method: 'DELETE', key: checkedName(name) }
    const reply = await settled(parts, deadline(), 'cold_unknown')
    const absent = reply.status === 404 && errorCodeOf(text.decode(reply.bytes)) === 'NoSuchKey'
    if (reply.status !== 204 && reply.status !== 200 && !absent) throw refusal(parts, reply)
  }

  async function probe(): Promise<void> {
    const name = `probe/${crypto.randomUUID()}`
    const [first, second] = [Uint8Array.of(1), Uint8Array.of(2)]
    const ignored = (what: string, cause?: unknown) =>
      new CheckpointError(
        'condition_ignored',
        `The server at ${base.origin} ${what} \`If-None-Match: *\`, so objects could be overwritten; it cannot be used`,
        { cause },
      )
    let answers: PutAnswer[]
    try {
      answers = [await put(name, first), await put(name, second)]
    } catch (error) {
      if (error instanceof CheckpointError && error.code === 'cold_rejected') throw ignored('does not take', error)
      throw error
    }
    try {
      const there = await read(name, deadline(), 'cold_unavailable')
      if (answers[0] !== 'stored' || answers[1] !== 'exists' || there === undefined || !sameBytes(there, first))
        throw ignored('does not honour')
      await list('probe/', { limit: 1 })
    } finally {
      await remove(name)
    }
  }

  return { probe, put, list, remove, get: async (name) => read(checkedName(name), deadline(), 'cold_unavailable') }
}

const rules = {
  client: { ...having('an `AwsClient` of aws4fetch', 'sign'), required: true },
  bucket: {
    expected: 'the name of a bucket',
    accepts: (value: unknown) => typeof value === 'string' && /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(value),
    required: true,
  },
  endpoint: {
    expected: 'an http or https URL without query or user',
    accepts: (value: unknown) => {
      if (typeof value !== 'string' || !URL.canParse(value)) return false
      const { protocol, search, hash, username } = new URL(value)
      return /^https?:$/.test(protocol) && search === '' && hash === '' && username === ''
    },
  },
  addressing: {
    expected: '`path` or `virtual-host`',
    accepts: (value: unknown) => value === 'path' || value === 'virtual-host',
  },
  region: { expected: 'a text', accepts: (value: unknown) => typeof value === 'string' && value !== '' },
  prefix: coldPrefix,
  sse: { expected: '`AES256`, `{ kmsKeyId }` or `{ customerKey }` with 32 bytes', accepts: isEncryption },
  deadlineMs: aboveZero,
  fetch: aFunction,
  random: aFunction,
}

function isEncryption(value: unknown): boolean {
  if (value === 'AES256') return true
  if (typeof value !== 'object' || value === null) return false
  if ('kmsKeyId' in value) return typeof value.kmsKeyId === 'string' && /^[\x21-\x7e]+$/.test(value.kmsKeyId)
  return 'customerKey' in value && value.customerKey instanceof Uint8Array && value.customerKey.length === 32
}

/** The header fields of a put, and those of a get. */
function encryptionHeaders(
  sse: ServerSideEncryption | undefined,
): readonly [Record<string, string>, Record<string, string>] {
  const field = 'x-amz-server-side-encryption'
  if (sse === undefined) return [{}, {}]
  if (sse === 'AES256') return [{ [field]: sse }, {}]
  if ('kmsKeyId' in sse) return [{ [field]: 'aws:kms', [`${field}-aws-kms-key-id`]: sse.kmsKeyId }, {}]
  const headers = {
    [`${field}-customer-algorithm`]: 'AES256',
    [`${field}-customer-key`]: base64(sse.customerKey),
    [`${field}-customer-key-md5`]: base64(md5(sse.customerKey)),
  }
  return [headers, headers]
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** Silence, a conflict and a server's own failure say nothing about whether the request had its effect. 501 does: the server cannot do it. */
function isUnknown(reply: Reply): boolean {
  const { status } = reply
  if (status === 400 && 'bytes' in reply) return errorCodeOf(text.decode(reply.bytes)) === 'RequestTimeout'
  return status === 0 || status === 408 || status === 409 || status === 429 || (status >= 500 && status !== 501)
}

function failure(
  code: 'cold_unavailable' | 'cold_unknown',
  { method, key = '' }: RequestParts,
  reply: Reply,
): CheckpointError {
  const why = 'cause' in reply ? String((reply.cause as Error)?.message ?? reply.cause) : `status ${reply.status}`
  return new CheckpointError(
    code,
    `The bucket did not settle ${method} ${key}: ${why}`,
    'cause' in reply ? { cause: reply.cause } : {},
  )
}

function refusal({ method, key = '' }: RequestParts, reply: Reply): CheckpointError {
  const said = 'bytes' in reply ? errorCodeOf(text.decode(reply.bytes.subarray(0, 4_096))) : undefined
  const code =
    said === 'NoSuchBucket'
      ? 'bucket_not_found'
      : reply.status === 401 || reply.status === 403
        ? 'cold_denied'
        : 'cold_rejected'
  return new CheckpointError(code, `The bucket refused ${method} ${key}: ${reply.status} ${said ?? ''}`.trimEnd())
}
