import type { Keyring } from '@gw/checkpoint/sealed'

const [encoder, decoder] = [new TextEncoder(), new TextDecoder()]
const placeBytes = 4
const byKeyring = 2

/** Subjects' keys in a simulation: what they hide cannot be read as it lies there, and opens only where it belongs. */
export const simKeyring: Keyring = {
  async encrypt(subject, bytes, aad) {
    const sealed = new Uint8Array(placeBytes + bytes.length)
    new DataView(sealed.buffer).setUint32(0, placeOf(subject, aad))
    sealed.set(hidden(bytes), placeBytes)
    return sealed
  },
  async decrypt(subject, bytes, aad) {
    if (new DataView(bytes.buffer, bytes.byteOffset).getUint32(0) !== placeOf(subject, aad))
      throw Object.assign(new Error('The payload belongs somewhere else'), { code: 'seal_broken' })
    return hidden(bytes.subarray(placeBytes))
  },
  async erase() {
    return 0
  },
}

/** Whether the bytes are in an envelope of `@gw/checkpoint` that a subject's key closes. */
export function isSealed(value: string | Uint8Array): boolean {
  return typeof value !== 'string' && decoder.decode(value.subarray(0, 4)) === 'GWSL' && value[6] === byKeyring
}

/** The body inside a sealed answer. */
export function openBody(envelope: Uint8Array): Uint8Array {
  const content = envelope.subarray(9 + (envelope[7]! << 8) + envelope[8]!)
  const framed = hidden(content.subarray(placeBytes))
  return framed.subarray(4 + new DataView(framed.buffer, framed.byteOffset).getUint32(0))
}

function hidden(bytes: Uint8Array): Uint8Array {
  return bytes.map((byte) => byte ^ 0xa5)
}

/** FNV-1a. */
function placeOf(subject: string, aad: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of [...encoder.encode(subject), ...aad]) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}
