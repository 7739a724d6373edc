import type { MiddlewareHandler } from 'hono'

/**
 * Nothing from elsewhere, nothing inline, no frame around a page, and no text that becomes HTML but through the one policy of the module.
 * `Referrer-Policy` keeps `Origin` on the forms, which is how a change is known to come from here.
 */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  'trusted-types gw',
].join('; ')

/** The header fields of every page. */
export function pageHeaders(): MiddlewareHandler {
  return async function pageHeaders(c, next) {
    await next()
    const { headers } = c.res
    headers.set('content-security-policy', policy)
    headers.set('x-content-type-options', 'nosniff')
    headers.set('referrer-policy', 'same-origin')
    headers.set('cross-origin-opener-policy', 'same-origin')
    headers.set('cross-origin-resource-policy', 'same-origin')
    headers.set('permissions-policy', 'camera=(), geolocation=(), microphone=()')
    if (!headers.has('cache-control')) headers.set('cache-control', 'no-store')
  }
}
