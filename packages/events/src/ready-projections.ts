import type { ProjectionOptions } from './projection.ts'
import type { EventRecord } from './query.ts'

/** Where a request is in its life. */
export interface RequestState {
  readonly operation: string
  readonly state: 'received' | 'started' | 'completed' | 'failed'
  readonly actor: string | null
  readonly receivedAt: string
  readonly endedAt?: string
  readonly status?: number
}

/** Requests by their ids: those under way, and the last that ended. */
export type RequestStates = Readonly<Record<string, RequestState>>

/** A projection of the events of `audit()`: where each request is. Keeps the last `maxRequests` (10,000). */
export function requestStates({
  maxRequests = 10_000,
}: {
  readonly maxRequests?: number
} = {}): ProjectionOptions<RequestStates> {
  const put = (states: RequestStates, { requestId, ...event }: EventRecord, change: Partial<RequestState>) => {
    if (requestId === null) return states
    const { [requestId]: before, ...rest } = states
    const first = {
      operation: operationOf(event.data),
      state: 'received',
      actor: event.actor,
      receivedAt: event.time,
    } as const
    const next = { ...rest, [requestId]: { ...first, ...before, ...change } }
    const surplus = Object.keys(next).length - maxRequests
    return surplus > 0 ? Object.fromEntries(Object.entries(next).slice(surplus)) : next
  }
  const ended = (state: 'completed' | 'failed') => (states: RequestStates, event: EventRecord) => {
    const status = numberOf(event.data, 'status')
    return put(states, event, { state, endedAt: event.time, ...(status === undefined ? {} : { status }) })
  }
  return {
    name: 'request-states',
    initial: {},
    on: {
      request_received: (states, event) => put(states, event, {}),
      operation_started: (states, event) => put(states, event, { state: 'started' }),
      operation_completed: ended('completed'),
      operation_failed: ended('failed'),
    },
  }
}

/** How an operation does. */
export interface PerformanceFigures {
  readonly requests: number
  readonly successes: number
  readonly failures: number
  readonly totalMs: number
  readonly averageMs: number
  readonly minMs: number
  readonly maxMs: number
  /** How many requests took up to 1, 2, 4, 8, … milliseconds; the last one counts all beyond. */
  readonly histogram: readonly number[]
  /** The bound below which 95 of 100 requests lie. */
  readonly p95Ms: number
}

const buckets = 20

/** A projection of the events of `audit()`: counts and durations of each operation. */
export function performanceFigures(): ProjectionOptions<Readonly<Record<string, PerformanceFigures>>> {
  const count =
    (success: boolean) =>
    (figures: Readonly<Record<string, PerformanceFigures>>, { data }: EventRecord) => {
      const operation = operationOf(data)
      const ms = numberOf(data, 'execution_time_ms')
      if (ms === undefined) return figures
      const before = Object.hasOwn(figures, operation) ? figures[operation] : undefined
      return { ...figures, [operation]: counted(before, ms, success) }
    }
  return {
    name: 'performance-figures',
    initial: {},
    on: { operation_completed: count(true), operation_failed: count(false) },
  }
}

function counted(before: PerformanceFigures | undefined, ms: number, success: boolean): PerformanceFigures {
  const requests = (before?.requests ?? 0) + 1
  const totalMs = (before?.totalMs ?? 0) + ms
  const histogram = [...(before?.histogram ?? new Array<number>(buckets).fill(0))]
  const bucket = Math.min(buckets - 1, Math.max(0, Math.ceil(Math.log2(Math.max(ms, 1)))))
  histogram[bucket] = histogram[bucket]! + 1
  let seen = 0
  const p95 = histogram.findIndex((n) => {
    seen += n
    return seen >= requests * 0.95
  })
  return {
    requests,
    successes: (before?.successes ?? 0) + (success ? 1 : 0),
    failures: (before?.failures ?? 0) + (success ? 0 : 1),
    totalMs,
    averageMs: totalMs / requests,
    minMs: Math.min(before?.minMs ?? ms, ms),
    maxMs: Math.max(before?.maxMs ?? ms, ms),
    histogram,
    p95Ms: 2 ** p95,
  }
}

function operationOf(data: unknown): string {
  if (typeof data !== 'object' || data === null) return 'unknown'
  for (const name of ['operation', 'operation_type', 'endpoint']) {
    const value: unknown = Reflect.get(data, name)
    if (typeof value === 'string') return value
  }
  return 'unknown'
}

function numberOf(data: unknown, name: string): number | undefined {
  const value: unknown = typeof data === 'object' && data !== null ? Reflect.get(data, name) : undefined
  return typeof value === 'number' ? value : undefined
}
