/** What never enters the log. The version is recorded with every event. */
export interface RedactionRules {
  readonly version: number
  /** Names of members, in lower case, whose values are replaced wherever they stand. */
  readonly names: ReadonlySet<string>
  /** A text longer than this is replaced by its length. */
  readonly maxTextLength: number
}

/** Credentials and their like, stack traces, and whole bodies. */
export const defaultRedaction: RedactionRules = {
  version: 1,
  names: new Set([
    'authorization',
    'cookie',
    'set-cookie',
    'proxy-authorization',
    'x-api-key',
    'idempotency-key',
    'idempotency_key',
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
  maxTextLength: 4_096,
}

const maxDepth = 32

/** A copy of `value` in which what the rules name is `[redacted]`, long texts are their length, and URLs have lost their secrets. */
export function redacted(value: unknown, rules: RedactionRules, depth = 0): unknown {
  if (typeof value === 'string') return redactedText(value, rules)
  if (typeof value === 'bigint') return value.toString()
  if (typeof value !== 'object' || value === null) return value
  if (depth >= maxDepth) return '[too deep]'
  if (value instanceof Date) return value.toISOString()
  if (value instanceof Error) return { name: value.name, message: redactedText(value.message, rules) }
  if (Array.isArray(value)) return value.map((item) => redacted(item, rules, depth + 1))
  const copy: [string, unknown][] = []
  for (const [name, item] of Object.entries(value)) {
    copy.push([name, rules.names.has(name.toLowerCase()) ? '[redacted]' : redacted(item, rules, depth + 1)])
  }
  return Object.fromEntries(copy)
}

function redactedText(text: string, { maxTextLength }: RedactionRules): string {
  if (text.length > maxTextLength) return `[${text.length} characters]`
  if (!text.includes('://') && !text.includes('?')) return text
  return text
    .replace(/:\/\/[^/\s@]{1,256}@/g, '://[redacted]@')
    .replace(/([?&](?:token|key|sig|signature|password|secret|access_token)=)[^&\s#]*/gi, '$1[redacted]')
}
