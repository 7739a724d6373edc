const constants = new Uint32Array(64)
const initial = new Uint32Array(8)

/** The first bits of the fractional parts of the roots of the first primes (FIPS 180-4 §4.2.2, §5.3.3). */
function tables(): void {
  let found = 0
  for (let candidate = 2; found < 64; candidate++) {
    let prime = true
    for (let divisor = 2; divisor * divisor <= candidate; divisor++) if (candidate % divisor === 0) prime = false
    if (!prime) continue
    if (found < 8) initial[found] = (candidate ** (1 / 2) % 1) * 4_294_967_296
    constants[found++] = (candidate ** (1 / 3) % 1) * 4_294_967_296
  }
}
tables()

/** SHA-256 over chunks as they come, which `crypto.subtle` cannot do. */
export class Sha256 {
  readonly #state: Uint32Array = initial.slice()
  readonly #block = new Uint8Array(64)
  readonly #words = new Uint32Array(64)
  #filled = 0
  #length = 0

  update(chunk: Uint8Array): this {
    this.#length += chunk.length
    let at = 0
    while (at < chunk.length) {
      const taken = Math.min(64 - this.#filled, chunk.length - at)
      this.#block.set(chunk.subarray(at, at + taken), this.#filled)
      this.#filled += taken
      at += taken
      if (this.#filled === 64) this.#compress()
    }
    return this
  }

  digest(): Uint8Array {
    const bits = this.#length * 8
    this.update(Uint8Array.of(0x80))
    while (this.#filled !== 56) this.update(Uint8Array.of(0))
    const length = new Uint8Array(8)
    const view = new DataView(length.buffer)
    view.setUint32(0, Math.floor(bits / 4_294_967_296))
    view.setUint32(4, bits >>> 0)
    this.update(length)
    const digest = new Uint8Array(32)
    const out = new DataView(digest.buffer)
    for (let i = 0; i < 8; i++) out.setUint32(i * 4, this.#state[i]!)
    return digest
  }

  #compress(): void {
    const w = this.#words
    const view = new DataView(this.#block.buffer)
    for (let i = 0; i < 16; i++) w[i] = view.getUint32(i * 4)
    for (let i = 16; i < 64; i++) {
      const x = w[i - 15]!
      const y = w[i - 2]!
      const s0 = rotated(x, 7) ^ rotated(x, 18) ^ (x >>> 3)
      const s1 = rotated(y, 17) ^ rotated(y, 19) ^ (y >>> 10)
      w[i] = w[i - 16]! + s0 + w[i - 7]! + s1
    }
    let [a, b, c, d, e, f, g, h] = this.#state as unknown as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ]
    for (let i = 0; i < 64; i++) {
      const t1 =
        (h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) + constants[i]! + w[i]!) | 0
      const t2 = ((rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0
      h = g
      g = f
      f = e
      e = (d + t1) | 0
      d = c
      c = b
      b = a
      a = (t1 + t2) | 0
    }
    const state = this.#state
    const added = [a, b, c, d, e, f, g, h]
    for (let i = 0; i < 8; i++) state[i] = state[i]! + added[i]!
    this.#filled = 0
  }
}

function rotated(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by))
}
