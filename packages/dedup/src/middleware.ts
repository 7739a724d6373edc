import type { Context, MiddlewareHandler, Next } from 'hono'
import { lengthPrefixed } from './crypto.ts'
import type { PendingClaim, RequestDeduplicator, RequestIdentity } from './deduplicator.ts'
import { DedupError } from './errors.ts'
import { canonicalBody, digestFor, mediaTypeOf } from './fingerprint.ts'
import { parseKey } from './idempotency-key.ts'
import { problem } from './problem.ts'
import { replayResponse } from './replay.ts'
import type { KeyRecord, StoredResponse } from './store.ts'

/** The run behind a key, as whoever keeps runs knows it. */
export interface LinkedRun {
  readonly runId: string
  readonly status: string
  readonly outcome?: StoredResponse
}

/** How the run behind a key is found and waited for. `undefined` says that no such run was ever accepted: nothing ran. */
export interface LinkedRuns {
  lookup(link: string): Promise<LinkedRun | undefined>
  attach(c: Context, link: string): Promise<Response | undefined>
}

/** How one route takes keys. */
export interface DedupOptions {
  readonly deduplicator: RequestDeduplicator
  /** A request without a key: `optional` passes (the default), `required` is 400, `fingerprint` is known by its content. */
  readonly missing?: 'optional' | 'required' | 'fingerprint'
  /** Who is asking; needed unless `scope` is `global`. */
  readonly principal?: (c: Context) => string | undefined
  readonly tenant?: (c: Context) => string | undefined
  /** Every client shares one space of keys. Must be written out. */
  readonly scope?: 'global'
  /** `POST` and `PATCH` */
  readonly methods?: readonly string[]
  readonly keySyntax?: 'lenient' | 'strict'
  /** A claim whose owner died without a word: `reject` with 409 (the default), or `execute` again. */
  readonly onUnknown?: 'reject' | 'execute'
  readonly windowMs?: number
  /** How long a request without a key is known by its content: 10 s. */
  readonly fingerprintWindowMs?: number
  readonly leaseMs?: number
  readonly maxBodyBytes?: number
  /** The claim is not committed here but by whoever accepts the request, in one unit with what it keeps. */
  readonly join?: boolean
  readonly runs?: LinkedRuns
}

/** What handlers find in `c.var.idempotency`. */
export interface Idempotency {
  /** The storage key: an HMAC, never the client's text. */
  readonly key: string
  /** Grows with each claim of the key, for downstream writes to refuse an older one. */
  readonly fence: number
  readonly claim: PendingClaim
  /** Says that the effect has happened: an error after this is kept as the answer. */
  markExecuted(): void
  /** Says that nothing has happened: an error after this frees the key. */
  markNotExecuted(): void
}

/** The variables this middleware sets. */
export interface DedupEnv {
  Variables: { idempotency: Idempotency }
}

const known: ReadonlySet<string> = new Set([
  'deduplicator',
  'missing',
  'principal',
  'tenant',
  'scope',
  'methods',
  'keySyntax',
  'onUnknown',
  'windowMs',
  'fingerprintWindowMs',
  'leaseMs',
  'maxBodyBytes',
  'join',
  'runs',
])
/** Answers that say "not now": the key stays free for another try. */
const neverStored: ReadonlySet<number> = new Set([401, 407, 408, 409, 421, 423, 425, 429])

/** Runs a request with an `Idempotency-Key` once and answers every repeat with the first answer. */
export function dedup(options: DedupOptions): MiddlewareHandler {
  check(options)
  const { missing = 'optional', methods = ['POST', 'PATCH'], keySyntax = 'lenient' } = options
  return async function dedup(c, next) {
    const field = c.req.header('idempotency-key')
    if (!methods.includes(c.req.method)) {
      await next()
      if (field !== undefined) c.res.headers.set('idempotency-status', 'ignored')
      return
    }
    if (field === undefined) {
      if (missing === 'required') {
        return problem(
          400,
          'idempotency_key_missing',
          'This operation needs an Idempotency-Key',
          { retryable: false },
          {
            link: '<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>; rel="describedby"',
          },
        )
      }
      const principal = options.principal?.(c)
      if (missing === 'optional' || principal === undefined || principal === 'anonymous') return next()
      return keyed(c, next, options, undefined)
    }
    const parsed = parseKey(field, keySyntax)
    if ('invalid' in parsed)
      return problem(400, 'idempotency_key_invalid', 'The Idempotency-Key is not valid', {
        detail: parsed.invalid,
        retryable: false,
      })
    return keyed(c, next, options, parsed.key)
  }
}

