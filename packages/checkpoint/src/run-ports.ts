import type { Run } from './run.ts'
import type { AttemptPorts, StepContext } from './step.ts'
import type { CheckpointStore, Statement } from './store.ts'
import type { Timers } from './timers.ts'
import type { Wait } from './waits.ts'

/** What a run needs of its manager. */
export interface RunPorts {
  readonly store: CheckpointStore
  readonly settleMs: number
  readonly now: () => number
  readonly random: () => number
  readonly timers: Timers
  readonly translateError: (error: unknown) => unknown
  readonly failpoint: ((name: 'step.before' | 'step.after', run: Run) => void) | undefined
  /** Something that people watch has changed. */
  readonly changed: (id: string) => void
}

/** How the driver of a run hears of it. */
export interface RunListener {
  stopped(reason: Error): void
  idle(wait: Wait): void
}

/** Statements, or a function that is called only when the step is not kept yet. */
export type Statements =
  | readonly Statement[]
  | ((context: StepContext) => readonly Statement[] | Promise<readonly Statement[]>)

/** What an attempt of a step needs of its run. */
export function attemptPortsOf(
  run: Run,
  { random, timers, translateError }: RunPorts,
  check: () => void,
  idempotencyKeyOf: (key: string) => string,
): AttemptPorts {
  return {
    random,
    timers,
    translateError,
    fence: run.fence,
    check,
    idempotencyKeyOf,
    get signal() {
      return run.signal
    },
  }
}
