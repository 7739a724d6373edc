import type { Outcome } from './run-record.ts'

/** How a run ends once its effects are taken back. Kept before the first of them is, so that a crash in between changes nothing. */
export interface UnwindPlan {
  readonly status: 'failed' | 'cancelled'
  readonly reason: string
  readonly outcome: Outcome
}

/** An effect that can be taken back. */
export interface Compensation {
  readonly name: string
  readonly occurrence: number
  /** The place of its step among the kept ones. */
  readonly order: number
  readonly undo: () => unknown
}
