import { joinBytes } from './bytes.ts'

type OneShot = (algorithm: 'sha256', data: Uint8Array, encoding: 'buffer') => Uint8Array
let native: OneShot | false | undefined

/**
 * SHA-256 over the chunks, one after the other, at once: WebCrypto answers in a later turn, in which another append could take the
 * place in the chain. The runtime's own where it has one (Node, Bun, Deno), else {@link portableSha256}.
 */
export function sha256(...chunks: readonly Uint8Array[]): Uint8Array {
  const data = chunks.length === 1 ? chunks[0]! : joinBytes(...chunks)
  native ??= nativeSha256() ?? false
  return native === false ? portableSha256(data) : native('sha256', data, 'buffer')
}

function nativeSha256(): OneShot | undefined {
  const { process } = globalThis as {
    readonly process?: { getBuiltinModule?(name: string): { readonly hash?: OneShot } | undefined }
  }
  return process?.getBuiltinModule?.('node:crypto')?.hash
}

/** HMAC-SHA-256 (RFC 2104), at once. */
export function hmacSha256(key: Uint8Array, data: Uint8Array): Uint8Array {
  const block = new Uint8Array(64)
  block.set(key.length > 64 ? sha256(key) : key)
  const inner = sha256(
    block.map((byte) => byte ^ 0x36),
    data,
  )
  return sha256(
    block.map((byte) => byte ^ 0x5c),
    inner,
  )
}

const roundConstants = constants(64, 1 / 3)
const initialState = constants(8, 1 / 2)

/** The first 32 bits of the fractional parts of a root of the first primes (FIPS 180-4 §4.2.2, §5.3.3). */
function constants(count: number, power: number): Uint32Array {
  const found: number[] = []
  for (let n = 2; found.length < count; n++) {
    let prime = true
    for (let d = 2; d * d <= n; d++) if (n % d === 0) prime = false
    if (prime) found.push((n ** power % 1) * 2 ** 32)
  }
  return Uint32Array.from(found)
}

/** SHA-256 in plain arithmetic (FIPS 180-4 §6.2). */
export function portableSha256(data: Uint8Array): Uint8Array {
  const length = (data.length + 72) & ~63
  const padded = new Uint8Array(length)
  padded.set(data)
  padded[data.length] = 0x80
  const view = new DataView(padded.buffer)
  view.setUint32(length - 8, Math.floor(data.length / 2 ** 29))
  view.setUint32(length - 4, data.length << 3)
  const state = Uint32Array.from(initialState)
  const w = new Uint32Array(64)
  for (let offset = 0; offset < length; offset += 64) {
    for (let i = 0; i < 16; i++) w[i] = view.getUint32(offset + 4 * i)
    for (let i = 16; i < 64; i++) {
      const a = w[i - 15]!
      const b = w[i - 2]!
      w[i] =
        w[i - 16]! +
        (rotated(a, 7) ^ rotated(a, 18) ^ (a >>> 3)) +
        w[i - 7]! +
        (rotated(b, 17) ^ rotated(b, 19) ^ (b >>> 10))
    }
    let [a, b, c, d, e, f, g, h] = state as unknown as [number, number, number, number, number, number, number, number]
    for (let i = 0; i < 64; i++) {
      const s1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)
      const first = (h + s1 + ((e & f) ^ (~e & g)) + roundConstants[i]! + w[i]!) | 0
      const s0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)
      const second = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0
      h = g
      g = f
      f = e
      e = (d + first) | 0
      d = c
      c = b
      b = a
      a = (first + second) | 0
    }
    ;[a, b, c, d, e, f, g, h].forEach((word, i) => {
      state[i] = state[i]! + word
    })
  }
  const digest = new Uint8Array(32)
  const out = new DataView(digest.buffer)
  state.forEach((word, i) => {
    out.setUint32(4 * i, word)
  })
  return digest
}

function rotated(word: number, bits: number): number {
  return (word >>> bits) | (word << (32 - bits))
}
