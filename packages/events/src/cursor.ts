import { bytesOf, hexOf, sameBytes } from './bytes.ts'
import { EventError } from './errors.ts'
import { hmacSha256 } from './sha256.ts'

/** Where a listing goes on, and where it ends. */
export interface Place {
  readonly after: bigint
  readonly asOf: bigint
}

/** An opaque text for a place, good for the same filter only. */
export function cursorOf({ after, asOf }: Place, secret: Uint8Array, filter: object): string {
  const text = `${after}.${asOf}`
  return `${text}.${signature(text, secret, filter)}`
}

/** The place of a cursor that this log made for this filter; anything else throws `invalid_cursor`. */
export function readCursor(cursor: string, secret: Uint8Array, filter: object): Place {
  const [, text = '', after, asOf, given = ''] = /^((\d{1,40})\.(\d{1,40}))\.([0-9a-f]{32})$/.exec(cursor) ?? []
  if (
    after === undefined ||
    asOf === undefined ||
    !sameBytes(bytesOf(given), bytesOf(signature(text, secret, filter)))
  ) {
    throw new EventError('invalid_cursor', 'Expected `cursor` to be one that an earlier page of the same filter gave')
  }
  return { after: BigInt(after), asOf: BigInt(asOf) }
}

function signature(text: string, secret: Uint8Array, filter: object): string {
  return hexOf(hmacSha256(secret, bytesOf(JSON.stringify([text, Object.entries(filter).sort()]))).subarray(0, 16))
}
