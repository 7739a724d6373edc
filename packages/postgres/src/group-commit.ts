import { chooseBatch, HeldLocks } from './batch.ts'
import type { Procedure } from './database.ts'
import { closedError, failureOf, PostgresError, rootOf, textOf } from './errors.ts'
import type { Line } from './line.ts'
import type { PendingUnit } from './pending-unit.ts'
import { runProcedures } from './run-procedures.ts'
import type { DrizzleParts } from './transaction.ts'
import type { Durability } from './unit.ts'

/** What group commit needs. */
export interface GroupCommitOptions {
  readonly lanes: number
  readonly deadlineMs: number
  readonly maxPending: number
  readonly onFull: 'wait' | 'refuse'
  readonly drizzle: DrizzleParts
  openLine(): Promise<Line>
  readonly procedure: (name: string) => Procedure<unknown> | undefined
}

/** Units in one transaction at most. */
const maxBatch = 500
/** How often a batch starts again because of refusals, or of conflicts with other sessions, before it is halved or given up. */
const maxRefusals = 4
const maxConflicts = 8
/** How many connections may break under a unit before it goes alone, and before it counts as the cause. */
const suspiciousLosses = 2
const maxLosses = 4

/** How one try of a batch ended. */
type Attempt =
  | { readonly ended: 'committed'; readonly level: Durability }
  /** Rolled back: these units were refused, or ran out of time. */
  | { readonly ended: 'without'; readonly refused: ReadonlyMap<PendingUnit, unknown> }
  | { readonly ended: 'error'; readonly error: unknown; readonly commitSent: boolean }

interface Lane {
  line: Line | undefined
  /** Ends when nothing waits that this lane could take. */
  work: Promise<void> | undefined
  commitSent: boolean
  /** Ends the wait for a procedure when the connection is gone. */
  interrupt: ((error: unknown) => void) | undefined
}

/**
 * Commits units in batches, one batch a lane at a time: whatever waits when a lane is free shares its transaction. Where there are
 * several lanes, one is always left to units of one statement a procedure: those that take more would wait in the database for
 * each other, an append for the log's lock, and hold up with them who needs nothing but a round trip.
 */
export class GroupCommit {
  readonly #options: GroupCommitOptions
  readonly #lanes: Lane[]
  readonly #held = new HeldLocks()
  #queue: PendingUnit[] = []
  #overflow: PendingUnit[] = []
  #sent = 0
  /** Lanes that commit a slow batch. */
  #slow = 0
  #scheduled = false
  #timer: ReturnType<typeof setTimeout> | undefined
  #drained: (() => void)[] = []
  #closed = false
  commits = 0
  commitMs = 0
  writes = 0

