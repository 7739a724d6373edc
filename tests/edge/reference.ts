/** One request as a strict reader of RFC 9112 sees it. */
export interface ReadRequest {
  readonly method: string
  readonly target: string
  readonly bodyBytes: number
  /** Where it ends in the bytes of its connection. */
  readonly end: number
}

/** What a strict reader makes of all bytes of a connection. */
export interface Reading {
  readonly requests: readonly ReadRequest[]
  /** Where it stopped: at the end, behind the last request of a connection, or at the message that it does not take. */
  readonly stopped: number
  /** The message at which it stopped began with a head that is in order: it may be answered before its body is there. */
  readonly begun: boolean
}

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const maxDigits = 15

/**
 * Reads the requests of a connection by the letter of RFC 9112 and stops at the first deviation, where nothing behind may be
 * taken for a request. Slow and simple on purpose: it is the judge of the server's reader.
 */
export function read(bytes: string): Reading {
  const requests: ReadRequest[] = []
  let at = 0
  for (;;) {
    // RFC 9112 §2.2: empty lines in front are passed over.
    while (bytes[at] === '\r' || bytes[at] === '\n') at++
    const start = at
    const headEnd = bytes.indexOf('\r\n\r\n', at)
    if (headEnd < 0) return { requests, stopped: start, begun: false }
    const [requestLine = '', ...lines] = bytes.slice(at, headEnd).split('\r\n')
    // RFC 9112 §3 lets a reader take several spaces for one, as Node's does.
    const [, method, target, minor] = /^([!-~]+) +([!-~]+) +HTTP\/1\.([01])$/.exec(requestLine) ?? []
    const fields = lines.map(fieldOf)
    if (method === undefined || target === undefined || !token.test(method) || fields.includes(undefined))
      return { requests, stopped: start, begun: false }
    const all = (name: string) => fields.flatMap((field) => (field?.name === name ? [field.value] : []))
    const codings = all('transfer-encoding')
    const lengths = all('content-length')
    const hosts = all('host')
    const connection = all('connection')
      .join(',')
      .toLowerCase()
      .split(',')
      .map((option) => option.trim())
    const framed =
      method !== 'CONNECT' &&
      (hosts.length === 1 || (hosts.length === 0 && minor === '0')) &&
      (codings.length === 0
        ? lengths.length === 0 ||
          (lengths.length === 1 && /^\d+$/.test(lengths[0]!) && lengths[0]!.replace(/^0+/, '').length <= maxDigits)
        : lengths.length === 0 && minor === '1' && codings.length === 1 && codings[0]!.toLowerCase() === 'chunked')
    if (!framed) return { requests, stopped: start, begun: false }
    const body = codings.length === 0 ? sized(bytes, headEnd + 4, Number(lengths[0] ?? 0)) : chunked(bytes, headEnd + 4)
    if (body === undefined) return { requests, stopped: start, begun: true }
    at = body.end
    requests.push({ method, target, bodyBytes: body.bytes, end: at })
    const last = connection.includes('close') || (minor === '0' && !connection.includes('keep-alive'))
    if (last || at === bytes.length) return { requests, stopped: at, begun: false }
  }
}

function fieldOf(line: string): { readonly name: string; readonly value: string } | undefined {
  const colon = line.indexOf(':')
  const name = line.slice(0, colon)
  const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '')
  if (colon < 1 || !token.test(name) || !/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) return undefined
  return { name: name.toLowerCase(), value }
}

interface Body {
  readonly bytes: number
  readonly end: number
}

function sized(bytes: string, from: number, length: number): Body | undefined {
  return from + length <= bytes.length ? { bytes: length, end: from + length } : undefined
}

function chunked(bytes: string, from: number): Body | undefined {
  let at = from
  let total = 0
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd < 0) return undefined
    const [, size] = /^([0-9A-Fa-f]+)(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?$/.exec(bytes.slice(at, lineEnd)) ?? []
    if (size === undefined || size.replace(/^0+/, '').length > 7) return undefined
    const length = Number.parseInt(size, 16)
    at = lineEnd + 2
    if (length === 0) break
    if (!bytes.startsWith('\r\n', at + length)) return undefined
    total += length
    at += length + 2
  }
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd < 0) return undefined
    if (lineEnd === at) return { bytes: total, end: at + 2 }
    if (fieldOf(bytes.slice(at, lineEnd)) === undefined) return undefined
    at = lineEnd + 2
  }
}
