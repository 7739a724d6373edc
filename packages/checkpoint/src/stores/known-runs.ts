import type { RunRecord } from '../run-record.ts'

const maxRuns = 10_000

/**
 * Rows as this process last saw them, so that a write need not read what it will most likely find. Whoever uses one compares the
 * stored row's fence, revision and CRC with it in the same statement.
 */
export class KnownRuns {
  readonly #runs = new Map<string, RunRecord>()

  get(id: string): RunRecord | undefined {
    return this.#runs.get(id)
  }

  see(run: RunRecord): void {
    if (run.status !== 'running') {
      this.#runs.delete(run.id)
      return
    }
    if (this.#runs.size >= maxRuns) this.#runs.delete(this.#runs.keys().next().value!)
    this.#runs.set(run.id, run)
  }
}
