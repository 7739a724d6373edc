import { EventError } from './errors.ts'

/** Where a listing goes on, and where it ends. */
export interface Place {
  readonly after: bigint
  readonly asOf: bigint
}

/** An opaque text for a place, good for the same filter only. */
export async function cursorOf({ after, asOf }: Place, secret: Uint8Array, filter: object): Promise<string> {
  const text = `${after}.${asOf}`
  return `${text}.${await signature(text, secret, filter)}`
}

/** The place of a cursor that this log made for this filter; anything else throws `invalid_cursor`. */
export async function readCursor(cursor: string, secret: Uint8Array, filter: object): Promise<Place> {
  const [, text = '', after, asOf, given] = /^((\d{1,20})\.(\d{1,20}))\.([0-9a-f]{32})$/.exec(cursor) ?? []
  if (after === undefined || asOf === undefined || given !== (await signature(text, secret, filter))) {
    throw new EventError('invalid_cursor', 'Expected `cursor` to be one that an earlier page of the same filter gave')
  }
  return { after: BigInt(after), asOf: BigInt(asOf) }
}

async function signature(text: string, secret: Uint8Array, filter: object): Promise<string> {
  const key = await crypto.subtle.importKey(
    'raw',
    secret as Uint8Array<ArrayBuffer>,
    { name: 'HMAC', hash: 'SHA-256' },
    false,
    ['sign'],
  )
  const bytes = await crypto.subtle.sign(
    'HMAC',
    key,
    new TextEncoder().encode(JSON.stringify([text, Object.entries(filter).sort()])),
  )
  return Array.from(new Uint8Array(bytes, 0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
