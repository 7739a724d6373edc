import { type DedupCrypto, hexOf, lengthPrefixed } from './crypto.ts'

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/**
 * What makes two multipart bodies the same: each part's name, file name, type and SHA-256, in order, whatever the boundary.
 * `undefined` when the body is not well-formed `multipart/form-data` (RFC 7578).
 */
export async function multipartDigestInput(
  crypto: DedupCrypto,
  body: Uint8Array,
  contentType: string,
): Promise<Uint8Array | undefined> {
  const boundary = boundaryOf(contentType)
  if (boundary === undefined) return undefined
  const delimiter = encoder.encode(`--${boundary}`)
  const described: string[] = []
  let at = indexOf(body, delimiter, 0)
  if (at !== 0) return undefined
  for (;;) {
    let start = at + delimiter.length
    if (body[start] === 0x2d && body[start + 1] === 0x2d) return lengthPrefixed(['multipart', ...described])
    if (body[start] !== 0x0d || body[start + 1] !== 0x0a) return undefined
    start += 2
    const next = indexOf(body, encoder.encode(`\r\n--${boundary}`), start - 2)
    if (next === -1) return undefined
    const headEnd = body[start] === 0x0d && body[start + 1] === 0x0a ? start - 2 : indexOf(body, blankLine, start)
    if (headEnd === -1 || headEnd > next) return undefined
    const head = fieldsOf(decoder.decode(body.subarray(start, Math.max(start, headEnd))))
    const content = body.subarray(headEnd + 4, next)
    const disposition = head.get('content-disposition') ?? ''
    const name = parameterOf(disposition, 'name')
    if (name === undefined) return undefined
    const extended = parameterOf(disposition, 'filename\\*')
    described.push(
      name,
      (parameterOf(disposition, 'filename') ?? '') + (extended === undefined ? '' : `*=${extended}`),
      (head.get('content-type') ?? '').toLowerCase(),
      hexOf(await crypto.sha256(content)),
    )
    at = next + 2
  }
}

const blankLine = encoder.encode('\r\n\r\n')

function boundaryOf(contentType: string): string | undefined {
  const match = /;\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))/i.exec(contentType)
  return match?.[1] ?? match?.[2]
}

function fieldsOf(head: string): Map<string, string> {
  const fields = new Map<string, string>()
  for (const line of head.split('\r\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) fields.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim())
  }
  return fields
}

function parameterOf(disposition: string, name: string): string | undefined {
  const match = new RegExp(`;\\s*${name}=(?:"((?:[^"\\\\]|\\\\.)*)"|([^\\s;"]+))`, 'i').exec(disposition)
  return match?.[1] ?? match?.[2]
}

function indexOf(bytes: Uint8Array, sought: Uint8Array, from: number): number {
  const first = sought[0]!
  for (let at = bytes.indexOf(first, from); at !== -1; at = bytes.indexOf(first, at + 1)) {
    let same = 1
    while (same < sought.length && bytes[at + same] === sought[same]) same++
    if (same === sought.length) return at
  }
  return -1
}
