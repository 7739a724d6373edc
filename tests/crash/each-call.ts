import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ensureInstalled } from '@gw/services'
import { check, type Report } from './checker.ts'
import type { CrashResult } from './crash.ts'
import { type FaultyDisk, frozen, makeFaultyDisk } from './faulty-disk.ts'
import { startServer } from './server.ts'
import { mayTrace } from './strace.ts'
import { percentile, seededRandom, Workload } from './workload.ts'

/** Every call by which the server changes a file; what it writes to sockets is none of them. */
const calls = 'pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat'

/**
 * Takes one node through its whole life, from an empty directory over a payment, its repeat and a job to its stop, and kills it at its
 * n-th call that changes a file, or cuts the power there: for each n, or one in `every` from a random one on, until it comes through.
 * What it had answered must be there after the next start, whichever call was its last.
 */
export async function crashAtEachCall(every: number, powerCut: boolean, seed: number): Promise<CrashResult> {
  await ensureInstalled(powerCut ? ['strace', 'power-cut'] : ['strace'])
  mayTrace()
  const folder = mkdtempSync(join(tmpdir(), 'gw-each-call-'))
  const disk = powerCut ? makeFaultyDisk(folder) : undefined
  const total: Report = {
    asked: 0,
    acknowledged: 0,
    lost: 0,
    duplicatedRows: 0,
    repeatedExecutions: 0,
    differentAnswers: 0,
    unfinished: 0,
  }
  const requests = { sent: 0, answered: 0 }
  const startTimes: number[] = []
  const unfinished: string[] = []
  let faults = 0
  try {
    for (let n = 1 + Math.floor(seededRandom(seed)() * every); ; n += every) {
      const dataDir = join(disk?.path ?? folder, `data-${n}`)
      mkdirSync(dataDir, { mode: 0o700 })
      const workload = new Workload(seededRandom(n), join(folder, 'journal'))
      if (await live(n, dataDir, join(folder, 'calls'), workload, disk)) break
      faults++
      const server = await startServer(dataDir)
      if (server.process.exitCode !== null)
        throw new Error(`It does not start again after its call ${n}: ${server.errors()}`)
      startTimes.push(server.startMs)
      await workload.finish(() => server.url, 60_000)
      unfinished.push(...(await workload.explain(server.url)))
      const found = await workload.found(server.url, [join(dataDir, 'effects.log')])
      const report = check(workload.asked, workload.received, found)
      for (const name of Object.keys(total) as (keyof Report)[])
        Object.assign(total, { [name]: total[name] + report[name] })
      requests.sent += workload.sent
      requests.answered += workload.answered
      server.process.kill('SIGKILL')
      await server.exited
      workload.close()
      rmSync(dataDir, { recursive: true })
    }
  } finally {
    await disk?.unmount()
  }
  return {
    folder,
    ...requests,
    report: total,
    lines: [
      ...unfinished,
      `restart p50 ${percentile(startTimes, 0.5)} ms, max ${percentile(startTimes, 1)} ms`,
      `${powerCut ? 'power cut' : 'killed'} at ${faults} calls, one in ${every}`,
    ],
    faultsFired: faults > 0,
  }
}

/** One life; `true` where it came to its end, because it makes fewer than `n` calls. */
async function live(
  n: number,
  dataDir: string,
  log: string,
  workload: Workload,
  disk: FaultyDisk | undefined,
): Promise<boolean> {
  const signal = disk === undefined ? 'KILL' : 'STOP'
  const rules = ['-e', `trace=${calls}`, '-e', `inject=${calls}:signal=${signal}:when=${n}`]
  writeFileSync(log, '')
  const stopped = () => disk !== undefined && /--- (stopped by )?SIGSTOP/.test(readFileSync(log, 'utf8'))
  // One thread for files, so that a life makes the same calls as the one before it.
  const env = { UV_THREADPOOL_SIZE: '1', GW_DRAIN_DELAY: '0s' }
  const server = await startServer(dataDir, env, ['strace', '-D', '-f', '-qq', ...rules, '-o', log], stopped)
  let over = false
  void server.exited.then(() => {
    over = true
  })
  const asking = (async () => {
    for (const each of workload.oneOfEach()) await workload.ask(server.url, each).catch(() => false)
    server.process.kill('SIGTERM')
  })()
  while (!over && !stopped()) await delay(5)
  if (disk !== undefined && !over) {
    await frozen(server.process)
    if (!disk.cut()) throw new Error('The power was not cut')
    server.process.kill('SIGKILL')
  }
  const ended = await server.exited
  await asking
  if (disk !== undefined && ended.signal !== null) await disk.restore()
  if (ended.code !== 0 && ended.signal !== 'SIGKILL')
    throw new Error(`Call ${n}: it ended with ${ended.code ?? ended.signal}: ${server.errors()}`)
  return ended.code === 0
}
