import type { Frequency } from './retention.ts'
import type { RetryPolicy } from './retry.ts'
import type { Run } from './run.ts'
import type { Outcome, RunInput, RunRecord, RunStatus } from './run-record.ts'
import type { Durability } from './unit.ts'

/** What a handler came to: its answer, and the error behind it if it threw. */
export interface Answer {
  readonly response: Response
  readonly error?: unknown
}

/** How a run left this process. */
export type Settled =
  | {
      readonly kind: 'outcome'
      readonly outcome: Outcome
      readonly durability: Durability | undefined
      readonly streaming?: Response
    }
  | { readonly kind: 'suspended'; readonly status: RunStatus; readonly wakeAt: number | undefined }
  /** Another owner has it, or (`unknown`) the store did not say what became of a write: the run goes on by itself. */
  | { readonly kind: 'lost' }
  | { readonly kind: 'unknown' }

/** One durable operation, as `durable()` declares it. */
export interface Operation {
  readonly operation: string
  readonly version: string
  readonly onVersion: 'continue' | 'park' | 'restart'
  readonly retry: RetryPolicy
  readonly frequency: Frequency
  /** How long its finished runs are kept; the manager's `retentionMs` unless given. */
  readonly retentionMs: number | undefined
}

/** Enters a run's handler again without the middleware in front of it. */
export type Resumer = (run: Run, record: RunRecord, input: RunInput) => Promise<Answer>
