import { DedupError, type DedupStore, type Unit } from '../src/index.ts'

/** How a call fails: before it was applied, or after, its answer lost. */
export type Fault = 'unavailable' | 'lost_answer'

/** A store whose calls fail as told; counts each fault that fired. */
export function faulty(store: DedupStore) {
  const plan: { fault: (call: string) => Fault | undefined; fired: number } = { fault: () => undefined, fired: 0 }
  const through = async <Result>(call: string, run: () => Promise<Result>): Promise<Result> => {
    const fault = plan.fault(call)
    if (fault === undefined) return run()
    plan.fired++
    if (fault === 'lost_answer') await run()
    throw new DedupError(fault === 'lost_answer' ? 'unknown' : 'unavailable', `${call} failed as planned`)
  }
  const wrapped: DedupStore = {
    ...store,
    open: () => through('open', () => store.open()),
    tryClaim: (claim) => through('tryClaim', () => store.tryClaim(claim)),
    get: (key, options) => through('get', () => store.get(key, options)),
    unit() {
      const unit = store.unit()
      let name = 'commit'
      const added: Unit = {
        add(write, onCommitted) {
          name = write.procedure
          unit.add(write, onCommitted)
        },
        commit: () => through(name, () => unit.commit()),
      }
      return added
    },
  }
  return { store: wrapped, plan }
}
