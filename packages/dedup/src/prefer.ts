/** How long a client is willing to wait, in milliseconds: `wait` of RFC 7240, in whole seconds. */
export function preferredWaitMs(prefer: string | undefined): number | undefined {
  if (prefer === undefined) return undefined
  for (const part of prefer.split(',')) {
    const match = /^\s*wait\s*=\s*"?(\d{1,6})"?\s*(;|$)/i.exec(part)
    if (match !== null) return Number(match[1]) * 1_000
  }
  return undefined
}