/** What becomes of a keyed request; `key` is absent where the content is the key. */
async function keyed(
  c: Context,
  next: Next,
  options: DedupOptions,
  key: string | undefined,
): Promise<Response | undefined> {
  const declared = Number(c.req.header('content-length') ?? 0)
  const { maxBodyBytes = 1_048_576, deduplicator } = options
  const body = declared > maxBodyBytes ? undefined : new Uint8Array(await c.req.arrayBuffer())
  if (body === undefined || body.length > maxBodyBytes) {
    return problem(
      413,
      'body_too_large',
      `The body is longer than ${maxBodyBytes} bytes`,
      { retryable: false },
      { connection: 'close' },
    )
  }
  let identity: RequestIdentity
  let decision: Awaited<ReturnType<RequestDeduplicator['decide']>>
  try {
    identity = await identify(c, options, key, body)
    decision = await deduplicator.decide(identity)
  } catch (error) {
    return unavailable(error)
  }
  for (let tries = 0; ; tries++) {
    let claim: PendingClaim | undefined
    switch (decision.kind) {
      case 'mismatch':
        return reused()
      case 'completed':
        return replayResponse(decision.record.response)
      case 'in_flight': {
        const held = await answerHeld(c, decision.record, options)
        if (held !== undefined) return held
        claim = deduplicator.replace(identity, decision.record)
        break
      }
      case 'lapsed':
        if (options.onUnknown !== 'execute') {
          return problem(
            409,
            'idempotency_outcome_unknown',
            'The process that had this request died; whether it ran is not known',
            {
              retryable: false,
              safeToUseNewKey: false,
            },
          )
        }
        claim = decision.takeOver()
        break
      case 'free':
        claim = decision.claim
    }
    try {
      if (options.join !== true && !(await deduplicator.claim(claim))) {
        decision = await deduplicator.decide(identity)
        if (tries < 3) continue
        return inFlight(1)
      }
    } catch (error) {
      return unavailable(error)
    }
    const state = { executed: undefined as boolean | undefined }
    c.set('idempotency', idempotencyOf(claim, state))
    if (options.join === true) {
      await next()
      if (claim.committed || !refused(c)) return
      const now = await deduplicator.decide(identity)
      const answer =
        now.kind === 'completed'
          ? replayResponse(now.record.response)
          : now.kind === 'mismatch'
            ? reused()
            : now.kind === 'in_flight'
              ? ((await answerHeld(c, now.record, options)) ?? inFlight(1))
              : undefined
      if (answer !== undefined) {
        // Hono copies the fields of a response that is there onto the one that replaces it.
        c.res = undefined
        c.res = answer
      }
      return
    }
    return execute(c, next, deduplicator, claim, state, key === undefined)
  }
}

/** Whether what follows answered that another request had won. */
function refused(c: Context): boolean {
  return c.res.status === 409 && c.res.headers.get('content-type') === 'application/problem+json'
}

