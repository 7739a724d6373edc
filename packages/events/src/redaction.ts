import { bytesOf, hexOf } from './bytes.ts'
import { hmacSha256 } from './sha256.ts'

/** What never enters the log. The version is recorded with every event. */
export interface RedactionRules {
  readonly version: number
  /** Names of members, in lower case, whose values are replaced wherever they stand. */
  readonly names: ReadonlySet<string>
  /** Names of members, in lower case, whose values are replaced by a keyed hash: two equal values can be told to be equal. */
  readonly hashed?: ReadonlySet<string>
  /** Names of members, in lower case, that hold an IP address, which is cut to its /24 or /48. */
  readonly addresses?: ReadonlySet<string>
  /** JSON pointers into the data (RFC 6901; `*` stands for any one member), whose values are replaced. */
  readonly paths?: readonly string[]
  /** A text longer than this is replaced by its length and keyed hash. */
  readonly maxTextLength: number
}

/** Credentials and their like, stack traces, and whole bodies. */
export const defaultRedaction: RedactionRules = {
  version: 2,
  names: new Set([
    'authorization',
    'cookie',
    'set-cookie',
    'proxy-authorization',
    'x-api-key',
    'password',
    'secret',
    'token',
    'access_token',
    'refresh_token',
    'api_key',
    'apikey',
    'client_secret',
    'private_key',
    'card_number',
    'cvc',
    'cvv',
    'stack',
    'stack_trace',
    'stacktrace',
    'traceback',
    'request_body',
    'response_body',
  ]),
  hashed: new Set(['idempotency-key', 'idempotency_key', 'idempotencykey']),
  addresses: new Set(['ip', 'ip_address', 'client_ip', 'remote_address', 'x-forwarded-for', 'x-real-ip']),
  maxTextLength: 4_096,
}

const maxDepth = 32
const gone = '[redacted]'

/** A copy of `value` without what the rules name; URLs and messages in it have lost their credentials. */
export function redacted(value: unknown, rules: RedactionRules, key: Uint8Array): unknown {
  const paths = (rules.paths ?? []).map((path) => path.split('/').slice(1).map(unescaped))
  return copyOf(value, rules, key, paths, [])
}

function unescaped(token: string): string {
  return token.replaceAll('~1', '/').replaceAll('~0', '~')
}

type Paths = readonly (readonly string[])[]

/** `above` holds the objects that the value lies in. */
function copyOf(value: unknown, rules: RedactionRules, key: Uint8Array, paths: Paths, above: object[]): unknown {
  if (typeof value === 'string') return redactedText(value, rules, key)
  if (typeof value === 'bigint') return value.toString()
  if (typeof value !== 'object' || value === null) return value
  if (above.length >= maxDepth) return '[too deep]'
  if (above.includes(value)) return '[circular]'
  if (value instanceof Error) return { name: value.name, message: redactedText(value.message, rules, key) }
  above.push(value)
  const copy = membersOf(value, rules, key, paths, above)
  above.pop()
  return copy
}

function membersOf(value: object, rules: RedactionRules, key: Uint8Array, paths: Paths, above: object[]): unknown {
  if ('toJSON' in value && typeof value.toJSON === 'function')
    return copyOf(value.toJSON() as unknown, rules, key, paths, above)
  if (Array.isArray(value))
    return value.map((item, i) => memberOf(String(i), item, rules, key, under(paths, String(i)), above))
  const copy: [string, unknown][] = []
  for (const [name, item] of Object.entries(value))
    copy.push([
      safeName(name, rules, key),
      memberOf(name, item, rules, key, paths.length === 0 ? paths : under(paths, name), above),
    ])
  return Object.fromEntries(copy)
}

/** The paths that go on below a member. */
function under(paths: Paths, name: string): Paths {
  return paths.filter(([first]) => first === name || first === '*').map((path) => path.slice(1))
}

function memberOf(
  name: string,
  item: unknown,
  rules: RedactionRules,
  key: Uint8Array,
  paths: Paths,
  above: object[],
): unknown {
  if (paths.some((path) => path.length === 0)) return gone
  const lower = name.toLowerCase()
  if (rules.names.has(lower)) return gone
  if (rules.hashed?.has(lower)) return item === null || item === undefined ? item : receiptOf(JSON.stringify(item), key)
  if (rules.addresses?.has(lower)) {
    if (typeof item === 'string') return maskedAddress(item)
    if (Array.isArray(item)) return item.map((each) => (typeof each === 'string' ? maskedAddress(each) : gone))
  }
  return copyOf(item, rules, key, paths, above)
}

/** A member's name is as much a text of the client's as its value. */
function safeName(name: string, rules: RedactionRules, key: Uint8Array): string {
  const text = name.length > 256 ? receiptOf(name, key) : redactedText(name, rules, key)
  return typeof text === 'string' ? text : gone
}

/** What stands for a text that is not kept: enough to show later that a given text was the one. */
function receiptOf(text: string, key: Uint8Array): string {
  return `[${text.length} characters, hmac ${hexOf(hmacSha256(key, bytesOf(text)).subarray(0, 16))}]`
}

const secretNames = 'token|key|sig|signature|password|passwd|pwd|secret|access_token|refresh_token|api_key|apikey'
const inQuery = new RegExp(`([?&;](?:${secretNames})=)[^&\\s#;]*`, 'gi')
const inUrl = /:\/\/[^/\s@]{1,512}@/g
const inHeader = /\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}/gi

/** A text within the size cap, without credentials in URLs, queries and `Bearer` values. */
export function redactedText(text: string, { maxTextLength }: RedactionRules, key: Uint8Array): string {
  if (text.length > maxTextLength) return receiptOf(text, key)
  let safe = text
  if (safe.includes('://')) safe = safe.replace(inUrl, '://[redacted]@')
  if (safe.includes('=')) safe = safe.replace(inQuery, '$1[redacted]')
  if (safe.includes('earer') || safe.includes('asic') || safe.includes('EARER') || safe.includes('ASIC'))
    safe = safe.replace(inHeader, '$1 [redacted]')
  return safe
}

/** The /24 of an IPv4 address, the /48 of an IPv6 one, `[redacted]` for anything else. */
export function maskedAddress(address: string): string {
  const four = /^(?:::ffff:)?(\d{1,3}\.\d{1,3}\.\d{1,3})\.\d{1,3}$/i.exec(address.trim())
  if (four !== null) return `${four[1]}.0/24`
  const six = /^[0-9a-f:]{2,39}$/i.exec(address.trim())
  if (six === null || !address.includes(':')) return gone
  const [head = '', tail] = address.trim().toLowerCase().split('::')
  const groups = head === '' ? [] : head.split(':')
  if (tail !== undefined) {
    const last = tail === '' ? [] : tail.split(':')
    while (groups.length + last.length < 8) groups.push('0')
    groups.push(...last)
  }
  return `${groups
    .slice(0, 3)
    .map((group) => group.replace(/^0+(?=.)/, ''))
    .join(':')}::/48`
}
