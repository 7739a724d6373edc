const digits = Array.from({ length: 256 }, (_, n) => n.toString(16).padStart(2, '0'))

/** Two digits a byte, as PostgreSQL's `decode(…, 'hex')` reads them. */
export function hexOf(bytes: Uint8Array): string {
  let text = ''
  for (let i = 0; i < bytes.length; i++) text += digits[bytes[i]!]
  return text
}

/** The bytes of a column without what a driver adds to their class. */
export function bytesOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
