import type { Context } from 'hono'
import type { RequestIdentity } from './decision.ts'
import { comparedBody, comparisonFor, mediaTypeOf } from './fingerprint.ts'
import type { Route } from './options.ts'
import { boundedBody, checkDigest, type DigestCheck, declaredDigest, spilledBody } from './request-body.ts'
import { spillName } from './spill.ts'

/** What a request is known by, or why that cannot be said. */
export type Identified =
  | {
      readonly identity: RequestIdentity
      readonly digest: DigestCheck | undefined
      /** The name of a spilled request body, to be deleted afterwards. */
      readonly spilled: string | undefined
    }
  | { readonly refused: 'too_large' | 'too_deep' | 'digest_missing' | 'not_spilled' }

/** Reads a request's body as its route says and makes its storage key and fingerprint; `key` is absent where the content is the key. */
export async function identify(c: Context, route: Route, key: string | undefined): Promise<Identified> {
  const { deduplicator, compare, maxBodyBytes, spill, memo } = route
  const contentType = c.req.header('content-type')
  const who = whoOf(c, route)
  if (compare === 'digest') {
    const declared = declaredDigest(c.req.header('content-digest'))
    if (declared === undefined) return { refused: 'digest_missing' }
    const digest = checkDigest(c, declared)
    return { identity: await identityOf(c, route, who, key, contentType, declared), digest, spilled: undefined }
  }
  if (route.onLargeBody === 'spill' && spill !== undefined && mayBeLarge(c, maxBodyBytes)) {
    const spilled = spillName()
    let body: Uint8Array
    try {
      body = await spilledBody(c, spill, spilled)
    } catch {
      return { refused: 'not_spilled' }
    }
    return { identity: await identityOf(c, route, who, key, contentType, body), digest: undefined, spilled }
  }
  const body = await boundedBody(c, maxBodyBytes)
  if (body === 'too_large') return { refused: 'too_large' }
  const target = targetOf(c, route, contentType)
  const name = key === undefined ? undefined : nameOf(who, key)
  const remembered = name === undefined ? undefined : memo.get(name, target, body)
  if (remembered !== undefined) return { identity: remembered, digest: undefined, spilled: undefined }
  const mode = compare ?? comparisonFor(mediaTypeOf(contentType))
  const compared = await comparedBody(deduplicator.crypto, body, contentType, mode, route.maxJsonDepth)
  if (compared === 'too_deep') return { refused: 'too_deep' }
  const identity = await identityOf(c, route, who, key, contentType, compared)
  if (name !== undefined) memo.set(name, target, body, identity)
  return { identity, digest: undefined, spilled: undefined }
}

/** Whether a body is, or for want of a declared length may be, longer than memory is given for it. */
function mayBeLarge(c: Context, maxBytes: number): boolean {
  const declared = c.req.header('content-length')
  return declared === undefined || Number(declared) > maxBytes
}

interface Who {
  readonly tenant: string
  readonly principal: string
  readonly method: string
  readonly path: string
}

function whoOf(c: Context, route: Route): Who {
  const principal = route.scope === 'global' ? '' : (route.principal?.(c) ?? 'anonymous')
  return { tenant: route.tenant?.(c) ?? '', principal, method: c.req.method, path: routePattern(c) }
}

function nameOf({ tenant, principal, method, path }: Who, key: string): string {
  return `${tenant.length}:${tenant}${principal.length}:${principal}${method} ${path.length}:${path}${key}`
}

/** Everything but the body that makes two requests different, each part with its length. */
function targetOf(c: Context, { vary }: Route, contentType: string | undefined): string {
  const media = mediaTypeOf(contentType)
  const raw = rawTarget(c.req.url)
  let text = `${c.req.method} ${raw.length}:${raw}${media.length}:${media}`
  if (vary !== undefined) {
    for (const name of vary) {
      const value = c.req.header(name)
      text += value === undefined ? '-' : `${value.length}:${value}`
    }
  }
  return text
}

const encoder = new TextEncoder()

async function identityOf(
  c: Context,
  route: Route,
  who: Who,
  key: string | undefined,
  contentType: string | undefined,
  body: Uint8Array,
): Promise<RequestIdentity> {
  const { deduplicator, windowMs, leaseMs } = route
  const fingerprint = await deduplicator.digest(encoder.encode(targetOf(c, route, contentType)), body)
  return {
    key: await deduplicator.storageKey(who, key ?? `fingerprint ${fingerprint}`),
    fingerprint,
    principalHash: await deduplicator.principalHash(who),
    ...(key === undefined ? { windowMs: route.fingerprintWindowMs } : windowMs === undefined ? {} : { windowMs }),
    ...(leaseMs === undefined ? {} : { leaseMs }),
  }
}

/** Path and query as they were sent, without decoding. */
function rawTarget(url: string): string {
  const path = url.indexOf('/', url.indexOf('://') + 3)
  if (path === -1) return '/'
  const fragment = url.indexOf('#', path)
  return fragment === -1 ? url.slice(path) : url.slice(path, fragment)
}

/** The pattern of the route that answers, also where this middleware stands on a pattern of its own. */
function routePattern(c: Context): string {
  const { routePath } = c.req
  return routePath.includes('*') ? (c.req.matchedRoutes.at(-1)?.path ?? routePath) : routePath
}