  constructor(options: GroupCommitOptions) {
    this.#options = options
    this.#lanes = Array.from({ length: options.lanes }, () => ({
      line: undefined,
      work: undefined,
      commitSent: false,
      interrupt: undefined,
    }))
  }

  get pending(): number {
    return this.#queue.length + this.#overflow.length + this.#sent
  }

  enqueue(unit: PendingUnit): void {
    if (this.#closed) {
      unit.fail(closedError())
      return
    }
    unit.deadlineAt = performance.now() + this.#options.deadlineMs
    // Behind those that wait for room, even if there is some by now.
    if (this.#overflow.length > 0 || this.#queue.length + this.#sent >= this.#options.maxPending) {
      if (this.#options.onFull === 'refuse') {
        const text = `${this.#options.maxPending} units are waiting for PostgreSQL; try again later`
        unit.fail(new PostgresError('write_queue_full', text))
        return
      }
      this.#overflow.push(unit)
    } else this.#queue.push(unit)
    if (this.#timer === undefined) this.#watchQueue()
    this.#schedule()
  }

  /** Waits for what is pending and ends the connections. */
  async close(): Promise<void> {
    this.#closed = true
    if (this.pending > 0) await new Promise<void>((resolve) => this.#drained.push(resolve))
    clearTimeout(this.#timer)
    await Promise.all(
      this.#lanes.map(async (lane) => {
        await lane.work
        await lane.line?.end()
      }),
    )
  }

  /** At the end of the turn, so that all that the turn wrote goes together. */
  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      for (const lane of this.#lanes) {
        if (this.#queue.length === 0) return
        lane.work ??= this.#work(lane).finally(() => {
          lane.work = undefined
        })
      }
    })
  }

  /** Rejects what waits past its deadline; the queue is in the order of the deadlines. */
  #watchQueue(): void {
    const next = this.#queue[0] ?? this.#overflow[0]
    this.#timer =
      next === undefined
        ? undefined
        : setTimeout(
            () => {
              const now = performance.now()
              const late = (unit: PendingUnit) => unit.deadlineAt <= now
              for (const unit of [...this.#queue, ...this.#overflow].filter(late)) unit.fail(lateError())
              this.#queue = this.#queue.filter(({ settled }) => !settled)
              this.#overflow = this.#overflow.filter(({ settled }) => !settled)
              this.#refill()
              this.#watchQueue()
            },
            Math.max(1, next.deadlineAt - performance.now()),
          )
  }

  #refill(): void {
    const room = this.#options.maxPending - this.#queue.length - this.#sent
    if (room > 0 && this.#overflow.length > 0) this.#queue.push(...this.#overflow.splice(0, room))
    if (this.pending === 0) for (const resolve of this.#drained.splice(0)) resolve()
  }

  async #work(lane: Lane): Promise<void> {
    let failures = 0
    while (this.#queue.length > 0) {
      try {
        lane.line ??= await this.#openLine(lane)
        failures = 0
      } catch {
        await pause(Math.min(500, 25 * 2 ** failures++))
        continue
      }
      const allowSlow = this.#slow < Math.max(1, this.#lanes.length - 1)
      const units = chooseBatch(this.#queue, this.#held, maxBatch, allowSlow)
      if (units.length === 0) break
      const slow = units[0]!.slow ? 1 : 0
      this.#sent += units.length
      this.#slow += slow
      await this.#commit(lane, units)
      this.#slow -= slow
      this.#refill()
    }
  }

  async #openLine(lane: Lane): Promise<Line> {
    const line = await this.#options.openLine()
    line.onLost = (error) => {
      if (lane.line === line) lane.line = undefined
      lane.interrupt?.(error)
    }
    return line
  }

  /** Sees every unit of the batch to its answer, or back into the queue. */
  async #commit(lane: Lane, batch: readonly PendingUnit[]): Promise<void> {
    let units = batch
    let refusals = 0
    let conflicts = 0
    const began = performance.now()
    for (;;) {
      units = this.#withoutSettled(units)
      if (units.length === 0) return
      const line = lane.line
      if (line === undefined) return this.#putBack(units)
      if (units.length > 1 && units.some(({ losses }) => losses >= suspiciousLosses)) return this.#halve(lane, units)
      const attempt = await this.#attempt(lane, line, units)
      if (attempt.ended === 'committed') {
        this.commits++
        this.commitMs += performance.now() - began
        for (const unit of units) {
          if (!unit.settled) this.writes += unit.steps.length
          unit.commit(attempt.level)
        }
      } else if (attempt.ended === 'without') {
        for (const [unit, reason] of attempt.refused) {
          unit.fail(new PostgresError('refused', 'A procedure refused the unit', { reason }))
        }
        if (++refusals > maxRefusals && units.length > 1) return this.#halve(lane, units)
      } else {
        const error = rootOf(attempt.error)
        const failure = line.lost !== undefined ? 'lost' : failureOf(error)
        if (failure === 'lost') {
          line.destroy(textOf(error))
          if (!attempt.commitSent) {
            for (const unit of units) unit.losses++
            return this.#putBack(units)
          }
          for (const unit of units) unit.fail(unknownError(error))
        } else if (failure === 'again') {
          if (++conflicts > maxConflicts) for (const unit of units) unit.fail(unavailableError(error))
          else await pause(Math.random() * Math.min(200, 5 * 2 ** conflicts))
        } else if (failure === 'exhausted') {
          for (const unit of units) unit.fail(unavailableError(error))
        } else if (units.length > 1) return this.#halve(lane, units)
        else {
          const code = failure === 'constraint' ? 'constraint' : 'procedure_failed'
          units[0]!.fail(new PostgresError(code, textOf(error), { cause: error }))
        }
      }
    }
  }

  async #halve(lane: Lane, units: readonly PendingUnit[]): Promise<void> {
    const middle = units.length >> 1
    await this.#commit(lane, units.slice(0, middle))
    await this.#commit(lane, units.slice(middle))
  }

  #withoutSettled(units: readonly PendingUnit[]): readonly PendingUnit[] {
    if (!units.some(({ settled }) => settled)) return units
    return units.filter((unit) => {
      if (unit.settled) this.#leave(unit)
      return !unit.settled
    })
  }

  #leave(unit: PendingUnit): void {
    this.#held.free(unit.locks)
    this.#sent--
  }

  /** Nothing of these was applied: they go first again, until their deadline or until they seem to be the cause. */
  #putBack(units: readonly PendingUnit[]): void {
    for (const unit of units) {
      this.#leave(unit)
      if (unit.losses >= maxLosses) unit.fail(new PostgresError('unavailable', 'The connection was lost'))
    }
    this.#queue.unshift(...units.filter(({ settled }) => !settled))
    this.#queue.sort((a, b) => a.deadlineAt - b.deadlineAt)
    clearTimeout(this.#timer)
    this.#watchQueue()
  }

  async #attempt(lane: Lane, line: Line, units: readonly PendingUnit[]): Promise<Attempt> {
    lane.commitSent = false
    const timer = this.#watchBatch(lane, line, units)
    const { drizzle, procedure } = this.#options
    try {
      line.send('begin').catch(() => {})
      line.refreshLevel()
      const ran = this.#untilLost(lane, runProcedures(line, units, drizzle, procedure))
      const { refused, answers } = await ran
      if (refused.size > 0 || units.some(({ settled }) => settled)) {
        line.send('rollback').catch(() => {})
        return { ended: 'without', refused }
      }
      lane.commitSent = true
      line.beginCommit()
      const { command } = await line.send('commit')
      if (command !== 'COMMIT') {
        await Promise.all(answers)
        throw new Error('A statement failed and its error was caught: rolled back')
      }
      return { ended: 'committed', level: line.committedLevel() }
    } catch (error) {
      if (!lane.commitSent) line.send('rollback').catch(() => {})
      return { ended: 'error', error, commitSent: lane.commitSent }
    } finally {
      timer.stop()
    }
  }

  /** A procedure may wait for something else than its statements: the end of the connection ends that. */
  #untilLost<Result>(lane: Lane, running: Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      lane.interrupt = reject
      running.then(resolve, reject)
    })
  }

  /**
   * Answers units whose deadline passes while their batch is on its way. Until the COMMIT is sent it will not be sent with
   * them in it, so they are certainly not applied. When nobody waits any more, the connection has had its time.
   */
  #watchBatch(lane: Lane, line: Line, units: readonly PendingUnit[]): { stop(): void } {
    let first = 0
    let timer: ReturnType<typeof setTimeout>
    const byDeadline = units
    const arm = () => {
      timer = setTimeout(expire, Math.max(1, byDeadline[first]!.deadlineAt - performance.now()))
    }
    const expire = () => {
      const now = performance.now()
      for (; first < byDeadline.length && byDeadline[first]!.deadlineAt <= now; first++) {
        byDeadline[first]!.fail(lane.commitSent ? unknownError() : lateError())
      }
      if (first === byDeadline.length) line.destroy('The server did not answer within the deadline')
      else arm()
    }
    arm()
    return { stop: () => clearTimeout(timer) }
  }
}

function lateError(): PostgresError {
  return new PostgresError('unavailable', 'The deadline passed before the unit was committed; nothing of it is applied')
}

function unavailableError(cause: unknown): PostgresError {
  return new PostgresError('unavailable', `Nothing of the unit is applied: ${textOf(cause)}`, { cause })
}

function unknownError(cause?: unknown): PostgresError {
  const text = 'The COMMIT was not answered; whether the unit is applied is not known'
  return new PostgresError('unknown', text, cause === undefined ? {} : { cause })
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
