/** A UUIDv7 (RFC 9562 §5.7): ids of later runs sort after those of earlier ones. */
export function newRunId(nowMs: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  for (let i = 0; i < 6; i++) bytes[i] = Math.floor(nowMs / 2 ** (8 * (5 - i)))
  bytes[6] = (bytes[6]! & 0x0f) | 0x70
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  let id = ''
  for (let i = 0; i < 16; i++) id += (i === 4 || i === 6 || i === 8 || i === 10 ? '-' : '') + hex[bytes[i]!]
  return id
}

const hex = Array.from({ length: 256 }, (_, n) => n.toString(16).padStart(2, '0'))
