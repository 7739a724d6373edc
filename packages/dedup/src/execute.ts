import type { Context, Next } from 'hono'
import { type Captured, capture, headOf } from './capture.ts'
import type { Claim } from './claim.ts'
import { KeyHold } from './idempotency.ts'
import type { Route } from './options.ts'
import { endingCode, isKept, isUnaccepted } from './policy.ts'
import { problem } from './problem.ts'
import { exposedFields, isNoStore } from './replay.ts'
import type { DigestCheck } from './request-body.ts'
import { spillField } from './spill.ts'
import type { StoredResponse } from './store.ts'

/** How a claimed request is run. */
export interface Execution {
  readonly claim: Claim
  /** Whether the content was the key. */
  readonly byFingerprint: boolean
  readonly digest: DigestCheck | undefined
}

/** Runs the handler under a held claim and settles the key with what it answers. */
export async function execute(c: Context, next: Next, route: Route, execution: Execution): Promise<void> {
  const { deduplicator, latency } = route
  const { claim, digest } = execution
  const hold = new KeyHold(claim, deduplicator)
  c.set('idempotency', hold)
  const began = deduplicator.monotonic()
  try {
    await next()
  } catch (error) {
    // Whoever said that the effect happened leaves a key whose outcome is not known; it is not for a second execution.
    if (!claim.settled && hold.executed !== true) await deduplicator.letGo(claim)
    else deduplicator.abandon(claim)
    throw error
  }
  latency.add(deduplicator.monotonic() - began)
  if (digest !== undefined && !(await digest.holds())) {
    await deduplicator.letGo(claim)
    replace(
      c,
      problem('content_digest_invalid', 'The body is not what its Content-Digest declared', { retryable: false }),
    )
    return
  }
  const code = await endingCode(c.res, c.error)
  const ending = { status: c.res.status, code, executed: hold.executed }
  if (claim.settled) {
    if (isUnaccepted(code)) await deduplicator.letGo(claim)
    else deduplicator.abandon(claim)
    return
  }
  if (claim.answered) {
    await answeredByHandler(c, route, claim)
    return
  }
  if (!isKept(ending, route.record, route.onServerError)) {
    await deduplicator.letGo(claim)
    mark(c, 'released')
    return
  }
  await keep(c, route, execution)
}

/** A handler's own transaction has the answer, if it was committed; a key that is still under way afterwards is freed. */
async function answeredByHandler(c: Context, { deduplicator }: Route, claim: Claim): Promise<void> {
  const freed = await deduplicator.letGo(claim)
  mark(c, claim.lost ? 'superseded' : freed === 'ok' ? 'released' : freed === 'stale' ? 'stored' : 'unstored')
}

async function keep(c: Context, route: Route, { claim, byFingerprint }: Execution): Promise<void> {
  const { deduplicator, maxResponseBytes, spill } = route
  const settle = (stored: StoredResponse) => deduplicator.settle(claim, allowed(stored, route.replayHeaders))
  let captured: Captured
  try {
    captured = await capture(c.res, maxResponseBytes, {
      settle: async (stored) => void (await settle(stored)),
      // The answer broke off: whether its effect happened is known to nobody, and no part of it is replayed.
      failed: () => deduplicator.abandon(claim),
      // What is spilled is not sealed.
      spill: spill === undefined || isNoStore(headOf(c.res)) ? undefined : spill,
      timers: deduplicator.timers,
    })
  } catch (error) {
    deduplicator.abandon(claim)
    throw error
  }
  if (captured.kind === 'whole') {
    const kept = await settle(captured.stored)
    replace(c, captured.response)
    mark(c, kept === 'stored' && byFingerprint ? 'fingerprint' : kept)
    return
  }
  if (captured.kind === 'unkept') await settle({ ...headOf(c.res), body: undefined })
  else replace(c, captured.response)
  mark(c, captured.kind === 'unkept' ? 'unstored' : 'capturing')
}

function allowed(stored: StoredResponse, names: readonly string[] | undefined): StoredResponse {
  if (names === undefined) return stored
  const kept = new Set(['connection', spillField, ...names.map((name) => name.toLowerCase())])
  return { ...stored, headers: stored.headers.filter(([name]) => kept.has(name.toLowerCase())) }
}

/** Hono copies the fields of a response that is there onto the one that replaces it. */
export function replace(c: Context, response: Response): void {
  if (response === c.res) return
  c.res = undefined
  c.res = response
}

/** Says in the answer what became of its key. */
export function mark(c: Context, status: string): void {
  try {
    c.res.headers.set('idempotency-status', status)
  } catch {
    // The fields of a redirect, and of what `fetch` answers, cannot be changed.
    replace(c, new Response(c.res.body, c.res))
    c.res.headers.set('idempotency-status', status)
  }
  c.res.headers.append('access-control-expose-headers', exposedFields)
}
