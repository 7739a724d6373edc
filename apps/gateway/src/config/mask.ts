const secretNames = /token|secret|password|key$|^webhook$/i

/** A configuration to be shown: secrets are dots, and URLs have lost their passwords. */
export function masked(value: unknown, name = ''): unknown {
  if (typeof value === 'string') {
    if (secretNames.test(name)) return '••••••••'
    return value
      .replace(/(:\/\/[^:@/\s]{0,512}):[^@/\s]{0,512}@/g, '$1:••••••••@')
      .replace(/([?&][^=&#\s]{1,128}=)[^&#\s]*/g, (whole, name: string) =>
        /token|key|sig|password|secret/i.test(name) ? `${name}••••••••` : whole,
      )
  }
  if (Array.isArray(value)) return value.map((item) => masked(item, name))
  if (typeof value !== 'object' || value === null) return value
  const inside = name === 'apiTokens' || name === 'headers' ? 'token' : ''
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, masked(item, inside || key)]))
}
