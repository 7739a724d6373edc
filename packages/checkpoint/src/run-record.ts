/** Where a run is in its life. The last four are ends; `dead` and `parked` wait for a person. */
export type RunStatus = 'queued' | 'running' | 'waiting' | 'parked' | 'completed' | 'failed' | 'cancelled' | 'dead'

/** The statuses of a run that nothing will go on with by itself. */
export const finished: ReadonlySet<RunStatus> = new Set(['completed', 'failed', 'cancelled', 'dead'])

/** Every status. */
export const statuses: ReadonlySet<RunStatus> = new Set([
  'queued',
  'running',
  'waiting',
  'parked',
  'completed',
  'failed',
  'cancelled',
  'dead',
])

/** The statuses of a run that is not finished. */
export const unfinished: readonly RunStatus[] = ['queued', 'running', 'waiting', 'parked']

/** Plain JSON that the run keeps for whoever settles something elsewhere: a key's link, an event stream. */
export type Links = Readonly<Record<string, unknown>>

/** The method of a row that stands where no run may be accepted any more. */
export const precluded = 'PRECLUDED'

/** The request as it was accepted; what a resumed handler sees. */
export interface RunInput {
  readonly url: string
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** The context variables named by `persist`, as `encode` writes them. */
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
  /** Whose data the payloads are; they are sealed with this subject's key where a keyring is given. */
  readonly subject: string | undefined
  readonly status: RunStatus
  /** The incarnation that runs it, as `<node>/<start>`; `undefined` when nobody does. */
  readonly owner: string | undefined
  /** Grows with each owner; a write with an older one changes nothing. */
  readonly fence: number
  /** Grows with each change of this row. */
  readonly revision: number
  /** How often the handler was tried again after a retryable error, from 1. */
  readonly attempt: number
  /** How often the run was taken over from an owner that died. */
  readonly recoveries: number
  readonly stage: string | undefined
  /** 0 to 1, and 1 once it has completed. */
  readonly progress: number | undefined
  /** What `update` and the manual calls keep, by `encode`. */
  readonly data: string | undefined
  /** Why it waits, is parked or failed. */
  readonly reason: string | undefined
  /** When a waiting run goes on; `undefined` while it waits for a signal without a timeout. */
  readonly wakeAt: number | undefined
  readonly cancelRequested: boolean
  /** How many signals it was sent. */
  readonly signals: number
  readonly links: Links
  readonly idempotencySeed: string | undefined
  /** Whether everything that the outcome drives elsewhere is there. */
  readonly settled: boolean
  /** When a finished run may be collected; `undefined` while it is not finished. */
  readonly expiresAt: number | undefined
  readonly createdAt: number
  readonly updatedAt: number
}

/**
 * What a {@link StepRecord} stands for: work whose start was marked (`started`), work whose result is kept (`kept`), a signal
 * that was sent to the run (`signal`), the decision to take the run's effects back (`unwinding`), or an effect that was taken
 * back (`undone`).
 */
export type StepState = 'started' | 'kept' | 'signal' | 'unwinding' | 'undone'

/** One thing that a run keeps beside its row. */
export interface StepRecord {
  readonly name: string
  readonly occurrence: number
  readonly state: StepState
  /** By `encode`, or bytes in a store that seals; absent for a start marker without one. */
  readonly value: string | Uint8Array | undefined
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

/** The text as every database holds it: some refuse NUL and half a surrogate pair, which also a cut can leave behind. */
export function storableText(text: string): string {
  return text.replace(/[\0\p{Surrogate}]/gu, '\ufffd')
}

/** The text of a kept value; empty where there is none. */
export function textOf({ value = '' }: StepRecord): string {
  return typeof value === 'string' ? value : new TextDecoder().decode(value)
}
