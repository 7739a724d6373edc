import { CheckpointError } from './errors.ts'

/** A page of an S3 listing. */
export interface S3Listing {
  readonly keys: readonly string[]
  /** Where the next page begins; `undefined` on the last one. */
  readonly continuation: string | undefined
}

/**
 * Reads the answer of `ListObjectsV2` with `encoding-type=url`. Takes the few elements it needs from the fixed shape that the
 * protocol has; a document type, CDATA, comments and unknown entities are refused, so nothing is ever expanded.
 */
export function parseListing(xml: string): S3Listing {
  const body = xml.replace(/^\uFEFF?\s*<\?xml[^?]*\?>/, '')
  if (body.includes('<!') || body.includes('<?') || !/^\s*<ListBucketResult[\s>]/.test(body)) throw unreadable('shape')
  const truncated = first(body, 'IsTruncated')
  if (truncated !== 'true' && truncated !== 'false') throw unreadable('IsTruncated')
  const encoded = first(body, 'EncodingType') === 'url'
  const keys = each(body, 'Contents').map((entry) => {
    const key = first(entry, 'Key')
    if (key === undefined) throw unreadable('Key')
    return encoded ? unescaped(key) : key
  })
  const continuation = truncated === 'true' ? first(body, 'NextContinuationToken') : undefined
  if (truncated === 'true' && !continuation) throw unreadable('NextContinuationToken')
  return { keys, continuation }
}

/** The `Code` of an S3 error document, or `undefined` for anything else. */
export function errorCodeOf(xml: string): string | undefined {
  return /<Code>([A-Za-z0-9.]{1,64})<\/Code>/.exec(xml)?.[1]
}

function each(xml: string, element: string): string[] {
  const found: string[] = []
  const [open, close] = [`<${element}>`, `</${element}>`]
  for (let from = xml.indexOf(open); from !== -1; ) {
    const start = from + open.length
    const end = xml.indexOf(close, start)
    if (end === -1) throw unreadable(element)
    found.push(xml.slice(start, end))
    from = xml.indexOf(open, end + close.length)
  }
  return found
}

function first(xml: string, element: string): string | undefined {
  const [open, close] = [`<${element}>`, `</${element}>`]
  const start = xml.indexOf(open)
  if (start === -1) return undefined
  const end = xml.indexOf(close, start)
  if (end === -1) throw unreadable(element)
  return text(xml.slice(start + open.length, end))
}

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

function text(raw: string): string {
  if (raw.includes('<')) throw unreadable('nesting')
  return raw.replace(/&([^;&]{0,10});?/g, (whole, name: string) => {
    const number = /^#(?:x([0-9a-fA-F]{1,6})|([0-9]{1,7}))$/.exec(name)
    const point =
      number === null ? Number.NaN : Number.parseInt(number[1] ?? number[2]!, number[1] === undefined ? 10 : 16)
    const character =
      point <= 0x10ffff ? String.fromCodePoint(point) : Object.hasOwn(entities, name) ? entities[name] : undefined
    if (character === undefined || !whole.endsWith(';')) throw unreadable('entity')
    return character
  })
}

function unescaped(key: string): string {
  try {
    return decodeURIComponent(key.replaceAll('+', ' '))
  } catch {
    throw unreadable('Key')
  }
}

function unreadable(what: string): CheckpointError {
  return new CheckpointError('cold_rejected', `The listing of the bucket cannot be read (${what})`)
}
