import { CheckpointError } from './errors.ts'
import type { LocalNode } from './local-node.ts'
import type { Answer, Operation, Settled } from './operation.ts'
import { type Captured, capture, problemOutcome } from './outcome.ts'
import { messageOf, type Verdict, verdictOn } from './retry.ts'
import type { Run } from './run.ts'
import type { Outcome, RunRecord, RunStatus } from './run-record.ts'
import type { Ending, Suspension } from './store.ts'
import { type Durability, refusalOf } from './unit.ts'
import type { UnwindPlan } from './unwinding.ts'

type Ended =
  | { readonly kind: 'answered'; readonly response: Response | undefined; readonly error: unknown }
  | { readonly kind: 'gone'; readonly reason: Error }
  | { readonly kind: 'idle'; readonly reason: string; readonly wakeAt: number | undefined }

/** The end of a run that was cancelled. */
export const cancelledPlan: UnwindPlan = {
  status: 'cancelled',
  reason: 'cancelled',
  outcome: problemOutcome(409, 'run_cancelled', 'The request was cancelled'),
}

/** Takes runs through their handlers and makes what comes of them durable. */
export class Driver {
  readonly #node: LocalNode
  /** When a suspended run is due. */
  readonly #wakeAt: (at: number) => void
  /** Ends a run that took too long. */
  readonly #timeOut: (id: string) => Promise<unknown>

  constructor(node: LocalNode, wakeAt: (at: number) => void, timeOut: (id: string) => Promise<unknown>) {
    this.#node = node
    this.#wakeAt = wakeAt
    this.#timeOut = timeOut
  }

