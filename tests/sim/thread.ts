/** A thread that lives through seeds. Its globals are trapped, and a planted bug is in its code from the beginning. */
import { registerHooks } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import { Ambient } from './ambient.ts'
import { type Mutant, mutants, planted, plantedAt } from './mutants.ts'
import type { SeedResult } from './world.ts'

/** What a thread is asked to do. */
export interface ThreadWork {
  /** Lives through short histories and not through seeds: every `step`-th case of up to so many operations. */
  readonly exhaustive?: { readonly length: number; readonly nodes: number }
  readonly from: number
  readonly to: number
  readonly step: number
  readonly traced: boolean
  readonly mutant: string | undefined
  /** Ends at the first seed that finds something. */
  readonly untilFound: boolean
}

const { from, to, step, traced, mutant, untilFound, exhaustive } = workerData as ThreadWork
const bug: Mutant | undefined = mutants.find(({ name }) => name === mutant)
if (bug?.patches !== undefined) registerHooks({ load: planted(bug.patches) })

const ambient = new Ambient()
const { runSeed } = await import('./world.ts')
const { fates, historiesOf, runCase } = await import('./exhaustive.ts')
if (bug?.patches !== undefined && plantedAt.size !== bug.patches.length) throw new Error(`${bug.name} was not planted`)
ambient.install()
process.on('unhandledRejection', (error) => {
  ambient.uses.push(`unhandled rejection ${error instanceof Error ? error.stack : String(error)}`)
})
if (exhaustive === undefined) await liveSeeds()
else await liveCases(exhaustive.length, exhaustive.nodes)
parentPort!.postMessage(undefined)

async function liveSeeds(): Promise<void> {
  for (let seed = from; seed <= to; seed += step) {
    const result = await runSeed(seed, { ambient, traced, bug: bug?.database })
    // One seed in a hundred is lived through twice: the same must happen.
    const again = seed % 100 === 0 && !traced ? await runSeed(seed, { ambient, traced, bug: bug?.database }) : undefined
    const broken =
      again !== undefined && again.hash !== result.hash
        ? [...result.broken, 'determinism: another trace']
        : result.broken
    parentPort!.postMessage({ ...result, broken })
    if (untilFound && broken.length > 0) break
  }
}

/** The n-th case of a history is what befalls its n-th write; its result counts as a seed's. */
async function liveCases(length: number, nodes: number): Promise<void> {
  for (const [i, history] of historiesOf(length).entries()) {
    if (i % step !== from) continue
    for (const fate of fates) {
      for (let at = 1, fired = true; fired; at++) {
        const lived = await runCase({ history, at, fate }, { ambient, traced, nodes, bug: bug?.database })
        fired = lived.fired
        const name = `${history.join(', ')}: ${fate} at write ${at}`
        const broken = lived.broken.map((what) => `${name}: ${what}`)
        const counts = { [`fault ${fate}`]: Number(fired), history: Number(at === 1 && fate === fates[0]) }
        parentPort!.postMessage({
          seed: i,
          hash: '',
          events: 0,
          broken,
          counts,
          lines: lived.lines,
        } satisfies SeedResult)
        if (untilFound && broken.length > 0) return
      }
    }
  }
}
