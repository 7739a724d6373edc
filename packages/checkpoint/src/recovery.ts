import type { ByHand } from './by-hand.ts'
import { cancelledPlan, type Driver } from './driver.ts'
import { CheckpointError } from './errors.ts'
import type { LocalNode } from './local-node.ts'
import type { Resumer } from './operation.ts'
import { problemOutcome } from './outcome.ts'
import { newRunId } from './run-id.ts'
import type { RunRecord, StepRecord } from './run-record.ts'
import type { Claimed, Pulse, StoreNews } from './store.ts'

const batch = 100

/**
 * Keeps this process's lease, and looks for work: runs of dead owners, queued runs, waits that are over, outcomes that still drive
 * something elsewhere, finished runs past their time. Every pass that fails is followed by another.
 */
export class Recovery {
  readonly #node: LocalNode
  readonly #driver: () => Driver
  readonly #byHand: ByHand
  #sweeping: Promise<void> | undefined
  #sweepTimer: unknown
  #beatTimer: unknown
  #collectTimer: unknown
  #nextSweepAt = Number.POSITIVE_INFINITY
  #again = false
  #left = false
  #unlisten: (() => Promise<void>) | undefined

  constructor(node: LocalNode, driver: () => Driver, byHand: ByHand) {
    this.#node = node
    this.#driver = driver
    this.#byHand = byHand
  }

  /** Takes up a new incarnation, takes back what an earlier life of this node left, and goes on from then on. */
  async start(): Promise<void> {
    const node = this.#node
    const { store, options } = node
    await store.open()
    node.owner = `${options.nodeId ?? 'node'}/${newRunId(node.now())}`
    if (store.shared) {
      await node.commit<Pulse>(store.beat(node.owner, node.leaseMs))
      this.#beatLater()
    }
    await this.#listen()
    await this.sweep()
    this.#collectLater(1_000 + node.random() * 9_000)
  }

  async stop(): Promise<void> {
    this.#node.timers.clearTimeout(this.#sweepTimer)
    this.#node.timers.clearTimeout(this.#collectTimer)
    await this.#sweeping
  }

