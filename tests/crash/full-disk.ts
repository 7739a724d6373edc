import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { check } from './checker.ts'
import type { CrashResult } from './crash.ts'
import { startServer } from './server.ts'
import { Unavailable } from './unavailable.ts'
import { seededRandom, Workload } from './workload.ts'

const mebibytes = 6
/** From room to the first answer (reliability C7). */
const backWithinMs = 5_000

/**
 * Runs one node on a file system that is really full again and again, where a write may end in its middle: it refuses what it cannot
 * keep, answers what it has kept, and goes on by itself when there is room.
 */
export async function crashByFullDisk(cycles: number, seed: number): Promise<CrashResult> {
  const random = seededRandom(seed)
  const folder = mkdtempSync(join(tmpdir(), 'gw-full-disk-'))
  const disk = join(folder, 'disk')
  mkdirSync(disk)
  const mount = (...args: string[]) => execFileSync('mount', args, { stdio: ['ignore', 'pipe', 'pipe'] })
  try {
    mount('-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', disk)
  } catch (error) {
    throw new Unavailable('A full disk needs root: run it with sudo, in a container with `--privileged`', {
      cause: error,
    })
  }
  const workload = new Workload(random, join(folder, 'journal'))
  const server = await startServer(join(disk, 'data'))
  const backAfter: number[] = []
  let full = 0
  try {
    for (let cycle = 0; cycle < cycles; cycle++) {
      let over = false
      const clients = Promise.all(
        Array.from({ length: 8 }, () =>
          workload.client(
            () => over,
            () => server.url,
            20,
          ),
        ),
      )
      const before = workload.received.length
      for (let seen = before - 1; seen < workload.received.length || statfsSync(disk).bfree > 0; ) {
        seen = workload.received.length
        await delay(500)
      }
      over = true
      await clients
      if (statfsSync(disk).bfree === 0 && workload.unsettled.size > 0) full++
      await keptAnswers()
      mount('-o', `remount,size=${mebibytes * (cycle + 2)}m`, disk)
      backAfter.push(await untilBack())
    }
    mount('-o', 'remount,size=256m', disk)
    await workload.finish(() => server.url, 60_000)
    const unfinished = await workload.explain(server.url)
    const found = await workload.found(server.url, [join(disk, 'data/effects.log')])
    return {
      folder,
      ...workload.counts,
      report: check(workload.asked, workload.received, found),
      lines: [
        ...unfinished,
        `full ${full} times; back ${Math.round(Math.max(...backAfter))} ms after there was room, at most`,
      ],
      faultsFired: full === cycles,
    }
  } finally {
    server.process.kill('SIGKILL')
    await server.exited
    workload.close()
    execFileSync('umount', [disk])
  }

  /** What it has answered it answers again, with no room left; the checker compares. */
  async function keptAnswers(): Promise<void> {
    for (const { key } of workload.received.slice(-20)) {
      const asked = workload.asked.find((each) => each.key === key)!
      if (!(await workload.ask(server.url, asked)))
        throw new Error(`With the disk full, ${key} was answered ${workload.unsettled.get(key)}`)
    }
  }

  async function untilBack(): Promise<number> {
    const began = performance.now()
    const [waiting] = workload.unsettled.keys()
    const asked = workload.asked.find(({ key }) => key === waiting)!
    while (!(await workload.ask(server.url, asked).catch(() => false))) {
      if (performance.now() - began > backWithinMs)
        throw new Error(`Not back ${backWithinMs} ms after there was room: ${server.errors()}`)
      await delay(20)
    }
    return performance.now() - began
  }
}
