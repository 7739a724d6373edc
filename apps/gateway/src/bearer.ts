import { createHash, timingSafeEqual } from 'node:crypto'

/** What a token may be: anything else cannot be sent in the field (RFC 6750 §2.1). */
export const bearerToken = /^[A-Za-z0-9._~+/-]+=*$/

export const bearerTokenExpected = 'expected letters, digits and ._~+/-, as a bearer token has them'

/** The token of an `Authorization: Bearer` field (RFC 6750 §2.1), if it has that form. */
export function bearerOf(authorization: string | undefined): string | undefined {
  const token = authorization === undefined ? undefined : /^Bearer (\S+)$/i.exec(authorization)?.[1]
  return token !== undefined && bearerToken.test(token) ? token : undefined
}

/** Compares in constant time, whatever the lengths: the digests are compared. */
export function sameToken(given: string, expected: string): boolean {
  return timingSafeEqual(createHash('sha256').update(given).digest(), createHash('sha256').update(expected).digest())
}
