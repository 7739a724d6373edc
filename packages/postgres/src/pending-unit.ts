import type { Batchable, Step } from './batch.ts'
import type { Lock } from './database.ts'
import type { Durability } from './unit.ts'

/** One unit from `commit()` until its answer. */
export class PendingUnit implements Batchable {
  readonly steps: readonly Step[]
  readonly locks: readonly Lock[]
  readonly shape: string
  readonly slow: boolean
  readonly results: unknown[]
  deadlineAt = 0
  losses = 0
  settled = false
  readonly #committed: (results: readonly unknown[], level: Durability) => void
  readonly #failed: (error: unknown) => void

  constructor(
    steps: readonly Step[],
    locks: readonly Lock[],
    slow: boolean,
    committed: (results: readonly unknown[], level: Durability) => void,
    failed: (error: unknown) => void,
  ) {
    this.steps = steps
    this.locks = locks
    this.slow = slow
    this.shape = steps.map(({ procedure, apart }) => `${apart ? '|' : ''}${procedure}`).join('\n')
    this.results = new Array(steps.length)
    this.#committed = committed
    this.#failed = failed
  }

  commit(level: Durability): void {
    if (this.settled) return
    this.settled = true
    this.#committed(this.results, level)
  }

  fail(error: unknown): void {
    if (this.settled) return
    this.settled = true
    this.#failed(error)
  }
}
