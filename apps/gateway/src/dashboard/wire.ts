/**
 * What the server sends to the dashboard's module in the browser. Both are built from this file; it imports nothing.
 */

/** How long one slot of the last hour is, and how many there are. */
export const slotMs = 5_000
export const slotCount = 720

/** The columns of {@link History}, in the order in which a slot lists them. */
export const columns = [
  'requests',
  'errors',
  'replays',
  'conflicts',
  'p50',
  'p95',
  'p99',
  'inFlight',
  'running',
  'queued',
  'pendingWrites',
  'commits',
  'commitMs',
] as const

/** One figure of a slot. Rates are a second, latencies in milliseconds; `null` where nothing was measured. */
export type Column = (typeof columns)[number]

/** Figures by column. */
export type Figures = Readonly<Record<Column, number | null>>

/** One slot that is complete: when it began, and its figures in the order of {@link columns}. */
export interface Slot {
  readonly at: number
  readonly values: readonly (number | null)[]
}

/** The slots of the last hour that were measured, oldest first. */
export interface History {
  readonly slots: readonly Slot[]
}

/** What grows when something of a kind has happened, so that a page knows that it is out of date. */
export interface Revisions {
  readonly runs: number
  readonly events: number
  readonly breakers: number
  readonly pools: number
}

/** What every open page hears once in {@link tickMs}. */
export interface Tick {
  readonly at: number
  readonly phase: string
  readonly storage: string
  /** The last ten seconds. */
  readonly figures: Figures
  /** Runs by status. */
  readonly counts: Readonly<Record<string, number>>
  readonly revisions: Revisions
  /** The last complete slot. */
  readonly slot: Slot | undefined
}

/** How often a {@link Tick} is sent. */
export const tickMs = 2_000
