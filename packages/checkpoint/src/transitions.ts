import { finished, type RunRecord } from './run-record.ts'
import type { Claim, Ending, Held, Requeue, RunPatch, Suspension } from './store.ts'

/** Why a write changes nothing. */
export type Refusal =
  | 'exists'
  | 'not_found'
  | 'lease_lost'
  | 'already_finished'
  | 'cancel_requested'
  | 'not_resumable'
  | 'stale'

/** What becomes of a run's row, or why nothing does. The same for every store. */
export type Transition = RunRecord | Refusal

/** Why `held` may not write to `run`, if so. */
export function refusalFor(run: RunRecord | undefined, { fence }: Held): Refusal | undefined {
  if (run === undefined) return 'not_found'
  if (run.fence === fence) {
    if (run.status === 'running') return undefined
    return finished.has(run.status) ? 'already_finished' : 'lease_lost'
  }
  return 'lease_lost'
}

function changed(run: RunRecord, changes: Partial<RunRecord>): RunRecord {
  return { ...run, ...changes, revision: run.revision + 1 }
}

export function patched(run: RunRecord | undefined, held: Held, patch: RunPatch): Transition {
  const refusal = refusalFor(run, held)
  if (refusal !== undefined) return refusal
  const { merge, data, ...columns } = patch
  return changed(run!, {
    ...columns,
    ...(merge === undefined ? {} : { data: merged(run!.data, merge) }),
    ...(data === undefined ? {} : { data }),
  })
}

/** Both are objects as the codec writes them, so that their fields can be taken over without being understood. */
function merged(before: string | undefined, fields: string): string {
  const base: unknown = before === undefined ? undefined : JSON.parse(before)
  const plain = typeof base === 'object' && base !== null && !Array.isArray(base) && !('$gw' in base)
  return plain ? JSON.stringify({ ...base, ...JSON.parse(fields) }) : fields
}

export function suspended(run: RunRecord | undefined, held: Held, suspension: Suspension): Transition {
  const refusal = refusalFor(run, held)
  if (refusal !== undefined) return refusal
  const { signalsSeen, cancelSeen, ...columns } = suspension
  const unseen = signalsSeen !== undefined && run!.signals > signalsSeen
  const unaware = run!.cancelRequested && cancelSeen !== true
  const due = unaware || (suspension.status === 'waiting' && unseen)
  return changed(run!, { ...columns, owner: undefined, ...(due ? { status: 'queued', wakeAt: undefined } : {}) })
}

export function ended(run: RunRecord | undefined, held: Held, ending: Omit<Ending, 'outcome'>): Transition {
  const refusal = refusalFor(run, held)
  if (refusal !== undefined) return refusal
  if (ending.status === 'completed' && run!.cancelRequested) return 'cancel_requested'
  const { status, reason, settled, expiresAt, updatedAt } = ending
  return changed(run!, {
    status,
    reason,
    settled,
    expiresAt,
    updatedAt,
    owner: undefined,
    wakeAt: undefined,
    ...(status === 'completed' ? { progress: 1 } : {}),
  })
}

/** Whether a claim may take the run; `lives` says whether the lease of an owner still runs. */
export function claimable(run: RunRecord, claim: Claim, lives: (owner: string) => boolean): boolean {
  if (!run.cancelRequested && !claim.operations.includes(run.operation)) return false
  switch (run.status) {
    case 'queued':
      return true
    case 'waiting':
      return run.wakeAt !== undefined && run.wakeAt <= claim.now
    case 'running':
      if (run.owner === claim.owner) return claim.orphans.some(({ id, fence }) => id === run.id && fence === run.fence)
      return claim.alone || run.owner === undefined || !lives(run.owner)
    default:
      return false
  }
}

export function claimed(run: RunRecord, { owner, now }: Pick<Claim, 'owner' | 'now'>): RunRecord {
  return changed(run, {
    status: 'running',
    owner,
    fence: run.fence + 1,
    recoveries: run.recoveries + (run.status === 'running' && run.owner !== owner ? 1 : 0),
    wakeAt: undefined,
    updatedAt: now,
  })
}

export function cancelled(run: RunRecord | undefined, updatedAt: number): Transition {
  if (run === undefined) return 'not_found'
  if (finished.has(run.status)) return 'already_finished'
  return changed(run, {
    cancelRequested: true,
    updatedAt,
    ...(run.status === 'running' ? {} : { status: 'queued', wakeAt: undefined }),
  })
}

export function signalled(run: RunRecord | undefined, updatedAt: number): Transition {
  if (run === undefined) return 'not_found'
  if (finished.has(run.status)) return 'already_finished'
  return changed(run, {
    signals: run.signals + 1,
    updatedAt,
    ...(run.status === 'waiting' ? { status: 'queued', wakeAt: undefined } : {}),
  })
}

const resumable: ReadonlySet<string> = new Set(['failed', 'dead', 'parked', 'waiting', 'cancelled'])

export function requeued(run: RunRecord | undefined, { revision, version, updatedAt }: Requeue): Transition {
  if (run === undefined) return 'not_found'
  if (run.revision !== revision) return 'stale'
  if (!resumable.has(run.status)) return 'not_resumable'
  return changed(run, {
    status: 'queued',
    reason: undefined,
    wakeAt: undefined,
    expiresAt: undefined,
    settled: false,
    attempt: 1,
    recoveries: 0,
    cancelRequested: false,
    updatedAt,
    ...(version === undefined ? {} : { version }),
  })
}

export function settledRun(run: RunRecord | undefined): Transition {
  return run === undefined ? 'not_found' : changed(run, { settled: true })
}

export function removable(run: RunRecord | undefined, revision: number): boolean {
  return run !== undefined && run.revision === revision && finished.has(run.status)
}

export function collectable(run: RunRecord, now: number): boolean {
  return finished.has(run.status) && run.settled && run.expiresAt !== undefined && run.expiresAt <= now
}
