/** A key that was read, or why it could not be. */
export type ParsedKey = { readonly key: string } | { readonly invalid: string }

/** Parameters of an SF Item (RFC 9651 §3.1.2), which say nothing about the key. */
const parameters = /^(?:;[ ]*[a-z*][a-z0-9_.*-]*(?:=(?:"(?:[^"\\]|\\["\\])*"|[^",;\s]+))?[ ]*)+$/
const alphabet = /^[\x21-\x7e]{1,255}$/

/**
 * Reads an `Idempotency-Key` field (draft-ietf-httpapi-idempotency-key-header-07 §2.1): an SF String, parameters ignored, or the
 * bare form that most clients send. Both forms of one key are the same key.
 */
export function parseKey(field: string, syntax: 'lenient' | 'strict' = 'lenient'): ParsedKey {
  const text = field.trim()
  if (text.startsWith('"')) return parseString(text)
  if (syntax === 'strict') return { invalid: 'the key must be a quoted string' }
  if (text.includes(',')) return { invalid: 'there is more than one key' }
  return checked(text)
}

function parseString(text: string): ParsedKey {
  let key = ''
  for (let i = 1; i < text.length; i++) {
    const character = text[i]!
    if (character === '\\') {
      const next = text[++i]
      if (next !== '"' && next !== '\\')
        return { invalid: 'a backslash escapes something other than a quote or a backslash' }
      key += next
    } else if (character === '"') {
      const rest = text.slice(i + 1).trim()
      if (rest.startsWith(',')) return { invalid: 'there is more than one key' }
      return rest === '' || parameters.test(rest) ? checked(key) : { invalid: 'something follows the quoted string' }
    } else key += character
  }
  return { invalid: 'the quoted string does not end' }
}

function checked(key: string): ParsedKey {
  return alphabet.test(key) ? { key } : { invalid: 'a key has 1 to 255 visible ASCII characters' }
}
