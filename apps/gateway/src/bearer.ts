import { createHash, timingSafeEqual } from 'node:crypto'

/** The token of an `Authorization: Bearer` field (RFC 6750 §2.1), if it has that form. */
export function bearerOf(authorization: string | undefined): string | undefined {
  return authorization === undefined ? undefined : /^Bearer ([A-Za-z0-9._~+/=-]+)$/i.exec(authorization)?.[1]
}

/** Compares in constant time, whatever the lengths: the digests are compared. */
export function sameToken(given: string, expected: string): boolean {
  return timingSafeEqual(createHash('sha256').update(given).digest(), createHash('sha256').update(expected).digest())
}
