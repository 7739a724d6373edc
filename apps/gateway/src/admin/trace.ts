import type { RunInput, RunRecord } from '@gw/checkpoint'

/** The trace that a request belongs to (W3C Trace Context), by what the run keeps or by the field it came with. */
export function traceIdOf({ links }: RunRecord, input: RunInput | undefined): string | null {
  const kept = links['traceparent']
  const sent = input?.headers.find(([name]) => name.toLowerCase() === 'traceparent')?.[1]
  for (const text of [kept, sent]) {
    const id = typeof text === 'string' ? /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-/.exec(text)?.[1] : undefined
    if (id !== undefined) return id
  }
  return null
}
