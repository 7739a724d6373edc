/** How a body is compared: byte by byte, or as JSON whose order of members and white space do not count. */
export type BodyDigest = 'bytes' | 'json'

const encoder = new TextEncoder()

/** The mode for a media type: JSON and everything that ends in `+json` is compared as JSON. */
export function digestFor(contentType: string | undefined): BodyDigest {
  const media = mediaTypeOf(contentType)
  return media === 'application/json' || media.endsWith('+json') ? 'json' : 'bytes'
}

/** The media type without parameters, so that a multipart boundary or a charset does not tell two requests apart. */
export function mediaTypeOf(contentType: string | undefined): string {
  return (contentType ?? '').split(';', 1)[0]!.trim().toLowerCase()
}

/**
 * The bytes to digest for a body. JSON is canonical (RFC 8785) unless that would lose something: duplicate members, numbers
 * that a double cannot hold, or text that is not JSON are compared as they are.
 */
export function canonicalBody(body: Uint8Array, mode: BodyDigest): Uint8Array {
  if (mode === 'bytes' || body.length === 0) return body
  const text = new TextDecoder().decode(body)
  try {
    const value: unknown = JSON.parse(text)
    if (losesSomething(text)) return body
    return encoder.encode(`json:${canonical(value, 0)}`)
  } catch {
    return body
  }
}

const maxDepth = 256

function canonical(value: unknown, depth: number): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (depth > maxDepth) throw new RangeError('too deep to compare as JSON')
  if (Array.isArray(value)) return `[${value.map((item) => canonical(item, depth + 1)).join(',')}]`
  const members = Object.keys(value)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${canonical((value as Record<string, unknown>)[name], depth + 1)}`)
  return `{${members.join(',')}}`
}

/** Goes over the text once for what `JSON.parse` hides: a repeated member name, or a number that it rounds. */
function losesSomething(text: string): boolean {
  const scopes: (Set<string> | undefined)[] = []
  const token = /"(?:[^"\\]|\\.)*"|[{}[\]]|-?\d[\d.eE+-]*/g
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    const [found] = match
    const first = found[0]!
    if (first === '{') scopes.push(new Set())
    else if (first === '[') scopes.push(undefined)
    else if (first === '}' || first === ']') scopes.pop()
    else if (first !== '"') {
      if (roundedNumber(found)) return true
    } else if (nextIsColon(text, token.lastIndex)) {
      const scope = scopes.at(-1)
      const name = JSON.parse(found) as string
      if (scope?.has(name)) return true
      scope?.add(name)
    }
  }
  return false
}

function nextIsColon(text: string, at: number): boolean {
  let i = at
  while (text[i] === ' ' || text[i] === '\t' || text[i] === '\n' || text[i] === '\r') i++
  return text[i] === ':'
}

function roundedNumber(literal: string): boolean {
  const digits = literal
    .replace(/[eE].*$/, '')
    .replace(/\D/g, '')
    .replace(/^0+/, '')
    .replace(/0+$/, '')
  return (
    digits.length > 15 ||
    !Number.isFinite(Number(literal)) ||
    (/^-?\d+$/.test(literal) && !Number.isSafeInteger(Number(literal)))
  )
}
