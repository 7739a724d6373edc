import { setInterval } from 'node:timers'
import { Worker } from 'node:worker_threads'
import { SqliteError } from './errors.ts'
import {
  type Answer,
  type Failed,
  type FromWriter,
  isFailed,
  type ToWriter,
  type UnitMessage,
  type WriterData,
} from './messages.ts'

/** One unit on its way to the disk. */
export interface Enqueued {
  readonly message: UnitMessage
  readonly sync: boolean
  committed(results: readonly unknown[]): void
  failed(error: SqliteError): void
}

/** A unit and the tick at which it came. */
interface PendingUnit {
  readonly unit: Enqueued
  readonly since: number
}

/** In the place of a unit whose caller was told that it is unknown. */
const abandoned: Enqueued = { message: [], sync: false, committed() {}, failed() {} }
/** How many ticks a deadline has. A process that was stopped does not find all of them over at once. */
const ticksPerDeadline = 20

/** How many units make a message at once, without waiting for the turn to end. */
const unitsPerMessage = 32

/** How writes wait for the writer thread. */
export interface GroupCommitOptions extends WriterData {
  readonly maxPending: number
  readonly onFull: 'wait' | 'refuse'
  readonly deadlineMs: number
}

interface Request {
  resolve(): void
  reject(error: SqliteError): void
}

/**
 * Hands units over to the writer thread, one message a turn of the event loop, and while one message is under way and another
 * waits, all that gathers behind them in the next; whatever waits there when a commit ends shares the next one: one
 * transaction, one sync. The first failure of the storage is final.
 */
export class GroupCommit {
  readonly #worker: Worker
  readonly #maxPending: number
  readonly #onFull: 'wait' | 'refuse'
  readonly #procedures = new Map<string, number>()
  readonly #requests = new Map<number, Request>()
  readonly #failureListeners: ((cause: unknown) => void)[] = []
  /** Sent and not answered yet, in order. */
  #sent: PendingUnit[] = []
  #queue: PendingUnit[] = []
  #overflow: PendingUnit[] = []
  #scheduled = false
  /** The sizes of the messages that are not answered yet, and when each was sent. */
  #messages: number[] = []
  #sentAt: number[] = []
  #drained: (() => void)[] = []
  #nextId = 0
  #failure: SqliteError | undefined
  #closed = false
  #tick = 0
  readonly #clock: ReturnType<typeof setInterval>
  commits = 0
  commitMs = 0
  writes = 0

