const secretNames = /token|secret|password|key$/i

/** A configuration to be shown: secrets are dots, and URLs have lost their passwords. */
export function masked(value: unknown, name = ''): unknown {
  if (typeof value === 'string') {
    if (secretNames.test(name)) return '••••••••'
    return value
      .replace(/(:\/\/[^:@/\s]*):[^@/\s]*@/g, '$1:••••••••@')
      .replace(/([?&][^=&#\s]*(?:token|key|sig|password|secret)[^=&#\s]*=)[^&#\s]*/gi, '$1••••••••')
  }
  if (Array.isArray(value)) return value.map((item) => masked(item, name))
  if (typeof value !== 'object' || value === null) return value
  const inside = name === 'apiTokens' || name === 'headers' ? 'token' : ''
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, masked(item, inside || key)]))
}
