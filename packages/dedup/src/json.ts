/** JSON in one form for every spelling of it (RFC 8785), or why it has none. */
export type CanonicalJson =
  | { readonly kind: 'canonical'; readonly text: string }
  /** Not JSON, or JSON that another parser may read otherwise: compared as it is. */
  | { readonly kind: 'as_is' }
  | { readonly kind: 'too_deep' }

/**
 * Canonicalises JSON unless that would lose something: members named twice and numbers that a double does not hold exactly are
 * compared as they are. Goes over the text once, without recursion deeper than `maxDepth`.
 */
export function canonicalJson(text: string, maxDepth: number): CanonicalJson {
  if (deeperThan(text, maxDepth)) return { kind: 'too_deep' }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return { kind: 'as_is' }
  }
  return losesSomething(text) ? { kind: 'as_is' } : { kind: 'canonical', text: canonical(value) }
}

function deeperThan(text: string, maxDepth: number): boolean {
  // Short texts and those with few brackets cannot be deep: the common case costs one look at the length.
  if (text.length <= maxDepth) return false
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 0x22) {
      i = endOfString(text, i)
    } else if (code === 0x7b || code === 0x5b) {
      if (++depth > maxDepth) return true
    } else if (code === 0x7d || code === 0x5d) depth--
  }
  return false
}

/** Where the string that starts at `start` ends: its closing quote, or the end of the text. */
function endOfString(text: string, start: number): number {
  let i = start + 1
  for (; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 0x5c) i++
    else if (code === 0x22) break
  }
  return i
}

function canonical(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) {
    let text = '['
    for (let i = 0; i < value.length; i++) text += `${i === 0 ? '' : ','}${canonical(value[i])}`
    return `${text}]`
  }
  const names = Object.keys(value).sort()
  let text = '{'
  for (let i = 0; i < names.length; i++) {
    const name = names[i]!
    text += `${i === 0 ? '' : ','}${JSON.stringify(name)}:${canonical((value as Record<string, unknown>)[name])}`
  }
  return `${text}}`
}

/** Goes over a valid text once for what `JSON.parse` hides: a repeated member name, or a number that it rounds. */
function losesSomething(text: string): boolean {
  const scopes: (Set<string> | undefined)[] = []
  let expectsName = false
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 0x22) {
      const end = endOfString(text, i)
      if (expectsName) {
        const raw = text.slice(i, end + 1)
        const name = raw.includes('\\') ? (JSON.parse(raw) as string) : raw.slice(1, -1)
        const scope = scopes.at(-1)
        if (scope?.has(name) === true) return true
        scope?.add(name)
        expectsName = false
      }
      i = end
    } else if (code === 0x7b) {
      scopes.push(new Set())
      expectsName = true
    } else if (code === 0x5b) {
      scopes.push(undefined)
      expectsName = false
    } else if (code === 0x7d || code === 0x5d) {
      scopes.pop()
      expectsName = false
    } else if (code === 0x2c) {
      expectsName = scopes.at(-1) !== undefined
    } else if (code === 0x2d || (code >= 0x30 && code <= 0x39)) {
      let end = i + 1
      while (end < text.length && isNumberPart(text.charCodeAt(end))) end++
      if (isRounded(text.slice(i, end))) return true
      i = end - 1
    }
  }
  return false
}

function isNumberPart(code: number): boolean {
  return (
    (code >= 0x30 && code <= 0x39) || code === 0x2e || code === 0x65 || code === 0x45 || code === 0x2b || code === 0x2d
  )
}

/** Whether a number's literal has more digits than a double keeps, or is an integer beyond 2^53. */
function isRounded(literal: string): boolean {
  if (literal.length <= 15 && !/[eE]/.test(literal)) return false
  const value = Number(literal)
  if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))) return true
  const mantissa = literal.split(/[eE]/, 1)[0]!.replace(/[-.]/g, '').replace(/^0+/, '').replace(/0+$/, '')
  return mantissa.length > 15 || (value === 0 && mantissa !== '')
}
