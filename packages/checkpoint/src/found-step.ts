import type { StepRecord, StepState } from './run-record.ts'

/** What replay knows of a use of a name: its kept result, or a mark of its start. */
export interface Found {
  readonly kept?: StepRecord
  readonly marker?: StepRecord | undefined
}

/** A use of a name that is new. */
export const fresh: Found = {}

/** A step as it is kept. */
export function recordOf(
  name: string,
  occurrence: number,
  state: StepState,
  value: string | undefined,
  startedAt: number,
  keptAt: number,
): StepRecord {
  return { name, occurrence, state, value, attempt: 1, startedAt, keptAt }
}
