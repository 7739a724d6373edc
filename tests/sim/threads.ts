import { Worker } from 'node:worker_threads'
import type { ThreadWork } from './thread.ts'
import type { SeedResult } from './world.ts'

export interface LiveOptions {
  readonly from: number
  readonly to: number
  readonly threads: number
  readonly mutant: string | undefined
  /** Ends at the first seed that finds something. */
  readonly untilFound: boolean
  readonly traced?: boolean
  readonly exhaustive?: ThreadWork['exhaustive']
}

/** What came of many seeds. */
export interface Lived {
  readonly seeds: number
  readonly events: number
  readonly seconds: number
  /** How many were lived through twice, to see whether the same happens. */
  readonly twice: number
  /** The seeds that found something, lowest first. */
  readonly found: readonly SeedResult[]
  readonly counts: Readonly<Record<string, number>>
  readonly hash: string
  readonly lines: readonly string[] | undefined
}

/** Lives through seeds on several threads, each of which takes every n-th. */
export async function liveThrough(options: LiveOptions): Promise<Lived> {
  const { from, to, threads, mutant, untilFound, traced = false, exhaustive } = options
  const began = performance.now()
  const found: SeedResult[] = []
  const counts: Record<string, number> = {}
  let seeds = 0
  let events = 0
  let twice = 0
  let last: SeedResult | undefined
  const workers: Worker[] = []
  const works = Array.from({ length: Math.min(threads, to - from + 1) }, (_, i) => {
    const work = { from: from + i, to, step: threads, traced, mutant, untilFound }
    const workerData: ThreadWork = exhaustive === undefined ? work : { ...work, exhaustive }
    const worker = new Worker(new URL('./thread.ts', import.meta.url), { workerData })
    workers.push(worker)
    return new Promise<void>((resolve, reject) => {
      worker.on('error', reject)
      worker.on('exit', () => resolve())
      worker.on('message', (result: SeedResult | undefined) => {
        if (result === undefined) {
          // The seeds before it are another thread's: what that finds counts only where it is lower.
          if (untilFound && found.length > 0) for (const other of workers) void other.terminate()
          return
        }
        seeds++
        events += result.events
        if (result.seed % 100 === 0 && !traced) twice++
        for (const [what, n] of Object.entries(result.counts)) counts[what] = (counts[what] ?? 0) + n
        if (result.broken.length > 0) found.push(result)
        last = result
      })
    })
  })
  await Promise.all(works)
  found.sort((a, b) => a.seed - b.seed)
  const seconds = (performance.now() - began) / 1_000
  return { seeds, events, seconds, twice, found, counts, hash: last?.hash ?? '', lines: last?.lines }
}