  /** Gives the lease up: what is left of this process's runs may be taken at once. */
  async leave(): Promise<void> {
    this.#left = true
    this.#node.timers.clearTimeout(this.#beatTimer)
    await this.#unlisten?.().catch(this.#node.report)
    this.#unlisten = undefined
    if (this.#node.owner === '' || !this.#node.store.shared) return
    await this.#node.commit(this.#node.store.leave(this.#node.owner)).catch(this.#node.report)
  }

  /** Sweeps no later than `at`. */
  readonly sweepAt = (at: number): void => {
    if (this.#node.stopping || this.#node.owner === '' || at >= this.#nextSweepAt) return
    this.#node.timers.clearTimeout(this.#sweepTimer)
    this.#nextSweepAt = at
    const afterMs = Math.max(0, at - this.#node.now())
    this.#sweepTimer = this.#node.timers.setTimeout(() => {
      this.#nextSweepAt = Number.POSITIVE_INFINITY
      if (this.#sweeping === undefined) void this.sweep()
      else this.#again = true
    }, afterMs)
  }

  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweep()
      .catch(this.#node.report)
      .finally(() => {
        this.#sweeping = undefined
        // What came up during the sweep may not have been seen by it.
        const everyMs = this.#again ? 0 : (this.#node.leaseMs / 3) * (0.9 + 0.2 * this.#node.random())
        this.#again = false
        this.sweepAt(this.#node.now() + everyMs)
      })
    return this.#sweeping
  }

  /** A sweep that sees everything that was there when it was asked for. */
  async sweepNow(): Promise<void> {
    await this.#sweeping
    if (!this.#node.stopping) await this.sweep()
  }

  async #sweep(): Promise<void> {
    this.#node.timers.clearTimeout(this.#sweepTimer)
    this.#nextSweepAt = Number.POSITIVE_INFINITY
    const node = this.#node
    const { store, owner } = node
    const held = await store.held(owner)
    let orphans = held.filter(({ id }) => !node.live.has(id) && !node.spoken.has(id))
    while (!node.stopping && node.room > 0) {
      const limit = Math.min(batch, node.room)
      const operations = [...node.operations.keys(), ...this.#byHand.operations].filter((name) => this.#runs(name))
      const claim = {
        owner,
        operations,
        orphans: orphans.slice(0, limit),
        alone: !store.shared,
        limit,
        now: node.now(),
      }
      const { runs, nextWakeAt } = await node.commit<Claimed>(store.claim(claim))
      for (const { id, fence } of runs) node.spoken.set(id, { id, fence })
      await Promise.all(runs.map((run) => this.#recover(run)))
      orphans = orphans.slice(limit)
      if (nextWakeAt !== undefined) this.sweepAt(nextWakeAt)
      if (runs.length < limit && orphans.length === 0) break
    }
    for (const run of await store.unsettled(batch)) {
      const outcome = await store.outcome(run.id)
      if (outcome !== undefined) await this.#driver().settleElsewhere(run, outcome).catch(node.report)
    }
  }

  #runs(operation: string): boolean {
    return this.#node.resumers.has(operation) || this.#byHand.operations.includes(operation)
  }

  /** A run that cannot be taken up is left as an orphan, for the next sweep. */
  async #recover(run: RunRecord): Promise<void> {
    try {
      this.#node.tell('checkpoint.resumed', run)
      const resumer = this.#node.resumers.get(run.operation)
      if (run.recoveries > (this.#node.options.maxRecoveries ?? 10)) {
        const outcome = problemOutcome(500, 'run_dead', 'The request could not be finished')
        await this.#driver().finish(run, 'dead', 'taken over too often', outcome)
        this.#done(run)
      } else if (resumer !== undefined) await this.#resume(run, resumer)
      else if (run.cancelRequested) await this.#cancelled(run)
      else this.#byHand.resume((await this.#node.store.get(run.id)) ?? run)
    } catch (error) {
      this.#node.spoken.delete(run.id)
      this.#node.report(error)
    }
  }

  async #resume(run: RunRecord, resumer: Resumer): Promise<void> {
    const node = this.#node
    const operation = node.operations.get(run.operation)!
    const [input, steps] = await Promise.all([node.store.input(run.id), node.store.steps(run.id)]).catch(unlessErased)
    if (input === 'erased') {
      const outcome = problemOutcome(410, 'payload_erased', 'The request was erased')
      await this.#driver().finish(run, 'dead', 'payload_erased', outcome)
      this.#done(run)
      return
    }
    if (input === undefined) {
      // While this process was paused another may have taken the run and ended it, and a third collected it.
      if ((await node.store.get(run.id))?.fence !== run.fence) {
        this.#done(run)
        return
      }
      throw new CheckpointError('corrupt_record', `Run ${run.id} has no input`)
    }
    if (run.cancelRequested && steps.length === 0) {
      await this.#cancelled(run)
      return
    }
    const other = operation.version !== run.version
    if (other && operation.onVersion === 'park' && !run.cancelRequested) {
      const reason = `accepted by version ${run.version}, this is ${operation.version}`
      const suspension = {
        status: 'parked',
        reason,
        wakeAt: undefined,
        attempt: run.attempt,
        updatedAt: node.now(),
      } as const
      await this.#driver().suspend(run, suspension)
      this.#done(run)
      return
    }
    if (other && operation.onVersion === 'restart' && !run.cancelRequested) {
      await this.#restart(run, steps, operation.version)
      return
    }
    const live = node.runOf(run, steps)
    if (run.cancelRequested) live.rewind(cancelledPlan)
    this.#driver()
      .drive(run, live, () => resumer(live, run, input), operation)
      .catch(node.report)
  }

  /** Forgets what was kept together with the older version, so that what is kept from then on counts. */
  async #restart(run: RunRecord, steps: readonly StepRecord[], version: string): Promise<void> {
    const { store, now } = this.#node
    const { id, fence, attempt } = run
    const updatedAt = now()
    const drop = steps
      .filter(({ state }) => state !== 'signal')
      .map(({ name, occurrence, state }) => ({ name, occurrence, state }))
    const unit = store.unit()
    unit.add(
      store.suspend({ id, fence }, { status: 'parked', reason: 'restarts', wakeAt: undefined, attempt, updatedAt }),
    )
    unit.add(store.requeue({ id, revision: run.revision + 1, drop, keep: [], version, updatedAt }))
    await unit.commit()
    this.#done(run)
    this.sweepAt(updatedAt)
  }

  async #cancelled(run: RunRecord): Promise<void> {
    await this.#driver().finish(run, 'cancelled', 'cancelled', cancelledPlan.outcome)
    this.#done(run)
  }

  #done(run: RunRecord): void {
    this.#node.spoken.delete(run.id)
    this.#node.wakeups.wake(run.id)
  }

  #beatLater(): void {
    this.#beatTimer = this.#node.timers.setTimeout(() => {
      this.#beat()
        .catch(this.#node.report)
        .finally(() => {
          if (!this.#left) this.#beatLater()
        })
    }, this.#node.leaseMs / 3)
  }

  async #beat(): Promise<void> {
    const node = this.#node
    const { lapsed, cancelRequested } = await node.commit<Pulse>(node.store.beat(node.owner, node.leaseMs))
    for (const id of cancelRequested) this.cancelHere(id)
    if (lapsed) await this.#checkHeld()
  }