  /** Runs a handler for an accepted run until the run ends, waits, or is another's. */
  drive(record: RunRecord, run: Run, enter: () => Promise<Answer>, operation: Operation): Promise<Settled> {
    const node = this.#node
    const { runTimeoutMs } = node.options
    const timer =
      runTimeoutMs === undefined
        ? undefined
        : node.timers.setTimeout(() => void this.#timeOut(record.id).catch(node.report), runTimeoutMs)
    // A lease that lapsed for a moment may bring a run back to the process in which its life before still goes on.
    const before = node.live.get(record.id)?.run
    before?.stop(new CheckpointError('lease_lost', `Run ${record.id} goes on under another fence`))
    const settled = this.#drive(record, run, enter, operation).finally(() => {
      node.timers.clearTimeout(timer)
      const full = node.room <= 0
      if (node.live.get(record.id)?.run === run) node.live.delete(record.id)
      node.wakeups.wake(record.id)
      if (full) this.#wakeAt(node.now())
    })
    node.live.set(record.id, { run, settled })
    node.spoken.delete(record.id)
    node.arriving.delete(record.id)
    return settled
  }

  async #drive(record: RunRecord, run: Run, enter: () => Promise<Answer>, operation: Operation): Promise<Settled> {
    try {
      const ended = await untilEnd(run, enter)
      if (ended.kind === 'gone') return this.#gone(record, ended.reason)
      if (ended.kind === 'idle')
        return await this.suspend(record, {
          status: 'waiting',
          reason: ended.reason,
          wakeAt: ended.wakeAt,
          attempt: record.attempt,
          signalsSeen: run.signalsSeen,
          updatedAt: this.#node.now(),
        })
      return await this.#settle(record, run, ended.response, ended.error, operation)
    } catch (failure) {
      const code = failure instanceof Error && 'code' in failure ? failure.code : undefined
      if (code === 'lease_lost' || code === 'storage_unknown' || code === 'stopping')
        return this.#gone(record, failure as Error)
      this.#node.report(failure)
      this.#wakeAt(this.#node.now() + 1_000)
      return { kind: 'unknown' }
    }
  }

  async #settle(
    record: RunRecord,
    run: Run,
    response: Response | undefined,
    thrown: unknown,
    operation: Operation,
  ): Promise<Settled> {
    const { now, random } = this.#node
    if (run.plan !== undefined) return this.#unwind(record, run, run.plan, operation)
    const error = thrown === undefined ? undefined : this.#node.translateError(thrown)
    const verdict: Verdict = verdictOn(run, error, record.attempt, operation.retry, now(), random)
    switch (verdict.kind) {
      case 'lost':
        return this.#gone(record, run.stopped!)
      case 'suspend': {
        const { status, reason, wakeAt, attempt } = verdict
        const suspension: Suspension = { status, reason, wakeAt, attempt, updatedAt: now() }
        return this.suspend(record, suspension, run)
      }
      case 'cancel': {
        // Stopped before the handler had gone over all that it kept: what can be taken back is known only to a life that does.
        if (run.unrequested !== undefined) {
          const { attempt } = record
          const queued = {
            status: 'queued',
            reason: 'cancelled',
            wakeAt: undefined,
            attempt,
            updatedAt: now(),
          } as const
          return this.suspend(record, queued, run)
        }
        return this.#unwind(record, run, cancelledPlan, operation)
      }
      case 'fail': {
        const outcome = await failedOutcome(response, verdict.error.code, this.#node.options.maxResponseBytes)
        return this.#unwind(record, run, { status: 'failed', reason: verdict.reason, outcome }, operation)
      }
      case 'complete': {
        let captured: Captured
        try {
          captured = await capture(response!, this.#node.options.maxResponseBytes ?? 1_048_576)
        } catch (failure) {
          // A handler whose answer breaks off has failed, and it would each time that the run came back to it.
          return this.#settle(record, run, undefined, reasonOf(failure), operation)
        }
        const { outcome, streaming } = captured
        const settled = await this.finish(record, 'completed', undefined, outcome, run)
        if (settled === 'cancel_requested') return this.#unwind(record, run, cancelledPlan, operation)
        return streaming === undefined || settled.kind !== 'outcome' ? settled : { ...settled, streaming }
      }
    }
  }

  async #unwind(record: RunRecord, run: Run, plan: UnwindPlan, operation: Operation): Promise<Settled> {
    const { now, random } = this.#node
    let decided: UnwindPlan
    try {
      decided = await run.unwind(plan)
    } catch (error) {
      const verdict = verdictOn(run, error, record.attempt, operation.retry, now(), random)
      if (verdict.kind === 'lost') return this.#gone(record, run.stopped!)
      const wakeAt = verdict.kind === 'suspend' ? verdict.wakeAt : undefined
      return this.suspend(record, {
        status: wakeAt === undefined ? 'parked' : 'waiting',
        reason: messageOf(error),
        wakeAt,
        attempt: record.attempt,
        cancelSeen: true,
        updatedAt: now(),
      })
    }
    const settled = await this.finish(record, decided.status, decided.reason, decided.outcome, run)
    return settled === 'cancel_requested' ? { kind: 'unknown' } : settled
  }

  #gone(record: RunRecord, reason: Error): Settled {
    const lost = 'code' in reason && reason.code === 'lease_lost'
    this.#node.tell(lost ? 'checkpoint.lease_lost' : 'checkpoint.interrupted', record)
    if (!lost && !this.#node.stopping) this.#wakeAt(this.#node.now() + 1_000)
    return lost ? { kind: 'lost' } : { kind: 'unknown' }
  }

  /** Puts a run aside. */
  async suspend(record: RunRecord, suspension: Suspension, run?: Run): Promise<Settled> {
    const { store } = this.#node
    const unit = store.unit()
    run?.flushInto(unit)
    let status: RunStatus = suspension.status
    unit.add(store.suspend({ id: record.id, fence: record.fence }, suspension), (result) => {
      status = result as RunStatus
    })
    try {
      await unit.commit()
    } catch (error) {
      if (refusalOf(error) === undefined) throw unknown(record, error)
      return this.#adopted(record)
    }
    const { reason, wakeAt } = suspension
    this.#node.tell(status === 'parked' ? 'checkpoint.parked' : 'checkpoint.waiting', {
      ...record,
      status,
      reason,
      wakeAt,
    })
    if (status === 'queued') this.#wakeAt(this.#node.now())
    else if (status === 'waiting' && wakeAt !== undefined) this.#wakeAt(wakeAt)
    return { kind: 'suspended', status, wakeAt: status === 'queued' ? this.#node.now() : wakeAt }
  }

  /** Ends a run; `cancel_requested` where it may not complete because somebody asked to cancel it. */
  async finish(
    record: RunRecord,
    status: Ending['status'],
    reason: string | undefined,
    outcome: Outcome,
    run?: Run,
  ): Promise<Settled | 'cancel_requested'> {
    const node = this.#node
    const { store } = node
    const settles = node.hooks.some(({ settle }) => settle !== undefined)
    const expiresAt = node.expiryOf(record.operation)
    const updatedAt = node.now()
    const progress = status === 'completed' ? 1 : record.progress
    const ended: RunRecord = {
      ...record,
      status,
      reason,
      progress,
      owner: undefined,
      settled: !settles,
      expiresAt,
      updatedAt,
    }
    const unit = store.unit()
    run?.flushInto(unit)
    const ending: Ending = { status, reason, outcome, settled: !settles, expiresAt, updatedAt }
    unit.add(store.finish({ id: record.id, fence: record.fence }, ending))
    for (const { onOutcome } of node.hooks) onOutcome?.(ended, outcome, unit)
    node.failpoint('outcome.before')
    let durability: Durability
    try {
      durability = await unit.commit()
    } catch (error) {
      const refusal = refusalOf(error)
      if (refusal === undefined) throw unknown(record, error)
      return refusal.reason === 'cancel_requested' ? 'cancel_requested' : this.#adopted(record)
    }
    node.failpoint('outcome.after')
    node.tell('checkpoint.finished', ended)
    if (settles) await this.settleElsewhere(ended, outcome).catch(node.report)
    return { kind: 'outcome', outcome, durability }
  }

  /** Drives what an outcome still has to do in other databases, and remembers that it is done. */
  async settleElsewhere(run: RunRecord, outcome: Outcome): Promise<void> {
    for (const { settle } of this.#node.hooks) await settle?.(run, outcome)
    await this.#node.commit(this.#node.store.settle(run.id))
  }

  /** What another owner has recorded, for one that lost the race. */
  async #adopted(record: RunRecord): Promise<Settled> {
    const outcome = await this.#node.store.outcome(record.id)
    if (outcome !== undefined) return { kind: 'outcome', outcome, durability: undefined }
    this.#node.tell('checkpoint.lease_lost', record)
    return { kind: 'lost' }
  }
}

