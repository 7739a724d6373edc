import { CheckpointError } from './errors.ts'
import { refusalOf } from './unit.ts'

/** Failures of the user's own statements; the run goes on. */
const ordinary: ReadonlySet<unknown> = new Set(['constraint', 'procedure_failed'])
/** Why nothing more may be kept. Any other stop still lets a step that has happened be remembered. */
const final: ReadonlySet<unknown> = new Set(['lease_lost', 'storage_unknown', 'stopping'])

/** Whether a run that stopped for this reason may keep nothing more. */
export function isFinal(reason: Error): boolean {
  return reason instanceof CheckpointError && final.has(reason.code)
}

/** What a failed write means for the run: it is another's, its fate is not known, or (`undefined`) only this statement was wrong. */
export function lossOf(run: string, error: unknown): CheckpointError | undefined {
  const refusal = refusalOf(error)
  if (refusal === undefined && error instanceof Error && 'code' in error && ordinary.has(error.code)) return undefined
  return refusal === undefined
    ? new CheckpointError('storage_unknown', `It is not known whether a write of run ${run} was kept`, { cause: error })
    : new CheckpointError('lease_lost', `Run ${run} goes on elsewhere; this process may not write to it`, {
        cause: error,
      })
}
