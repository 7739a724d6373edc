/** A thread that lives through seeds. Its globals are trapped, and a planted bug is in its code from the beginning. */
import { registerHooks } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import { Ambient } from './ambient.ts'
import { type Mutant, mutants, planted, plantedAt } from './mutants.ts'

/** What a thread is asked to do. */
export interface ThreadWork {
  readonly from: number
  readonly to: number
  readonly step: number
  readonly traced: boolean
  readonly mutant: string | undefined
  /** Ends at the first seed that finds something. */
  readonly untilFound: boolean
}

const { from, to, step, traced, mutant, untilFound } = workerData as ThreadWork
const bug: Mutant | undefined = mutants.find(({ name }) => name === mutant)
if (bug?.patches !== undefined) registerHooks({ load: planted(bug.patches) })

const ambient = new Ambient()
const { runSeed } = await import('./world.ts')
if (bug?.patches !== undefined && plantedAt.size !== bug.patches.length) throw new Error(`${bug.name} was not planted`)
ambient.install()
process.on('unhandledRejection', (error) => {
  ambient.uses.push(`unhandled rejection ${error instanceof Error ? error.stack : String(error)}`)
})
for (let seed = from; seed <= to; seed += step) {
  const result = await runSeed(seed, { ambient, traced, bug: bug?.database })
  // One seed in a hundred is lived through twice: the same must happen.
  const again = seed % 100 === 0 && !traced ? await runSeed(seed, { ambient, traced, bug: bug?.database }) : undefined
  const broken =
    again !== undefined && again.hash !== result.hash ? [...result.broken, 'determinism: another trace'] : result.broken
  parentPort!.postMessage({ ...result, broken })
  if (untilFound && broken.length > 0) break
}
parentPort!.postMessage(undefined)
