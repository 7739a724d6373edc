import { defaultRedaction } from '@gw/events'

/** A payload as it may be looked at: what is named like a secret is masked, and what is long is cut. */
export interface ShownPayload {
  readonly bytes: number
  /** `json` where it is JSON, else `text`; `binary` is not shown. */
  readonly kind: 'json' | 'text' | 'binary' | 'empty'
  readonly value: unknown
  /** Whether something was left out for its length. */
  readonly cut: boolean
}

const maxTextLength = 1_024
const maxShownBytes = 65_536
const maxMembers = 200
const maxDepth = 12
const mask = '[redacted]'
const secretName =
  /(?:token|secret|password|passwd|authorization|cookie|credential|signature|private|session|api[_-]?key)/i

/** Shows bytes: JSON by its members, text as it is. */
export function shownPayload(bytes: Uint8Array): ShownPayload {
  const size = { bytes: bytes.length }
  if (bytes.length === 0) return { ...size, kind: 'empty', value: null, cut: false }
  if (bytes.length > maxShownBytes) return { ...size, kind: 'text', value: null, cut: true }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return { ...size, kind: 'binary', value: null, cut: false }
  }
  return shownText(text, bytes.length)
}

/** The same of text whose length in bytes is known. */
export function shownText(text: string, bytes: number): ShownPayload {
  const cut = { cut: false }
  try {
    const value = shown(JSON.parse(text), '', 0, cut)
    return { bytes, kind: 'json', value, cut: cut.cut }
  } catch {
    return { bytes, kind: 'text', value: shownString(text, cut), cut: cut.cut }
  }
}

/** Header fields with those masked that bear credentials. */
export function shownHeaders(
  headers: readonly (readonly [name: string, value: string])[],
): (readonly [name: string, value: string])[] {
  return headers.map(([name, value]) => [name, isSecret(name) || name === 'idempotency-key' ? mask : value])
}

function isSecret(name: string): boolean {
  return defaultRedaction.names.has(name.toLowerCase()) || secretName.test(name)
}

function shown(value: unknown, name: string, depth: number, cut: { cut: boolean }): unknown {
  if (name !== '' && isSecret(name) && value !== null) return mask
  if (typeof value === 'string') return shownString(value, cut)
  if (typeof value !== 'object' || value === null) return value
  if (depth === maxDepth) {
    cut.cut = true
    return '[deeper]'
  }
  if (Array.isArray(value)) {
    if (value.length > maxMembers) cut.cut = true
    return value.slice(0, maxMembers).map((item) => shown(item, '', depth + 1, cut))
  }
  const entries = Object.entries(value)
  if (entries.length > maxMembers) cut.cut = true
  return Object.fromEntries(entries.slice(0, maxMembers).map(([key, item]) => [key, shown(item, key, depth + 1, cut)]))
}

function shownString(text: string, cut: { cut: boolean }): string {
  const clean = text.replace(/(:\/\/[^:@/\s]{0,256}):[^@/\s]{1,256}@/g, `$1:${mask}@`)
  if (clean.length <= maxTextLength) return clean
  cut.cut = true
  return `${clean.slice(0, maxTextLength)}…`
}
