import type { Context } from 'hono'
import { lengthPrefixed } from './crypto.ts'
import type { RequestIdentity } from './deduplicator.ts'
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
  | { readonly refused: 'too_large' | 'too_deep' | 'digest_missing' }

/** Reads a request's body as its route says and makes its storage key and fingerprint; `key` is absent where the content is the key. */
export async function identify(c: Context, route: Route, key: string | undefined): Promise<Identified> {
  const { deduplicator, compare, maxBodyBytes, spill } = route
  const contentType = c.req.header('content-type')
  const media = mediaTypeOf(contentType)
  let body: Uint8Array
  let digest: DigestCheck | undefined
  let spilled: string | undefined
  if (compare === 'digest') {
    const declared = declaredDigest(c.req.header('content-digest'))
    if (declared === undefined) return { refused: 'digest_missing' }
    digest = checkDigest(c, declared)
    body = declared
  } else if (route.onLargeBody === 'spill' && spill !== undefined && mayBeLarge(c, maxBodyBytes)) {
    spilled = spillName()
    body = await spilledBody(c, spill, spilled)
  } else {
    const bounded = await boundedBody(c, maxBodyBytes)
    if (bounded === 'too_large') return { refused: 'too_large' }
    const compared = comparedBody(
      deduplicator.crypto,
      bounded,
      contentType,
      compare ?? comparisonFor(media),
      route.maxJsonDepth,
    )
    const settled = compared instanceof Promise ? await compared : compared
    if (settled === 'too_deep') return { refused: 'too_deep' }
    body = settled
  }
  return { identity: await identityOf(c, route, key, media, body), digest, spilled }
}

/** Whether a body is, or for want of a declared length may be, longer than memory is given for it. */
function mayBeLarge(c: Context, maxBytes: number): boolean {
  const declared = c.req.header('content-length')
  return declared === undefined || Number(declared) > maxBytes
}

async function identityOf(
  c: Context,
  route: Route,
  key: string | undefined,
  media: string,
  body: Uint8Array,
): Promise<RequestIdentity> {
  const { deduplicator, windowMs, leaseMs, vary } = route
  const { method } = c.req
  // A store that cannot be opened fails here, once, and not in each of the digests below.
  if (!deduplicator.ready) await deduplicator.start()
  const principal = route.scope === 'global' ? '' : (route.principal?.(c) ?? 'anonymous')
  const tenant = route.tenant?.(c) ?? ''
  const described = [method, rawTarget(c.req.url), media]
  if (vary !== undefined) for (const name of vary) described.push(name.toLowerCase(), c.req.header(name) ?? '')
  const fingerprint = deduplicator.digest(lengthPrefixed(described), body)
  const whose = { tenant, principal }
  const principalHash = deduplicator.principalHash(whose)
  // Each of these is a promise only where the crypto is asynchronous: no turn of the event loop is spent otherwise.
  const printed = typeof fingerprint === 'string' ? fingerprint : await fingerprint
  const storageKey = deduplicator.storageKey(
    { tenant, principal, method, path: routePattern(c) },
    key ?? `fingerprint ${printed}`,
  )
  return {
    key: typeof storageKey === 'string' ? storageKey : await storageKey,
    fingerprint: printed,
    principalHash: typeof principalHash === 'string' ? principalHash : await principalHash,
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
