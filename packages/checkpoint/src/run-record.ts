/** Where a run is in its life. The last four are ends; `dead` and `parked` wait for a person. */
export type RunStatus = 'queued' | 'running' | 'waiting' | 'parked' | 'completed' | 'failed' | 'cancelled' | 'dead'

/** The statuses of a run that nothing will go on with by itself. */
export const finished: ReadonlySet<RunStatus> = new Set(['completed', 'failed', 'cancelled', 'dead'])

/** Plain JSON that the run keeps for whoever settles something elsewhere: a key's link, an event stream. */
export type Links = Readonly<Record<string, unknown>>

/** The request as it was accepted; what a resumed handler sees. */
export interface RunInput {
  readonly url: string
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** The context variables named by `persist`, as {@link encode} writes them. */
  readonly variables: string
  readonly body: Uint8Array
}

/** The row of a run: everything but its payloads. Times are milliseconds since the epoch. */
export interface RunRecord {
  readonly id: string
  readonly requestId: string | undefined
  readonly operation: string
  readonly version: string
  readonly method: string
  /** The route's pattern. */
  readonly route: string
  readonly principal: string | undefined
  readonly status: RunStatus
  /** The process that runs it, by node and start; `undefined` when nobody does. */
  readonly owner: string | undefined
  /** Grows with each owner; a write with an older one changes nothing. */
  readonly fence: number
  /** How often the handler was tried again after a retryable error, from 1. */
  readonly attempt: number
  /** How often the run was taken over from an owner that died. */
  readonly recoveries: number
  readonly stage: string | undefined
  /** 0 to 1. */
  readonly progress: number | undefined
  /** What `update` and the manual calls keep, by {@link encode}. */
  readonly data: string | undefined
  /** Why it waits, is parked or failed. */
  readonly reason: string | undefined
  /** When a waiting run goes on. */
  readonly wakeAt: number | undefined
  readonly cancelRequested: boolean
  readonly links: Links
  readonly idempotencySeed: string | undefined
  /** Whether everything that the outcome drives elsewhere is there. */
  readonly settled: boolean
  readonly createdAt: number
  readonly updatedAt: number
}

/** A step that was kept, or whose start was marked. */
export interface StepRecord {
  readonly name: string
  readonly occurrence: number
  readonly state: 'started' | 'kept'
  /** The result by {@link encode}; absent for a start marker. */
  readonly value: string | undefined
  readonly attempt: number
  readonly startedAt: number
  readonly keptAt: number
}

/** A run's HTTP answer, as everyone gets it. */
export interface Outcome {
  readonly status: number
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: Uint8Array
  /** `false`: the body was longer than `maxResponseBytes`, or a stream, and only the head is kept. */
  readonly retained: boolean
}
