import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ensureInstalled } from '@gw/services'
import { check } from './checker.ts'
import type { CrashResult } from './crash.ts'
import { type ServerProcess, startServer } from './server.ts'
import { mayTrace } from './strace.ts'
import { percentile, seededRandom, Workload } from './workload.ts'

/** What the kernel answers to one system call on the database's files, and what the server must do then. */
const faults = {
  'killed at a write': { calls: 'pwrite64', does: 'signal=KILL', most: 400, ends: 'SIGKILL' },
  'killed at a sync': { calls: 'fsync,fdatasync', does: 'signal=KILL', most: 40, ends: 'SIGKILL' },
  'sync fails': { calls: 'fsync,fdatasync', does: 'error=EIO', most: 40, ends: 74 },
  'write fails': { calls: 'pwrite64', does: 'error=EIO', most: 400, ends: 74 },
  'disk full': { calls: 'pwrite64', does: 'error=ENOSPC', most: 400, ends: 'nothing' },
  // Longer than the deadline of a write.
  'disk hangs': { calls: 'fsync,fdatasync', does: 'delay_enter=12000000', most: 40, ends: 'nothing' },
} as const
type Fault = keyof typeof faults
const names = Object.keys(faults) as Fault[]
/** How many writes in a row find the disk full. */
const fullFor = 30

/**
 * Runs one node on the embedded database under strace, which makes the n-th write or sync of its files fail, or kills it there. A
 * failed sync or write ends the server with 74, and nothing is synced after it: the kernel may have dropped what it could not write.
 * On a full disk it goes on, and answers again when there is room; so it does when a sync has taken longer than the deadline of a write.
 */
export async function crashByStorageFaults(cycles: number, seed: number): Promise<CrashResult> {
  await ensureInstalled(['strace'])
  mayTrace()
  const random = seededRandom(seed)
  const folder = mkdtempSync(join(tmpdir(), 'gw-storage-'))
  const dataDir = join(folder, 'data')
  const workload = new Workload(random, join(folder, 'journal'))
  const fired = Object.fromEntries(names.map((name) => [name, 0])) as Record<Fault, number>
  const startTimes: number[] = []
  // The database is made without faults: strace looks for its files by their names.
  const first = await startServer(dataDir)
  first.process.kill('SIGKILL')
  await first.exited

  for (let cycle = 0; cycle < cycles; cycle++) {
    const name = names[cycle % names.length]!
    const { calls, does, most, ends } = faults[name]
    const at = 1 + Math.floor(random() * most)
    const log = join(folder, `calls-${cycle}`)
    const when = name === 'disk full' ? `${at}..${at + fullFor}` : `${at}`
    const files = ['gateway.db', 'gateway.db-wal'].flatMap((file) => ['-P', join(dataDir, file)])
    const rules = ['-e', `trace=pwrite64,fsync,fdatasync`, '-e', `inject=${calls}:${does}:when=${when}`]
    // A filter that stops only at the calls in question makes it faster, and makes strace forget the signal.
    const filter = ends === 'SIGKILL' ? [] : ['--seccomp-bpf']
    // Detached, so that the server is our own child.
    const server = await startServer(dataDir, {}, [
      'strace',
      '-D',
      '-f',
      '-qq',
      ...filter,
      ...files,
      ...rules,
      '-o',
      log,
    ])
    const started = server.process.exitCode === null && server.process.signalCode === null
    if (started) startTimes.push(server.startMs)
    const byItself = started ? await load(server, log) : true
    const { code, signal } = await server.exited
    const said = byItself ? (signal ?? code) : 'nothing'
    // A start that finds the disk full fails.
    if (said !== ends && !(name === 'disk full' && !started && said === 74))
      throw new Error(
        `${name}, call ${at}: expected the server to end with ${ends}, it ended with ${said}: ${server.errors()}`,
      )
    const after = ends === 'nothing' || ends === 'SIGKILL' ? [] : syncsAfterFailure(log)
    if (after.length > 0) throw new Error(`${name}, call ${at}: it was synced again: ${after[0]}`)
    if (ends === 'SIGKILL' || injected(log)) fired[name]++
    // A request whose server always dies at once is dead after ten lives, and rightly so: now and then there is a longer one.
    if (name === names.at(-1)) {
      const { server: quiet } = await finished()
      quiet.process.kill('SIGKILL')
      await quiet.exited
    }
  }
  const { server: last, recoveryMs } = await finished()
  const unfinished = await workload.explain(last.url)
  const found = await workload.found(last.url, [join(dataDir, 'effects.log')])
  last.process.kill('SIGKILL')
  workload.close()
  return {
    folder,
    ...workload.counts,
    report: check(workload.asked, workload.received, found),
    lines: [
      ...unfinished,
      `start under strace p50 ${percentile(startTimes, 0.5)} ms; every key answered ${Math.round(recoveryMs)} ms after the last restart`,
      `faults: ${names.map((name) => `${name} ${fired[name]}`).join(', ')}`,
    ],
    faultsFired: names.every((name, i) => fired[name] === Math.ceil((cycles - i) / names.length)),
  }

  /** A life without faults, in which every key gets its answer. */
  async function finished(): Promise<{ readonly server: ServerProcess; readonly recoveryMs: number }> {
    const server = await startServer(dataDir)
    const began = performance.now()
    await workload.finish(() => server.url, 60_000)
    return { server, recoveryMs: performance.now() - began }
  }

  /**
   * Until the server ends, or, where it must not, until it has answered for a while with the disk full behind it; then it is killed.
   * Tells whether it ended by itself.
   */
  async function load(server: ServerProcess, log: string): Promise<boolean> {
    let over = false
    void server.exited.then(() => {
      over = true
    })
    const clients = Promise.all(
      Array.from({ length: 12 }, () =>
        workload.client(
          () => over,
          () => server.url,
        ),
      ),
    )
    const began = performance.now()
    while (!over && performance.now() - began < 20_000) {
      await delay(50)
      if (!passed(log)) continue
      const answered = workload.received.length
      const full = performance.now()
      while (workload.received.length < answered + 20) {
        if (performance.now() - full > 5_000)
          throw new Error(`The server does not answer 5 s after the fault has passed: ${server.errors()}`)
        await delay(10)
      }
      break
    }
    const byItself = over
    over = true
    server.process.kill('SIGKILL')
    await clients
    return byItself
  }
}

function callsIn(log: string): string[] {
  return readFileSync(log, 'utf8').split('\n')
}

function injected(log: string): boolean {
  return callsIn(log).some((line) => line.includes('(INJECTED)') || line.includes('(DELAYED)'))
}

/** Whether the disk has been full, or has hung, and does not any more. */
function passed(log: string): boolean {
  const lines = callsIn(log)
  const full = lines.filter((line) => line.includes('ENOSPC') && line.includes('(INJECTED)')).length
  return full > fullFor || lines.some((line) => line.includes('(DELAYED)'))
}

/** The syncs of the database's files that came after the call that failed. */
function syncsAfterFailure(log: string): string[] {
  const lines = callsIn(log)
  const at = lines.findIndex((line) => line.includes('(INJECTED)'))
  return at < 0 ? [] : lines.slice(at + 1).filter((line) => /\b(fsync|fdatasync)\(/.test(line))
}
