import type { Context, MiddlewareHandler, Next } from 'hono'
import type { BlankInput } from 'hono/types'
import type { CompletedRecord } from './answer-cache.ts'
import type { Claim } from './claim.ts'
import type { Decision, RequestIdentity } from './decision.ts'
import { codeOf } from './errors.ts'
import { execute, mark, replace } from './execute.ts'
import { type DedupEnv, KeyHold } from './idempotency.ts'
import { parseKey } from './idempotency-key.ts'
import { type Identified, identify } from './identity.ts'
import { type DedupOptions, type Route, routeOf, type UnknownPolicy } from './options.ts'
import { isUnaccepted } from './policy.ts'
import { preferredWaitMs } from './prefer.ts'
import { type DedupProblemCode, type DedupProblemResponse, type ProblemOptions, problem } from './problem.ts'
import { isInRun, type ReplayRequest, replayResponse } from './replay.ts'
import { replaySpilled } from './spilled-replay.ts'
import type { KeyRecord } from './store.ts'
import type { Timers } from './timers.ts'

/**
 * Runs a request with an `Idempotency-Key` once and answers every repeat with the first answer
 * (draft-ietf-httpapi-idempotency-key-header-07). Stands after your authentication, and before what counts against a rate limit.
 */
export function dedup(options: DedupOptions): MiddlewareHandler<DedupEnv, string, BlankInput, DedupProblemResponse> {
  const route = routeOf(options)
  const methods: readonly string[] = route.methods
  const dedup = async (c: Context, next: Next): Promise<Response | undefined> => {
    const field = c.req.header('idempotency-key')
    if (!methods.includes(c.req.method)) {
      await next()
      if (field !== undefined) mark(c, 'ignored')
      return
    }
    if (field === undefined) return unkeyed(c, next, route)
    const parsed = parseKey(field, route.keySyntax)
    if ('invalid' in parsed) {
      return refuse(c, 'idempotency_key_invalid', 'The Idempotency-Key is not valid', {
        detail: parsed.invalid,
        retryable: false,
      })
    }
    return keyed(c, next, route, parsed.key)
  }
  // What it answers by itself is typed; what the handlers after it answer is typed by them.
  return dedup as MiddlewareHandler<DedupEnv, string, BlankInput, DedupProblemResponse>
}

async function unkeyed(c: Context, next: Next, route: Route): Promise<Response | undefined> {
  if (route.missing === 'required') {
    return refuse(c, 'idempotency_key_missing', 'This operation needs an Idempotency-Key', {
      retryable: false,
      headers: { link: `<${route.documentation}>; rel="describedby"` },
    })
  }
  if (route.missing === 'fingerprint') {
    const principal = route.principal?.(c)
    if (principal !== undefined && principal !== '' && principal !== 'anonymous')
      return keyed(c, next, route, undefined)
  }
  await next()
  return
}

/** What becomes of a keyed request; `key` is absent where the content is the key. */
async function keyed(c: Context, next: Next, route: Route, key: string | undefined): Promise<Response | undefined> {
  try {
    if (!route.deduplicator.ready) await route.deduplicator.start()
  } catch (error) {
    return storeDown(c, next, route, error)
  }
  const identified = await identify(c, route, key)
  if ('refused' in identified) return unreadable(c, route, identified.refused)
  const { identity, digest, spilled } = identified
  if (spilled === undefined) {
    const cached = route.deduplicator.cached(identity)
    if (cached?.kind === 'mismatch') return reused(c)
    if (cached?.kind === 'completed') {
      const answer = replayResponse(cached.record, replayRequestOf(c))
      if (answer !== undefined) {
        route.deduplicator.tell('replayed', identity.key)
        await together(route.deduplicator.timers)
        return answer
      }
    }
  }
  try {
    const decided = await decideOrWait(c, route, identity)
    if (decided.kind === 'answer') return decided.answer
    if (decided.kind === 'store_down') return await storeDown(c, next, route, decided.error)
    const { claim } = decided
    if (route.join === true) return await joined(c, next, route, identity, new KeyHold(claim, route.deduplicator))
    await execute(c, next, route, { claim, byFingerprint: key === undefined, digest })
    return
  } finally {
    if (spilled !== undefined) void route.spill?.delete(spilled).catch(() => {})
  }
}

type Decided =
  | { readonly kind: 'answer'; readonly answer: Response }
  | { readonly kind: 'store_down'; readonly error: unknown }
  | { readonly kind: 'claim'; readonly claim: Claim }

