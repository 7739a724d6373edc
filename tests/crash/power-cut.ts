import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ensureInstalled, findLibrary } from '@gw/services'
import { check } from './checker.ts'
import type { CrashResult } from './crash.ts'
import { frozen, makeFaultyDisk } from './faulty-disk.ts'
import { type ServerProcess, startServer } from './server.ts'
import { percentile, seededRandom, Workload } from './workload.ts'

/**
 * Cuts the power of the disk under one node on the embedded database again and again: every other time under load, and
 * otherwise when all has been quiet for a moment, because the sync of a later write hides that an earlier one had none.
 *
 * `withoutSync` runs the server on a library that turns every sync into nothing. That must lose acknowledged answers: a test
 * that passes then would not notice a server that does not sync.
 */
export async function crashByPowerCut(cycles: number, seed: number, withoutSync: boolean): Promise<CrashResult> {
  await ensureInstalled(withoutSync ? ['power-cut', 'eatmydata'] : ['power-cut'])
  const random = seededRandom(seed)
  const folder = mkdtempSync(join(tmpdir(), 'gw-power-cut-'))
  const disk = makeFaultyDisk(folder)
  const dataDir = join(disk.path, 'data')
  const env = withoutSync ? { LD_PRELOAD: findLibrary('libeatmydata.so') ?? '' } : {}
  const workload = new Workload(random, join(folder, 'journal'))
  const cuts = { busy: 0, quiet: 0 }
  const startTimes: number[] = []
  let server: ServerProcess | undefined
  const start = async () => {
    server = await startServer(dataDir, env)
    if (server.process.exitCode !== null) throw new Error(`The server did not start after a cut: ${server.errors()}`)
    return server
  }
  const end = async () => {
    server?.process.kill('SIGKILL')
    await server?.exited
  }

  try {
    for (let cycle = 0; cycle < cycles; cycle++) {
      const quiet = cycle % 2 === 1
      const { url, startMs, process } = await start()
      if (cycle > 0) startTimes.push(startMs)
      let over = false
      const client = () =>
        workload.client(
          () => over,
          () => url,
        )
      const clients = Promise.all(Array.from({ length: 12 }, client))
      await delay(300 + random() * 1_200)
      if (quiet) {
        over = true
        await clients
        await delay(20 + random() * 300)
      }
      // An answer that comes after the cut was written before it: nothing is written by a process that stands still.
      await frozen(process)
      if (disk.cut()) cuts[quiet ? 'quiet' : 'busy']++
      await end()
      over = true
      await clients
      await disk.restore()
    }
    const { url, startMs } = await start()
    startTimes.push(startMs)
    const restarted = performance.now()
    await workload.finish(() => url, 60_000)
    const recoveryMs = performance.now() - restarted
    const unfinished = await workload.explain(url)
    const found = await workload.found(url, [join(dataDir, 'effects.log')])
    return {
      folder,
      ...workload.counts,
      report: check(workload.asked, workload.received, found),
      lines: [
        ...unfinished,
        `restart p50 ${percentile(startTimes, 0.5)} ms, max ${percentile(startTimes, 1)} ms; every key answered ${Math.round(recoveryMs)} ms after the last restart`,
        `power cuts: under load ${cuts.busy}, when quiet ${cuts.quiet}`,
      ],
      faultsFired: cuts.busy === Math.ceil(cycles / 2) && cuts.quiet === Math.floor(cycles / 2),
    }
  } finally {
    await end()
    workload.close()
    await disk.unmount()
  }
}
