import { type DedupCrypto, lengthPrefixed } from './crypto.ts'
import { canonicalJson } from './json.ts'
import { multipartDigestInput } from './multipart.ts'

/** How two bodies are compared. */
export type BodyComparison =
  /** Byte by byte: the default for what is not JSON. */
  | 'bytes'
  /** Without order of members and white space: the default for JSON. */
  | 'json'
  /** `application/x-www-form-urlencoded`: by decoded names and values, in order. */
  | 'form'
  /** `multipart/form-data`: by each part's name, file name, type and content, whatever the boundary. */
  | 'multipart'
  /** By the request's own `Content-Digest` (RFC 9530), checked while the handler reads: nothing is buffered. */
  | 'digest'
  /** By what the function makes of the body. */
  | ((body: Uint8Array, contentType: string | undefined) => Uint8Array | Promise<Uint8Array>)

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The mode for a media type: JSON and everything that ends in `+json` is compared as JSON, a multipart form by its parts. */
export function comparisonFor(mediaType: string): 'bytes' | 'json' | 'multipart' {
  if (mediaType === 'application/json' || mediaType.endsWith('+json')) return 'json'
  return mediaType === 'multipart/form-data' ? 'multipart' : 'bytes'
}

/** The media type without parameters, so that a multipart boundary or a charset does not tell two requests apart. */
export function mediaTypeOf(contentType: string | undefined): string {
  if (contentType === undefined) return ''
  const semicolon = contentType.indexOf(';')
  return (semicolon === -1 ? contentType : contentType.slice(0, semicolon)).trim().toLowerCase()
}

/** What a body is compared by, or that it nests deeper than is read. */
export type ComparedBody = Uint8Array | 'too_deep'

/** The bytes that stand for a body in its fingerprint. What cannot be read in its mode is compared byte by byte. */
export function comparedBody(
  crypto: DedupCrypto,
  body: Uint8Array,
  contentType: string | undefined,
  mode: Exclude<BodyComparison, 'digest'>,
  maxJsonDepth: number,
): ComparedBody | Promise<ComparedBody> {
  if (typeof mode === 'function') return mode(body, contentType)
  if (body.length === 0 || mode === 'bytes') return body
  if (mode === 'multipart')
    return multipartDigestInput(crypto, body, contentType ?? '').then((described) => described ?? body)
  let text: string
  try {
    text = decoder.decode(body)
  } catch {
    return body
  }
  if (mode === 'form') return lengthPrefixed(['form', ...[...new URLSearchParams(text)].flat()])
  const json = canonicalJson(text, maxJsonDepth)
  if (json.kind === 'too_deep') return 'too_deep'
  return json.kind === 'canonical' ? encoder.encode(`json:${json.text}`) : body
}