function untilEnd(run: Run, enter: () => Promise<Answer>): Promise<Ended> {
  return new Promise((resolve) => {
    run.listen({
      idle: (wait) => resolve({ kind: 'idle', ...wait }),
      stopped: (reason) => {
        const code = 'code' in reason ? reason.code : undefined
        if (code === 'lease_lost' || code === 'storage_unknown' || code === 'stopping')
          resolve({ kind: 'gone', reason })
      },
    })
    enter().then(
      ({ response, error }) => resolve({ kind: 'answered', response, error }),
      (error: unknown) => resolve({ kind: 'answered', response: undefined, error: reasonOf(error) }),
    )
  })
}

/** Nothing is thrown too (`setTimeout(reject)`), and must not pass for an answer. */
function reasonOf(thrown: unknown): unknown {
  return thrown ?? new Error('It failed without a reason')
}

function unknown(record: RunRecord, cause: unknown): CheckpointError {
  return new CheckpointError('storage_unknown', `It is not known whether a write of run ${record.id} was kept`, {
    cause,
  })
}

async function failedOutcome(response: Response | undefined, code: string, maxBytes = 1_048_576): Promise<Outcome> {
  const plain = response?.headers.get('content-type')?.startsWith('text/plain') === true && response.status === 500
  if (response === undefined || plain) return problemOutcome(500, code, 'The request failed')
  return (await capture(response, maxBytes)).outcome
}
