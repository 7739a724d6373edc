import type { StepSummary } from './manager.ts'
import { finished, type RunRecord, type RunStatus } from './run-record.ts'

/** One thing that happened to a run. `id` grows; a watcher that comes back with it misses nothing. */
export type RunEvent =
  | { readonly id: string; readonly type: 'step'; readonly step: StepSummary }
  | { readonly id: string; readonly type: 'status'; readonly status: RunProgress }

/** Where a run is. */
export interface RunProgress {
  readonly status: RunStatus
  readonly stage: string | undefined
  readonly progress: number | undefined
  readonly reason: string | undefined
}

/** What watching needs of the manager. */
export interface Watched {
  /** Whether this process shuts down. */
  readonly stopping: boolean
  /** Whether this process runs its handler. */
  isLive(id: string): boolean
  get(id: string): Promise<RunRecord | undefined>
  steps(id: string): Promise<readonly StepSummary[]>
}

const pollMs = 1_000

/**
 * Yields every step once, and every status that it sees: one that lasts shorter than a look may be skipped, the last one never.
 * Ends when the run is finished or gone, and where this process shuts down and does not run it: whoever watches goes on elsewhere.
 */
export async function* watch(
  manager: Watched,
  woken: (afterMs: number, signal?: AbortSignal) => Promise<void>,
  id: string,
  { after, signal }: { readonly after?: string; readonly signal?: AbortSignal },
): AsyncGenerator<RunEvent, void, undefined> {
  let { revision, steps } = positionOf(after)
  while (!signal?.aborted) {
    const next = woken(pollMs, signal)
    const run = await manager.get(id)
    if (run === undefined) return
    const kept = await manager.steps(id)
    // A retry forgets steps: the count begins anew with what is there.
    if (steps > kept.length) steps = kept.length
    for (const step of kept.slice(steps)) yield { id: `${revision}.${++steps}`, type: 'step', step }
    if (run.revision > revision) {
      revision = run.revision
      const { status, stage, progress, reason } = run
      yield { id: `${revision}.${steps}`, type: 'status', status: { status, stage, progress, reason } }
    }
    if (finished.has(run.status) || (manager.stopping && !manager.isLive(id))) return
    await next
  }
}

function positionOf(id: string | undefined): { readonly revision: number; readonly steps: number } {
  const [, revision, steps] = /^(\d{1,15})\.(\d{1,15})$/.exec(id ?? '') ?? []
  return { revision: Number(revision ?? 0), steps: Number(steps ?? 0) }
}
