/** The two functions that keys are made with; a runtime with synchronous ones may bring them. */
export interface DedupCrypto {
  hmacSha256(secret: Uint8Array, ...chunks: readonly Uint8Array[]): Uint8Array | Promise<Uint8Array>
  sha256(...chunks: readonly Uint8Array[]): Uint8Array | Promise<Uint8Array>
}

const keys = new WeakMap<Uint8Array, Promise<CryptoKey>>()

/** The same on `crypto.subtle`, for every runtime. */
export const webCrypto: DedupCrypto = {
  async hmacSha256(secret, ...chunks) {
    let key = keys.get(secret)
    if (key === undefined) {
      key = crypto.subtle.importKey(
        'raw',
        secret as Uint8Array<ArrayBuffer>,
        { name: 'HMAC', hash: 'SHA-256' },
        false,
        ['sign'],
      )
      keys.set(secret, key)
    }
    return new Uint8Array(await crypto.subtle.sign('HMAC', await key, joined(chunks)))
  },
  async sha256(...chunks) {
    return new Uint8Array(await crypto.subtle.digest('SHA-256', joined(chunks)))
  },
}

const encoder = new TextEncoder()

/** Texts each preceded by its length, so that no two lists run together alike. */
export function lengthPrefixed(parts: readonly string[]): Uint8Array {
  let text = ''
  for (const part of parts) text += `${part.length}:${part}`
  return encoder.encode(text)
}

const hex = Array.from({ length: 256 }, (_, n) => n.toString(16).padStart(2, '0'))

/** Bytes in lower-case hex. */
export function hexOf(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += hex[byte]
  return text
}

function joined(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(chunks.reduce((length, chunk) => length + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}
