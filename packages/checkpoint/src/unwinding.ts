import { encode } from './codec.ts'
import { CheckpointError } from './errors.ts'
import { recordOf } from './found-step.ts'
import { keyOf } from './replay.ts'
import { messageOf } from './retry.ts'
import type { Outcome, StepRecord } from './run-record.ts'
import { type AttemptPorts, attempt, type StepOptions } from './step.ts'

/** How a run ends once its effects are taken back. Kept before the first of them is, so that a crash in between changes nothing. */
export interface UnwindPlan {
  readonly status: 'failed' | 'cancelled'
  readonly reason: string
  readonly outcome: Outcome
}

/** An effect that can be taken back. */
interface Effect {
  readonly name: string
  readonly occurrence: number
  /** The place of its step among the kept ones. */
  readonly order: number
  readonly undo: () => unknown
}

/** What taking effects back needs of its run. */
export interface UnwindPorts {
  readonly now: () => number
  readonly attempts: AttemptPorts
  keep(step: StepRecord): Promise<unknown>
  stopped(): boolean
}

/** The effects of a run that can be taken back. */
export class Effects {
  readonly #undone = new Set<string>()
  readonly #keptOrder = new Map<string, number>()
  readonly #effects: Effect[] = []
  #order = 0
  #planKept = false

  get none(): boolean {
    return this.#effects.length === 0
  }

  /** Takes in what an earlier life of the run has kept, in order. */
  recall({ name, occurrence, state }: StepRecord): void {
    this.#order++
    if (state === 'kept') {
      this.#keptOrder.set(keyOf(name, occurrence), this.#order)
      this.#undone.delete(keyOf(name, occurrence))
    } else if (state === 'undone') this.#undone.add(keyOf(name, occurrence))
    else if (state === 'unwinding') this.#planKept = true
  }

  /** An effect was made in this life, perhaps again after it was taken back in an earlier one. */
  made(name: string, occurrence: number): void {
    this.#undone.delete(keyOf(name, occurrence))
  }

  add<Value>(name: string, occurrence: number, value: Value, compensate: StepOptions<Value>['compensate']): void {
    if (compensate === undefined) return
    const order = this.#keptOrder.get(keyOf(name, occurrence)) ?? ++this.#order
    this.#effects.push({ name, occurrence, order, undo: () => compensate(value) })
  }

  /** Takes all of them back, last kept first, each once. The plan is durable before the first is. */
  async takeBack(plan: UnwindPlan, { now, attempts, keep, stopped }: UnwindPorts): Promise<void> {
    if (!this.#planKept) {
      await keep(recordOf('$unwind', 1, 'unwinding', encode(plan), now(), now()))
      this.#planKept = true
    }
    for (const { name, occurrence, undo } of this.#effects.sort((a, b) => b.order - a.order)) {
      const key = keyOf(name, occurrence)
      if (this.#undone.has(key)) continue
      const startedAt = now()
      try {
        await attempt(attempts, key, undo, {}, undefined)
      } catch (error) {
        if (stopped() || (error instanceof Error && 'code' in error && error.code === 'parked')) throw error
        const message = `${key} could not be compensated: ${messageOf(error)}`
        throw new CheckpointError('run_parked', message, { cause: error })
      }
      await keep(recordOf(name, occurrence, 'undone', encode(null), startedAt, now()))
      this.#undone.add(key)
    }
  }
}