/** Claims the key, or finds the answer to give; waits for the owner where the client or the route asks for it. */
async function decideOrWait(c: Context, route: Route, identity: RequestIdentity): Promise<Decided> {
  const { deduplicator } = route
  let replaces: KeyRecord | undefined
  let waiting: Waiting | undefined
  for (;;) {
    let decision: Decision
    try {
      decision =
        route.join === true && replaces === undefined
          ? await deduplicator.decide(identity)
          : route.join === true
            ? { kind: 'free', claim: deduplicator.newClaim(identity, replaces) }
            : await deduplicator.acquire(identity, replaces)
    } catch (error) {
      return { kind: 'store_down', error }
    }
    replaces = undefined
    if (decision.kind === 'claimed' || decision.kind === 'free') return { kind: 'claim', claim: decision.claim }
    if (decision.kind === 'completed') {
      const answer = await replayed(c, route, decision.record)
      if (waiting !== undefined) {
        deduplicator.tell('waited', identity.key)
        applied(answer, waiting)
      }
      return { kind: 'answer', answer }
    }
    if (decision.kind === 'mismatch') return { kind: 'answer', answer: reused(c) }
    if (decision.kind === 'corrupt')
      return { kind: 'answer', answer: outcomeUnknown(c, route, decision.record, 'reject') }
    const { record } = decision
    if (decision.kind === 'lapsed') {
      const action = await lapsed(c, route, record)
      if (action === 'execute') {
        replaces = record
        continue
      }
      return {
        kind: 'answer',
        answer: typeof action === 'object' ? action : outcomeUnknown(c, route, record, action),
      }
    }
    if (record.link !== undefined && route.runs !== undefined) {
      let answer: Response | undefined
      try {
        if ((await route.runs.lookup(record.link)) !== undefined) answer = await route.runs.attach(c, record.link)
      } catch (error) {
        return { kind: 'store_down', error }
      }
      if (answer !== undefined) return { kind: 'answer', answer }
      // The run was not accepted: nothing ran, and once the lease is over nothing will.
      if (record.leaseRemainingMs === 0) {
        try {
          if ((await route.runs.preclude?.(record.link)) !== false) replaces = record
        } catch (error) {
          return { kind: 'store_down', error }
        }
        continue
      }
    }
    waiting ??= waitingOf(c, route)
    // A run that this route does not know cannot be waited for: its lease is over, and its key is not free.
    const leftMs = record.leaseRemainingMs > 0 ? waiting.untilMs - deduplicator.monotonic() : 0
    const end = leftMs > 0 ? await deduplicator.wait(record, leftMs, c.req.raw.signal) : 'timeout'
    if (end !== 'changed') return { kind: 'answer', answer: applied(inFlight(c, route, record), waiting) }
  }
}

/**
 * Answers from memory leave together, once all that arrived with them has been taken. Each by itself would wake a client on this
 * machine, a proxy say, which costs several times as much as the rest of a replay.
 */
function together({ afterTurn }: Timers): Promise<void> | undefined {
  return afterTurn && new Promise(afterTurn)
}

/** How long a request waits, and what it is told of that. */
interface Waiting {
  readonly untilMs: number
  readonly appliedText: string | undefined
}

function waitingOf(c: Context, route: Route): Waiting {
  const preferredMs = preferredWaitMs(c.req.header('prefer'))
  const waitMs = preferredMs === undefined ? route.waitMs : Math.min(preferredMs, route.maxWaitMs)
  return {
    untilMs: route.deduplicator.monotonic() + waitMs,
    appliedText: preferredMs === undefined ? undefined : `wait=${waitMs / 1_000}`,
  }
}

function applied(answer: Response, { appliedText }: Waiting): Response {
  if (appliedText !== undefined) answer.headers.set('preference-applied', appliedText)
  return answer
}

/** What follows commits the claim in a unit of its own making; when that was refused, the winner's answer is given. */
async function joined(
  c: Context,
  next: Next,
  route: Route,
  identity: RequestIdentity,
  hold: KeyHold,
): Promise<Response | undefined> {
  c.set('idempotency', hold)
  await next()
  if (hold.claim.committed || c.res.status !== 409 || !isUnaccepted(await codeOfAnswer(c.res))) return
  const decided = await decideOrWait(c, route, identity)
  // Where the winner is gone again there is nothing to attach to: the client is told to come back.
  replace(c, decided.kind === 'answer' ? decided.answer : inFlight(c, route, undefined))
  return
}

async function codeOfAnswer(response: Response): Promise<string | undefined> {
  if (response.headers.get('content-type') !== 'application/problem+json') return undefined
  return codeOf(await response.clone().json())
}

/** The answer that was found out, or what the claim means: only `execute`, written out, lets its handler run again. */
async function lapsed(c: Context, route: Route, record: KeyRecord): Promise<Response | UnknownPolicy> {
  const { deduplicator, reconcile, onUnknown = 'resume' } = route
  const known = await reconcile?.(record, c)
  if (known === 'execute') return known
  if (known !== undefined) return deduplicator.settleFor(record, known)
  return typeof onUnknown === 'function' ? onUnknown(record, c) : onUnknown
}

