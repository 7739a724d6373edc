import type { Readable } from 'node:stream'
import { type Dispatcher, Pool } from 'undici'
import { GatewayError } from '../errors.ts'
import { ForbiddenAddressError, guardedLookup, isInside, namesPrivateAddress } from './address-guard.ts'

/** A service behind the gateway. */
export interface UpstreamOptions {
  /** Scheme, host, port and an optional path that every request's path is put behind. */
  readonly url: string
  /** Connections to it at once: 128. */
  readonly connections?: number
  /** 5 s */
  readonly connectTimeoutMs?: number
  /** Until the head of the answer is there, and between two pieces of its body: 30 s. */
  readonly timeoutMs?: number
  /** The upstream may lie on this machine or a private network under a name, too. An address written out in `url` needs no leave. */
  readonly allowPrivate?: boolean
}

/** Why an upstream gave no answer, told apart for the client. */
export type UpstreamErrorCode =
  | 'upstream_unreachable'
  | 'upstream_forbidden'
  | 'upstream_malformed'
  | 'upstream_timeout'
  | 'upstream_interrupted'
  | 'upstream_aborted'

/** A request that an upstream did not answer. `sent` says whether it may have reached it. */
export class UpstreamError extends Error {
  override readonly name = 'UpstreamError'
  readonly code: UpstreamErrorCode
  readonly status: 502 | 504
  readonly sent: boolean

  constructor(code: UpstreamErrorCode, message: string, sent: boolean, cause: unknown) {
    super(message, { cause })
    this.code = code
    this.status = code === 'upstream_timeout' ? 504 : 502
    this.sent = sent
  }
}

/** A request as it goes to the upstream. */
export interface Outgoing {
  readonly method: string
  /** Path and query, as the client sent them. */
  readonly target: string
  readonly fields: string[]
  readonly body: Readable | Uint8Array | null
}

/** Where an answer goes, piece by piece. */
export interface AnswerSink {
  head(status: number, fields: readonly string[]): void
  /** `false` asks for a pause until `resume` is called. */
  data(chunk: Uint8Array): boolean
  end(): void
  /** The answer broke off after its head. */
  fail(error: Error): void
}

/** A request under way. */
export interface Sending {
  /** Resolves when the answer has gone into the sink to its end; rejects with {@link UpstreamError}. */
  readonly done: Promise<void>
  abort(): void
  resume(): void
}

const maxHeadBytes = 16_384
/** Of all requests, a tenth may be tried again; the first ten are free. */
const retryRatio = 0.1
const retryReserve = 10

/** A pool of connections to one service, whose bytes pass through as they are. Redirects are passed on, never followed. */
export class Upstream {
  readonly name: string
  readonly #prefix: string
  readonly #pool: Pool
  /** The address that `url` spells out may not be connected to. */
  readonly #forbidden: boolean
  #retries = retryReserve

  constructor(name: string, options: UpstreamOptions) {
    const { connections = 128, connectTimeoutMs = 5_000, timeoutMs = 30_000, allowPrivate = false } = options
    const url = URL.canParse(options.url) ? new URL(options.url) : undefined
    if (
      url === undefined ||
      !/^https?:$/.test(url.protocol) ||
      url.search !== '' ||
      url.hash !== '' ||
      url.username !== ''
    ) {
      throw new GatewayError(
        'invalid_option',
        `Expected \`upstreams.${name}.url\` to be http:// or https:// with a host and no user, query or fragment, got \`${options.url}\``,
      )
    }
    const free = allowPrivate || namesPrivateAddress(options.url)
    const literal = url.hostname.replace(/^\[|\]$/g, '')
    this.name = name
    this.#prefix = url.pathname.replace(/\/$/, '')
    this.#forbidden =
      !free && (/(?:^|\.)localhost\.?$/.test(literal) || (/^[\d.]+$|:/.test(literal) && isInside(literal)))
    this.#pool = new Pool(url.origin, {
      connections,
      pipelining: 1,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      maxHeaderSize: maxHeadBytes,
      connect: { timeout: connectTimeoutMs, ...(free ? {} : { lookup: guardedLookup }) },
    })
  }

  /** Whether a failed request may be tried again now; a `true` is used up. */
  takeRetry(): boolean {
    if (this.#retries < 1) return false
    this.#retries--
    return true
  }

  send({ method, target, fields, body }: Outgoing, sink: AnswerSink): Sending {
    this.#retries = Math.min(retryReserve, this.#retries + retryRatio)
    let controller: Dispatcher.DispatchController | undefined
    let aborted = false
    const done = new Promise<void>((resolve, reject) => {
      if (this.#forbidden) return reject(forbidden(this.name, undefined))
      let begun = false
      let sent = false
      const fail = (error: Error) => {
        if (begun) sink.fail(error)
        reject(
          aborted
            ? new UpstreamError('upstream_aborted', 'The client went away', sent, error)
            : errorOf(this.name, error, sent, begun),
        )
      }
      try {
        this.#pool.dispatch(
          { method, path: this.#prefix + target, headers: fields, body: body as never },
          {
            onRequestStart(given) {
              controller = given
              sent = true
              if (aborted) given.abort(new Error('aborted'))
            },
            onResponseStart(given, status) {
              if (status < 200) return
              begun = true
              sink.head(status, textOf(given.rawHeaders as readonly Uint8Array[]))
            },
            onResponseData(given, chunk) {
              // undici gives an empty piece after each pause: to pause for that would go round without end.
              if (chunk.length > 0 && !sink.data(chunk)) given.pause()
            },
            onResponseEnd() {
              sink.end()
              resolve()
            },
            onResponseError(_given, error) {
              fail(error)
            },
          },
        )
      } catch (error) {
        fail(error as Error)
      }
    })
    return {
      done,
      abort() {
        aborted = true
        controller?.abort(new Error('The client went away'))
      },
      resume() {
        controller?.resume()
      },
    }
  }

  close(): Promise<void> {
    return this.#pool.close()
  }

  destroy(): Promise<void> {
    return this.#pool.destroy()
  }
}

function textOf(raw: readonly (Uint8Array | string)[]): string[] {
  return raw.map((part) =>
    typeof part === 'string' ? part : Buffer.from(part.buffer, part.byteOffset, part.byteLength).toString('latin1'),
  )
}

function forbidden(name: string, cause: unknown): UpstreamError {
  return new UpstreamError('upstream_forbidden', `${name} leads to an address that is not for upstreams`, false, cause)
}

function errorOf(name: string, error: Error, sent: boolean, begun: boolean): UpstreamError {
  const code: unknown = 'code' in error ? error.code : undefined
  const cause: unknown = error.cause
  if (error instanceof ForbiddenAddressError || cause instanceof ForbiddenAddressError) return forbidden(name, error)
  if (code === 'UND_ERR_CONNECT_TIMEOUT')
    return new UpstreamError('upstream_timeout', `${name} did not take the connection in time`, false, error)
  if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT')
    return new UpstreamError('upstream_timeout', `${name} did not answer in time`, sent, error)
  if (begun) return new UpstreamError('upstream_interrupted', `${name} broke off in its answer`, sent, error)
  if (error.name === 'HTTPParserError' || /^(?:UND_ERR_HEADERS_OVERFLOW|UND_ERR_RES_|HPE_)/.test(String(code)))
    return new UpstreamError('upstream_malformed', `${name} answered with something that is not HTTP`, sent, error)
  return new UpstreamError('upstream_unreachable', `${name} cannot be reached`, sent, error)
}
