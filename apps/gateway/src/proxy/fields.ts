/** Fields that concern one connection only and are never passed on (RFC 9110 §7.6.1). */
const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
])

/** Fields that a client may not have taken away by naming them in `Connection`. */
const protectedNames =
  /^(?:host|content-length|authorization|cookie|idempotency-key|forwarded|x-forwarded-.*|x-real-ip|via|traceparent|tracestate|x-request-id)$/

/** Who is in front of us, told to the upstream; a client's own word on it is believed only where its peer is trusted. */
const provenance = /^(?:forwarded|x-forwarded-.*|x-real-ip)$/

/** What is known of the client besides what it sent. */
export interface ClientSide {
  readonly address: string
  readonly protocol: 'http' | 'https'
  /** The peer is a proxy of ours, whose word on the client counts. */
  readonly trusted: boolean
  readonly requestId: string
  /** The trace as it goes on from here; `undefined` leaves the client's as it is. */
  readonly traceparent: string | undefined
}

/** A list of fields as Node gives and takes them: name, value, name, value. */
export type RawFields = readonly string[]

/** Fields ready to be sent on, or the reason why the request is refused. */
export type ForwardFields =
  | { readonly fields: string[]; readonly host: string }
  | { readonly status: 400 | 508; readonly code: string; readonly title: string }

/**
 * The fields that go to the upstream: those of the client without what concerns its connection to us (RFC 9110 §7.6.1), with `Via`
 * and the client's address added. A request that has been here before is a loop.
 */
export function requestFields(raw: RawFields, client: ClientSide, viaName: string): ForwardFields {
  const named = new Set<string>()
  let host = ''
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase()
    if (name === 'host') host = raw[i + 1]!
    if (name !== 'connection') continue
    for (const token of tokensOf(raw[i + 1]!)) {
      if (protectedNames.test(token)) {
        return { status: 400, code: 'connection_field_protected', title: `Connection may not name ${token}` }
      }
      named.add(token)
    }
  }
  const fields: string[] = []
  const via: string[] = []
  const forwardedFor: string[] = []
  const forwarded: string[] = []
  let outerHost: string | undefined
  let outerProtocol: string | undefined
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase()
    const value = raw[i + 1]!
    if (name === 'te' && tokensOf(value).includes('trailers')) fields.push('te', 'trailers')
    if (name === 'host' || name === 'x-request-id' || hopByHop.has(name) || named.has(name)) continue
    if (name === 'traceparent' && client.traceparent !== undefined) continue
    if (name === 'via') via.push(value)
    else if (!provenance.test(name)) fields.push(raw[i]!, value)
    else if (!client.trusted) continue
    else if (name === 'x-forwarded-for') forwardedFor.push(value)
    else if (name === 'forwarded') forwarded.push(value)
    else if (name === 'x-forwarded-proto') outerProtocol = /^https?$/i.exec(value.trim())?.[0].toLowerCase()
    else if (name === 'x-forwarded-host') outerHost = value
    else fields.push(raw[i]!, value)
  }
  if (via.some((value) => tokensOf(value).some((hop) => hop.split(/\s+/)[1] === viaName.toLowerCase()))) {
    return { status: 508, code: 'loop_detected', title: 'This request has been here before' }
  }
  const node = client.address.includes(':') ? `"[${client.address}]"` : client.address
  const quotedHost = /^[A-Za-z0-9.-]+$/.test(host) ? host : `"${host}"`
  fields.push(
    'via',
    [...via, `1.1 ${viaName}`].join(', '),
    'x-forwarded-for',
    [...forwardedFor, client.address].join(', '),
    'x-forwarded-proto',
    outerProtocol ?? client.protocol,
    'x-forwarded-host',
    outerHost ?? host,
    'forwarded',
    [...forwarded, `for=${node};host=${quotedHost};proto=${client.protocol}`].join(', '),
    'x-request-id',
    client.requestId,
  )
  if (client.traceparent !== undefined) fields.push('traceparent', client.traceparent)
  return { fields, host }
}

/** The fields of an upstream's answer that reach the client, with `Via` added. Repeated ones stay apart, bytes stay as they are. */
export function responseFields(raw: RawFields, viaName: string): string[] {
  const named = new Set<string>()
  for (let i = 0; i < raw.length; i += 2)
    if (raw[i]!.toLowerCase() === 'connection') for (const token of tokensOf(raw[i + 1]!)) named.add(token)
  const fields: string[] = []
  let via = ''
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase()
    if (hopByHop.has(name) || named.has(name)) continue
    if (name === 'via') via = via === '' ? raw[i + 1]! : `${via}, ${raw[i + 1]!}`
    else fields.push(raw[i]!, raw[i + 1]!)
  }
  fields.push('via', via === '' ? `1.1 ${viaName}` : `${via}, 1.1 ${viaName}`)
  return fields
}

function tokensOf(value: string): string[] {
  return value
    .split(',')
    .map((token) => token.trim().toLowerCase())
    .filter((token) => token !== '')
}
