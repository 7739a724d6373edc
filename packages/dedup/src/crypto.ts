type Maybe<Value> = Value | Promise<Value>

/**
 * What keys are made with and answers are sealed with. Synchronous functions save a turn of the event loop each, and are needed
 * by whoever settles keys with `completeIn`: `@gw/dedup/node` has them for Node, Bun and Deno.
 */
export interface DedupCrypto {
  hmacSha256(secret: Uint8Array, ...chunks: readonly Uint8Array[]): Maybe<Uint8Array>
  sha256(...chunks: readonly Uint8Array[]): Maybe<Uint8Array>
  /** AES-256-GCM: a random nonce of 12 bytes, the ciphertext, and the tag of 16. */
  seal(key: Uint8Array, plain: Uint8Array, additional: Uint8Array): Maybe<Uint8Array>
  /** The reverse; throws or rejects when a byte, the key or `additional` is another. */
  open(key: Uint8Array, sealed: Uint8Array, additional: Uint8Array): Maybe<Uint8Array>
}

const hmacKeys = new WeakMap<Uint8Array, Promise<CryptoKey>>()
const sealKeys = new WeakMap<Uint8Array, Promise<CryptoKey>>()

/** The same on `crypto.subtle`, for every runtime. */
export const webCrypto: DedupCrypto = {
  async hmacSha256(secret, ...chunks) {
    let key = hmacKeys.get(secret)
    if (key === undefined) {
      key = crypto.subtle.importKey('raw', plainBytes(secret), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
      hmacKeys.set(secret, key)
    }
    return new Uint8Array(await crypto.subtle.sign('HMAC', await key, joined(chunks)))
  },
  async sha256(...chunks) {
    return new Uint8Array(await crypto.subtle.digest('SHA-256', joined(chunks)))
  },
  async seal(key, plain, additional) {
    const iv = crypto.getRandomValues(new Uint8Array(12))
    const parameters = { name: 'AES-GCM', iv, additionalData: plainBytes(additional) }
    const sealed = await crypto.subtle.encrypt(parameters, await sealKey(key), plainBytes(plain))
    return joined([iv, new Uint8Array(sealed)])
  },
  async open(key, sealed, additional) {
    const parameters = {
      name: 'AES-GCM',
      iv: plainBytes(sealed.subarray(0, 12)),
      additionalData: plainBytes(additional),
    }
    return new Uint8Array(await crypto.subtle.decrypt(parameters, await sealKey(key), plainBytes(sealed.subarray(12))))
  },
}

function sealKey(bytes: Uint8Array): Promise<CryptoKey> {
  let key = sealKeys.get(bytes)
  if (key === undefined) {
    key = crypto.subtle.importKey('raw', plainBytes(bytes), 'AES-GCM', false, ['encrypt', 'decrypt'])
    sealKeys.set(bytes, key)
  }
  return key
}

/** The DOM's types ask for bytes that are not shared between threads; nothing here shares any. */
function plainBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes as Uint8Array<ArrayBuffer>
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

/** The bytes that a text in hex stands for. */
export function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length >> 1)
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(i * 2, i * 2 + 2), 16)
  return bytes
}

/** Chunks in one piece. */
export function joined(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  if (chunks.length === 1) return plainBytes(chunks[0]!)
  const bytes = new Uint8Array(chunks.reduce((length, chunk) => length + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}
