import { randomFillSync } from 'node:crypto'
import type { Run } from '@gw/checkpoint'
import type { Context } from 'hono'

/** Where a request is in its trace (W3C Trace Context). */
export interface TraceContext {
  readonly traceId: string
  /** The gateway's own span. */
  readonly spanId: string
  /** The span that it is part of. */
  readonly parentId: string | undefined
  readonly sampled: boolean
}

const form = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

/** A span inside the one that `traceparent` names, or of a new trace where it names none. */
export function traceInside(traceparent: string | undefined): TraceContext {
  const [, version, traceId, parentId, flags, more] = form.exec(traceparent ?? '') ?? []
  const valid =
    traceId !== undefined &&
    version !== 'ff' &&
    !(version === '00' && more !== undefined) &&
    !/^0+$/.test(traceId) &&
    !/^0+$/.test(parentId!)
  return valid
    ? { traceId, spanId: newSpanId(), parentId, sampled: (Number.parseInt(flags!, 16) & 1) === 1 }
    : { traceId: randomHex(16), spanId: newSpanId(), parentId: undefined, sampled: true }
}

/** Drawn in blocks: a call for each id costs more than all else that is done for a trace. */
const drawn = Buffer.alloc(4_096)
let used = drawn.length

function randomHex(bytes: number): string {
  if (used + bytes > drawn.length) {
    randomFillSync(drawn)
    used = 0
  }
  used += bytes
  return drawn.toString('hex', used - bytes, used)
}

/** The id of a span of one's own. */
export function newSpanId(): string {
  return randomHex(8)
}

/** As the field that goes to whoever is called next. */
export function traceparentOf({ traceId, spanId, sampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`
}

/** The trace of a request: that of its run where it was resumed, else the client's, else a new one. Made when first asked for. */
export function traceOf(c: Context): TraceContext {
  const known = c.get('trace') as TraceContext | undefined
  if (known !== undefined) return known
  const kept = (c.get('run') as Run | undefined)?.links['traceparent']
  const trace = traceInside(typeof kept === 'string' ? kept : c.req.header('traceparent'))
  c.set('trace', trace)
  return trace
}