  /** After a lapse, others may have taken runs whose handlers still go on here. */
  async #checkHeld(): Promise<void> {
    const live = [...this.#node.live]
    const held = new Map((await this.#node.store.held(this.#node.owner)).map(({ id, fence }) => [id, fence]))
    for (const [id, { run }] of live) {
      if (held.get(id) === run.fence || this.#node.live.get(id)?.run !== run) continue
      run.stop(new CheckpointError('lease_lost', `Run ${id} goes on elsewhere; this process may not write to it`))
    }
  }

  /** Ends a run of this process that somebody asked to cancel. */
  cancelHere(id: string): void {
    this.#node.live.get(id)?.run.stop(new CheckpointError('run_cancelled', 'The request was cancelled'))
    if (this.#node.spoken.has(id)) void this.#byHand.cancel(id).catch(this.#node.report)
  }

  async #listen(): Promise<void> {
    const { store } = this.#node
    if (store.listen === undefined || this.#unlisten !== undefined) return
    this.#unlisten = await store
      .listen((news) => this.#hear(news))
      .catch((error: unknown) => {
        this.#node.report(error)
        return undefined
      })
  }

  #hear(news: StoreNews): void {
    if (news.kind === 'queued') this.sweepAt(this.#node.now() + Math.floor(this.#node.random() * 10))
    else if (news.kind === 'finished') this.#node.wakeups.wake(news.id)
    else if (news.kind === 'cancel') this.cancelHere(news.id)
    else void this.deliverSignals(news.id).catch(this.#node.report)
  }

  /** Gives a run of this process the signals that are kept for it. */
  async deliverSignals(id: string): Promise<void> {
    const live = this.#node.live.get(id)
    if (live === undefined) return
    for (const step of await this.#node.store.steps(id)) if (step.state === 'signal') live.run.deliver(step)
  }

  #collectLater(afterMs: number): void {
    if (this.#node.stopping) return
    this.#collectTimer = this.#node.timers.setTimeout(() => {
      this.collect()
        .catch(this.#node.report)
        .finally(() =>
          this.#collectLater((this.#node.options.gcIntervalMs ?? 3_600_000) * (0.9 + 0.2 * this.#node.random())),
        )
    }, afterMs)
    // A timer of an hour must not keep a process that is otherwise done.
    ;(this.#collectTimer as { unref?: () => void }).unref?.()
  }

  /** Deletes finished runs past their time, a batch at a time, letting requests through in between. Resolves to how many. */
  async collect(): Promise<number> {
    let collected = 0
    while (!this.#node.stopping) {
      const n = await this.#node.commit<number>(this.#node.store.collect(this.#node.now(), batch))
      collected += n
      if (n < batch) break
      await new Promise((resolve) => this.#node.timers.setTimeout(() => resolve(undefined), 1))
    }
    return collected
  }
}

/** A request that was erased with its subject's key can never be taken up again. */
function unlessErased(error: unknown): readonly ['erased', readonly []] {
  if (error instanceof Error && 'code' in error && error.code === 'payload_erased') return ['erased', []]
  throw error
}