async function execute(
  c: Context,
  next: Next,
  deduplicator: RequestDeduplicator,
  claim: PendingClaim,
  state: { readonly executed: boolean | undefined },
  byFingerprint: boolean,
): Promise<Response | undefined> {
  let lost = false
  const heartbeat = setInterval(() => {
    deduplicator.extend(claim).then(
      (mine) => {
        lost ||= !mine
      },
      () => {},
    )
  }, deduplicator.leaseMs / 3)
  try {
    await next()
  } finally {
    clearInterval(heartbeat)
  }
  const { status } = c.res
  const streams = c.res.headers.get('content-type')?.startsWith('text/event-stream') === true
  const keep =
    state.executed === true || (state.executed !== false && status < 500 && !neverStored.has(status) && status !== 202)
  let text = byFingerprint ? 'fingerprint' : 'stored'
  try {
    if (streams) text = 'unstored'
    else if (!keep) {
      await deduplicator.release(claim)
      return
    } else {
      const stored = await deduplicator.complete(claim, await storedOf(c.res))
      if (!stored || lost) text = 'superseded'
    }
  } catch {
    text = 'unstored'
  }
  c.res.headers.set('idempotency-status', text)
  return
}

async function storedOf(response: Response): Promise<StoredResponse> {
  const body = response.body === null ? new Uint8Array() : new Uint8Array(await response.clone().arrayBuffer())
  return { status: response.status, headers: [...response.headers], body }
}

/** `undefined` when the run behind the key was never accepted. */
async function answerHeld(c: Context, record: KeyRecord, { runs }: DedupOptions): Promise<Response | undefined> {
  if (record.link === undefined || runs === undefined)
    return inFlight(Math.ceil(Math.max(1, record.leaseRemainingMs / 1_000)))
  const run = await runs.lookup(record.link)
  if (run === undefined) return undefined
  return runs.attach(c, record.link)
}

function reused(): Response {
  return problem(422, 'idempotency_key_reused', 'This key was used with another request', {
    retryable: false,
    safeToUseNewKey: true,
  })
}

function inFlight(retryAfterSeconds: number): Response {
  return problem(
    409,
    'idempotency_request_in_flight',
    'A request with this key is under way',
    { retryable: true, safeToUseNewKey: false },
    { 'retry-after': String(Math.min(retryAfterSeconds, 30)) },
  )
}

function unavailable(error: unknown): Response {
  if (error instanceof DedupError) throw error
  return problem(
    503,
    'idempotency_store_unavailable',
    'The key could not be looked up; nothing ran',
    { retryable: true },
    { 'retry-after': '1' },
  )
}

async function identify(
  c: Context,
  options: DedupOptions,
  key: string | undefined,
  body: Uint8Array,
): Promise<RequestIdentity> {
  const { deduplicator, windowMs, leaseMs, fingerprintWindowMs = 10_000 } = options
  const principal = options.scope === 'global' ? '' : (options.principal?.(c) ?? 'anonymous')
  const tenant = options.tenant?.(c) ?? ''
  const url = new URL(c.req.url)
  const contentType = c.req.header('content-type')
  const described = lengthPrefixed([c.req.method, url.pathname, url.search, mediaTypeOf(contentType)])
  const fingerprint = await deduplicator.digest(described, canonicalBody(body, digestFor(contentType)))
  const scope = { tenant, principal, method: c.req.method, path: c.req.routePath }
  return {
    key: await deduplicator.storageKey(scope, key ?? `fingerprint ${fingerprint}`),
    fingerprint,
    principalHash: await deduplicator.digest(lengthPrefixed(['principal', tenant, principal])),
    ...(key === undefined ? { windowMs: fingerprintWindowMs } : windowMs === undefined ? {} : { windowMs }),
    ...(leaseMs === undefined ? {} : { leaseMs }),
  }
}

function idempotencyOf(claim: PendingClaim, state: { executed: boolean | undefined }): Idempotency {
  return {
    key: claim.key,
    fence: claim.token,
    claim,
    markExecuted() {
      state.executed = true
    },
    markNotExecuted() {
      state.executed = false
    },
  }
}

function check(options: DedupOptions): void {
  for (const name of Object.keys(options))
    if (!known.has(name)) throw new DedupError('invalid_option', `Unknown option \`${name}\``)
  if (options.principal === undefined && options.scope !== 'global') {
    throw new DedupError(
      'invalid_option',
      "Expected `principal` to be a function, or `scope` to be 'global' written out, got neither",
    )
  }
}