  static start(options: GroupCommitOptions): Promise<GroupCommit> {
    return new Promise((resolve, reject) => {
      const group = new GroupCommit(options)
      const fail = async (error: SqliteError) => {
        clearInterval(group.#clock)
        await group.#worker.terminate()
        reject(error)
      }
      group.#worker.once('message', (message: FromWriter) => {
        if (message.type !== 'ready') return void fail(new SqliteError('storage_failed', textOf(message)))
        group.#listen()
        resolve(group)
      })
      group.#worker.once('error', (cause) =>
        fail(new SqliteError('storage_failed', 'The writer thread did not start', { cause })),
      )
    })
  }

  private constructor({ maxPending, onFull, deadlineMs, ...workerData }: GroupCommitOptions) {
    this.#maxPending = maxPending
    this.#onFull = onFull
    this.#clock = setInterval(() => this.#expire(), deadlineMs / ticksPerDeadline).unref()
    const source = import.meta.url.endsWith('.ts')
    this.#worker = new Worker(new URL(source ? './writer.ts' : './writer.js', import.meta.url), { workerData })
  }

  get failure(): SqliteError | undefined {
    return this.#failure
  }

  get pending(): number {
    return this.#sent.length + this.#queue.length + this.#overflow.length
  }

  /** The number under which the writer thread knows a procedure; it loads the module at the first use. */
  procedureId(name: string): number {
    let id = this.#procedures.get(name)
    if (id === undefined) {
      id = this.#procedures.size
      this.#procedures.set(name, id)
      this.#post({ type: 'procedure', id, name })
    }
    return id
  }

  /** Whether the disk has not answered for a deadline. */
  get stalled(): boolean {
    const [oldest] = this.#sent
    return oldest !== undefined && this.#isLate(oldest)
  }

  enqueue(unit: Enqueued): void {
    const refusal = this.#failure ?? (this.#closed ? closedError() : undefined)
    if (refusal !== undefined) {
      unit.failed(refusal)
      return
    }
    this.writes += unit.message.length / 2
    if (this.#sent.length + this.#queue.length >= this.#maxPending) {
      if (this.#onFull === 'refuse') {
        unit.failed(
          new SqliteError('write_queue_full', `${this.#maxPending} writes are waiting for the disk; try again later`),
        )
      } else this.#overflow.push({ unit, since: this.#tick })
      return
    }
    this.#queue.push({ unit, since: this.#tick })
    if (this.#queue.length >= unitsPerMessage) this.#flush()
    else this.#schedule()
  }

  request(message: (id: number) => ToWriter): Promise<void> {
    const refusal = this.#failure ?? (this.#closed ? closedError() : undefined)
    if (refusal !== undefined) return Promise.reject(refusal)
    return this.#send(message)
  }

  onFailed(listener: (cause: unknown) => void): void {
    if (this.#failure !== undefined) listener(this.#failure)
    else this.#failureListeners.push(listener)
  }

  /**
   * Refuses what comes from now on, waits for what is pending and for `copying`, and ends the thread. The last move of the log into
   * the file needs a file that nobody reads; after a failure there must be none, so the reader is closed behind the writer then.
   */
  async close(copying: Promise<void>, closeReader: () => void): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await copying
    if (this.#failure === undefined && this.pending > 0) {
      await new Promise<void>((resolve) => this.#drained.push(resolve))
    }
    if (this.#failure === undefined) {
      closeReader()
      await this.#send((id) => ({ type: 'close', id })).catch(() => {})
    }
    clearInterval(this.#clock)
    this.#worker.removeAllListeners('exit')
    await this.#worker.terminate()
    if (this.#failure !== undefined) closeReader()
  }

  #send(message: (id: number) => ToWriter): Promise<void> {
    return new Promise((resolve, reject) => {
      const id = this.#nextId++
      this.#requests.set(id, { resolve, reject })
      this.#post(message(id))
    })
  }

  #post(message: ToWriter): void {
    this.#worker.postMessage(message)
  }

  /** At the end of the turn: one message for all that the turn wrote. The writer thread joins what it finds waiting. */
  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      if (this.#messages.length > 1) return
      this.#flush()
    })
  }

  #flush(): void {
    const units = this.#queue
    if (units.length === 0 || this.#failure !== undefined) return
    this.#queue = []
    this.#hand(units)
  }

  #hand(units: readonly PendingUnit[]): void {
    try {
      this.#post({
        type: 'batch',
        sync: units.some(({ unit }) => unit.sync),
        units: units.map(({ unit }) => unit.message),
      })
    } catch (cause) {
      if (units.length > 1) for (const unit of units) this.#hand([unit])
      else units[0]!.unit.failed(new SqliteError('procedure_failed', 'The arguments cannot be cloned', { cause }))
      return
    }
    for (const unit of units) this.#sent.push(unit)
    this.#messages.push(units.length)
    this.#sentAt.push(performance.now())
  }

  #listen(): void {
    this.#worker.on('message', (message: FromWriter) => {
      if (message.type === 'answers') this.#answer(message.answers)
      else if (message.type === 'failed') this.#fail(new SqliteError('storage_failed', textOf(message)))
      else if (message.type === 'answer') {
        const request = this.#requests.get(message.id)
        this.#requests.delete(message.id)
        if (isFailed(message.answer)) request?.reject(errorOf(message.answer))
        else request?.resolve()
      }
    })
    this.#worker.removeAllListeners('error')
    this.#worker.on('error', (cause) =>
      this.#fail(new SqliteError('storage_failed', 'The writer thread has died', { cause })),
    )
    this.#worker.on('exit', () => {
      const expected = this.#closed && this.pending === 0 && this.#requests.size === 0
      if (!expected) this.#fail(new SqliteError('storage_failed', 'The writer thread has ended'))
    })
  }

  #answer(answers: readonly Answer[]): void {
    const units = this.#sent.splice(0, answers.length)
    const now = performance.now()
    let sentAt = now
    for (let left = answers.length; left > 0; ) {
      left -= this.#messages.shift()!
      sentAt = Math.min(sentAt, this.#sentAt.shift()!)
    }
    this.commits++
    this.commitMs += now - sentAt
    if (this.#overflow.length > 0) {
      this.#queue.push(...this.#overflow.splice(0, this.#maxPending - this.#sent.length - this.#queue.length))
      this.#schedule()
    }
    for (let i = 0; i < units.length; i++) {
      const answer = answers[i]!
      const { unit } = units[i]!
      if (isFailed(answer)) unit.failed(errorOf(answer))
      else unit.committed(answer)
    }
    if (this.#queue.length > 0) this.#flush()
    if (this.pending === 0) for (const resolve of this.#drained.splice(0)) resolve()
  }

  #isLate({ since }: PendingUnit): boolean {
    return this.#tick - since > ticksPerDeadline
  }

  /** Tells the callers of late units. What was sent is still answered some day, in its place; what was not is forgotten. */
  #expire(): void {
    this.#tick++
    for (let i = 0; i < this.#sent.length && this.#isLate(this.#sent[i]!); i++) {
      const { unit, since } = this.#sent[i]!
      if (unit === abandoned) continue
      this.#sent[i] = { unit: abandoned, since }
      unit.failed(
        new SqliteError(
          'unknown',
          'The disk did not answer within the deadline; whether the unit is kept is not known',
        ),
      )
    }
    for (const waiting of [this.#queue, this.#overflow]) {
      while (waiting.length > 0 && this.#isLate(waiting[0]!)) {
        const { unit } = waiting.shift()!
        unit.failed(
          new SqliteError('unavailable', 'The disk did not take the unit within the deadline; nothing of it is kept'),
        )
      }
    }
  }

  #fail(error: SqliteError): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    const units = [...this.#sent, ...this.#queue, ...this.#overflow]
    this.#sent = []
    this.#queue = []
    this.#overflow = []
    for (const { unit } of units) unit.failed(error)
    for (const request of this.#requests.values()) request.reject(error)
    this.#requests.clear()
    for (const resolve of this.#drained.splice(0)) resolve()
    for (const listener of this.#failureListeners.splice(0)) listener(error)
  }
}

function errorOf(answer: Failed): SqliteError {
  return new SqliteError(answer.code, answer.message, 'reason' in answer ? { reason: answer.reason } : {})
}

function textOf(message: FromWriter): string {
  return message.type === 'failed' ? message.message : 'unexpected answer'
}

/** The error of a database that has been closed. */
export function closedError(): SqliteError {
  return new SqliteError('closed', 'The database has been closed')
}
