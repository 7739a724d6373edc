import type { RunTransition } from '@gw/checkpoint'
import type { OtlpExporter } from './otlp.ts'
import { newSpanId, traceInside } from './trace.ts'

/** Makes a span of each time that a run's handler is at work, in the trace in which the run was accepted. */
export function runSpans(exporter: OtlpExporter): (transition: RunTransition) => void {
  const begun = new Map<string, number>()
  return ({ type, run }) => {
    const { id, status, operation, attempt, recoveries } = run
    if ((type === 'checkpoint.accepted' && status === 'running') || type === 'checkpoint.resumed') {
      begun.set(id, Date.now())
      return
    }
    if (!ends.has(type)) return
    const startMs = begun.get(id)
    begun.delete(id)
    const kept = run.links['traceparent']
    if (startMs === undefined || typeof kept !== 'string') return
    const { traceId, parentId, sampled } = traceInside(kept)
    if (!sampled) return
    exporter.add({
      traceId,
      spanId: newSpanId(),
      parentId,
      name: `run ${operation}`,
      kind: 'internal',
      startMs,
      endMs: Date.now(),
      failed: status === 'failed' || status === 'dead',
      attributes: {
        'gw.run.id': id,
        'gw.run.status': type === 'checkpoint.finished' ? status : type.slice('checkpoint.'.length),
        'gw.run.attempt': attempt,
        'gw.run.recoveries': recoveries,
      },
    })
  }
}

const ends: ReadonlySet<string> = new Set([
  'checkpoint.finished',
  'checkpoint.waiting',
  'checkpoint.parked',
  'checkpoint.lease_lost',
  'checkpoint.interrupted',
])
