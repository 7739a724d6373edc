/**
 * How often a run's steps become durable. What a crash can repeat: under `every-step` the step that was under way; under
 * `{ everySteps: n }` that and up to `n - 1` finished ones before it; under `stage-boundaries` everything since the last
 * `run.update({ stage })`. Steps with `onCrash`, `compensate` or a transaction, waits and the outcome take along what is pending.
 */
export type Frequency = 'every-step' | 'stage-boundaries' | { readonly everySteps: number }

/** How an operation is kept. */
export interface Strategy {
  readonly frequency: Frequency
  /** How long a finished run is kept, counted from its end. */
  readonly retentionMs: number
}

const dayMs = 86_400_000

/** Thirty days. */
export const defaultRetentionMs: number = 30 * dayMs

/** Ready-made strategies by the kind of work. */
export const strategies: Readonly<Record<'financial' | 'analytics' | 'reporting', Strategy>> = {
  financial: { frequency: 'every-step', retentionMs: 365 * dayMs },
  analytics: { frequency: { everySteps: 10 }, retentionMs: 30 * dayMs },
  reporting: { frequency: 'stage-boundaries', retentionMs: 90 * dayMs },
}

/** How many finished steps may wait for one that is made durable; `Infinity` for stage boundaries. */
export function pendingStepsOf(frequency: Frequency): number {
  if (frequency === 'every-step') return 1
  return frequency === 'stage-boundaries' ? Number.POSITIVE_INFINITY : frequency.everySteps
}