function replayRequestOf(c: Context): ReplayRequest {
  return {
    acceptEncoding: c.req.header('accept-encoding'),
    authorised: c.req.header('authorization') !== undefined,
  }
}

async function replayed(c: Context, route: Route, record: CompletedRecord): Promise<Response> {
  const request = replayRequestOf(c)
  const whole = isInRun(record.response) ? await fromRun(route, record) : record
  const answer = whole && (replayResponse(whole, request) ?? (await replaySpilled(whole, request, route.spill)))
  if (answer === undefined) {
    const location = record.response.headers.find(([name]) => name.toLowerCase() === 'location')?.[1]
    return refuse(c, 'idempotency_response_unavailable', 'The request was answered, and its answer was not kept', {
      detail: `It was answered with ${record.response.status}`,
      retryable: false,
      safeToUseNewKey: false,
      ...(location === undefined ? {} : { headers: { location } }),
    })
  }
  route.deduplicator.tell('replayed', record.key)
  return answer
}

async function fromRun(route: Route, record: CompletedRecord): Promise<CompletedRecord | undefined> {
  const run = record.link === undefined ? undefined : await route.runs?.lookup(record.link)
  return run?.outcome === undefined ? undefined : { ...record, response: run.outcome }
}

function inFlight(c: Context, route: Route, record: KeyRecord | undefined): Response {
  const leaseMs = record?.leaseRemainingMs ?? 0
  const afterMs = Math.min(leaseMs === 0 ? 1_000 : leaseMs, route.latency.p95() ?? Number.POSITIVE_INFINITY)
  if (record !== undefined) route.deduplicator.tell('conflict', record.key)
  return refuse(c, 'idempotency_request_in_flight', 'A request with this key is under way', {
    retryable: true,
    safeToUseNewKey: false,
    headers: { 'retry-after': String(Math.max(1, Math.ceil(afterMs / 1_000))) },
  })
}

function outcomeUnknown(c: Context, route: Route, { key, fence }: KeyRecord, policy: UnknownPolicy): Response {
  route.deduplicator.tell('outcome_unknown', key, fence)
  const parked = policy === 'park'
  return refuse(c, 'idempotency_outcome_unknown', 'Whether this request ran is not known', {
    detail: parked
      ? 'Its owner ended without an answer; somebody is to decide what it means'
      : 'Its owner ended without an answer; look whether it happened before you send it under another key',
    retryable: parked,
    safeToUseNewKey: false,
    ...(parked ? { headers: { 'retry-after': '60' } } : {}),
  })
}

function reused(c: Context): Response {
  return refuse(c, 'idempotency_key_reused', 'This key was used with another request', {
    retryable: false,
    safeToUseNewKey: true,
  })
}

function unreadable(c: Context, route: Route, why: Extract<Identified, { refused: string }>['refused']): Response {
  if (why === 'too_large') {
    return refuse(c, 'body_too_large', `The body is longer than ${route.maxBodyBytes} bytes`, {
      retryable: false,
      headers: { connection: 'close' },
    })
  }
  if (why === 'too_deep') {
    return refuse(c, 'json_too_deep', `The body nests deeper than ${route.maxJsonDepth} levels`, { retryable: false })
  }
  if (why === 'not_spilled') {
    return refuse(c, 'idempotency_store_unavailable', 'The body could not be put by; nothing ran', {
      retryable: true,
      headers: { 'retry-after': '1' },
    })
  }
  return refuse(c, 'content_digest_invalid', 'This operation needs a Content-Digest with sha-256 (RFC 9530)', {
    retryable: false,
  })
}

/** Bad options and a secret that is not the stored keys' are not the client's concern: they are thrown. */
async function storeDown(c: Context, next: Next, route: Route, error: unknown): Promise<Response | undefined> {
  const code = codeOf(error)
  if (code === 'invalid_option' || code === 'secret_mismatch' || code === 'store_unsafe') throw error
  if (route.onStoreError === 'pass' && code !== 'store_full') {
    route.deduplicator.tell('fail_open', '')
    await next()
    mark(c, 'bypassed')
    return
  }
  return refuse(c, 'idempotency_store_unavailable', 'The key could not be looked up; nothing ran', {
    retryable: true,
    headers: { 'retry-after': '1' },
  })
}

function refuse(c: Context, code: DedupProblemCode, title: string, options: ProblemOptions): Response {
  const requestId: unknown = c.get('requestId')
  return problem(code, title, typeof requestId === 'string' ? { ...options, requestId } : options)
}
