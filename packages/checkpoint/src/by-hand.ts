import { decode, encode } from './codec.ts'
import { CheckpointError } from './errors.ts'
import type { LocalNode } from './local-node.ts'
import { problemOutcome } from './outcome.ts'
import { finished, type RunRecord, type RunStatus, unfinished } from './run-record.ts'
import { patchOf, type RunUpdate } from './run-update.ts'
import { refusalOf, type Unit } from './unit.ts'

/** A checkpoint made by hand, as its resume handler gets it. */
export interface Checkpoint {
  readonly id: string
  readonly operation: string
  readonly requestId: string | undefined
  readonly status: RunStatus
  readonly stage: string | undefined
  readonly progress: number | undefined
  readonly data: unknown
  readonly recoveries: number
}

/** What a checkpoint is made of. */
export interface NewCheckpoint {
  readonly requestId?: string
  readonly operation: string
  readonly data?: unknown
}

/** Checkpoints whose steps the caller takes: held by this process until they are ended. */
export class ByHand {
  readonly #node: LocalNode
  readonly #handlers = new Map<string, (checkpoint: Checkpoint) => unknown>()
  /** In order: an update waits for the one before it. */
  readonly #held = new Map<string, number>()

  constructor(node: LocalNode) {
    this.#node = node
  }

  get operations(): readonly string[] {
    return [...this.#handlers.keys()]
  }

  onResume(operation: string, handler: (checkpoint: Checkpoint) => unknown): void {
    this.#handlers.set(operation, handler)
  }

  async create(record: RunRecord, data: unknown): Promise<string> {
    const { id, fence } = record
    const node = this.#node
    const made = { ...record, data: data === undefined ? undefined : encode(data) }
    node.spoken.set(id, { id, fence })
    this.#held.set(id, fence)
    try {
      await node.commit(node.store.accept(made, { url: '', headers: [], variables: '{}', body: new Uint8Array() }))
    } catch (error) {
      this.#forget(id)
      throw error
    }
    return id
  }

  async update(id: string, patch: RunUpdate): Promise<void> {
    const { store, now } = this.#node
    const fence = await this.#fenceOf(id)
    const unit = store.unit()
    unit.add(store.patch({ id, fence }, patchOf(patch, now())))
    await this.#commit(unit, id)
    this.#node.wakeups.wake(id)
  }

  async end(id: string, status: 'completed' | 'failed', patch: RunUpdate): Promise<void> {
    const { store, now } = this.#node
    const fence = await this.#fenceOf(id)
    const record = (await store.get(id))!
    const stored = patchOf(patch, now())
    const before = record.data === undefined ? {} : JSON.parse(record.data)
    const body = new TextEncoder().encode(
      stored.merge === undefined ? (record.data ?? 'null') : JSON.stringify({ ...before, ...JSON.parse(stored.merge) }),
    )
    const unit = store.unit()
    unit.add(store.patch({ id, fence }, stored))
    unit.add(
      store.finish(
        { id, fence },
        {
          status,
          reason: undefined,
          outcome: { status: status === 'completed' ? 200 : 500, headers: [], body, retained: true },
          settled: true,
          expiresAt: this.#node.expiryOf(record.operation),
          updatedAt: now(),
        },
      ),
    )
    await this.#commit(unit, id)
    this.#forget(id)
    this.#node.wakeups.wake(id)
  }

  /** Every run and checkpoint that is not finished, oldest first. */
  async listIncomplete(): Promise<Checkpoint[]> {
    const all: RunRecord[] = []
    for (let before: string | undefined; ; ) {
      const query = { status: unfinished, limit: 500, ...(before === undefined ? {} : { before }) }
      const page = await this.#node.store.list(query)
      all.push(...page)
      before = page.at(-1)?.id
      if (page.length < 500) return all.reverse().map(checkpointOf)
    }
  }

  /** Gives a checkpoint that a dead process left to its handler. */
  resume(record: RunRecord): void {
    const handler = this.#handlers.get(record.operation)!
    this.#held.set(record.id, record.fence)
    Promise.resolve()
      .then(() => handler(checkpointOf(record)))
      .catch((error: unknown) =>
        this.end(record.id, 'failed', { resume_error: error instanceof Error ? error.message : String(error) }),
      )
      .catch(this.#node.report)
  }

  /** Ends a checkpoint of this process that somebody asked to cancel. */
  async cancel(id: string): Promise<void> {
    const fence = this.#held.get(id)
    if (fence === undefined) return
    const { store, now } = this.#node
    const operation = (await store.get(id))?.operation ?? ''
    const unit = store.unit()
    unit.add(
      store.finish(
        { id, fence },
        {
          status: 'cancelled',
          reason: 'cancelled',
          outcome: problemOutcome(409, 'run_cancelled', 'The request was cancelled'),
          settled: true,
          expiresAt: this.#node.expiryOf(operation),
          updatedAt: now(),
        },
      ),
    )
    await this.#commit(unit, id)
    this.#forget(id)
    this.#node.wakeups.wake(id)
  }

  async #fenceOf(id: string): Promise<number> {
    const fence = this.#held.get(id)
    if (fence !== undefined) return fence
    const record = await this.#node.store.get(id)
    if (record === undefined) throw new CheckpointError('not_found', `There is no checkpoint ${id}`)
    if (finished.has(record.status))
      throw new CheckpointError('already_finished', `Checkpoint ${id} is ${record.status}`)
    throw new CheckpointError('lease_lost', `Checkpoint ${id} is not held by this process`)
  }

  async #commit(unit: Unit, id: string): Promise<void> {
    try {
      await unit.commit()
    } catch (error) {
      const refusal = refusalOf(error)
      if (refusal === undefined) throw error
      this.#forget(id)
      if (refusal.reason === 'already_finished' || refusal.reason === 'cancel_requested')
        throw new CheckpointError('already_finished', `Checkpoint ${id} has ended`, { cause: error })
      const status = (await this.#node.store.get(id))?.status
      if (status !== undefined && finished.has(status))
        throw new CheckpointError('already_finished', `Checkpoint ${id} is ${status}`, { cause: error })
      throw new CheckpointError('lease_lost', `Checkpoint ${id} went on elsewhere`, { cause: error })
    }
  }

  #forget(id: string): void {
    this.#held.delete(id)
    this.#node.spoken.delete(id)
  }
}

function checkpointOf(record: RunRecord): Checkpoint {
  const { id, operation, requestId, status, stage, progress, data, recoveries } = record
  return {
    id,
    operation,
    requestId,
    status,
    stage,
    progress,
    data: data === undefined ? undefined : decode(data),
    recoveries,
  }
}
