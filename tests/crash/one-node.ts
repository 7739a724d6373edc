import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { check } from './checker.ts'
import type { CrashResult } from './crash.ts'
import { type ServerProcess, startServer } from './server.ts'
import { percentile, seededRandom, Workload } from './workload.ts'

/** Where a kill is aimed: accept.before falls into the claim's commit, which is the run's as well. */
const aims = { claim: 'accept.before', accept: 'accept.after', step: 'step', outcome: 'outcome' } as const
type Aim = keyof typeof aims

/** Kills one node on the embedded database again and again: aimed kills, and every fifth time at any moment. */
export async function crashOneNode(cycles: number, seed: number): Promise<CrashResult> {
  const random = seededRandom(seed)
  const folder = mkdtempSync(join(tmpdir(), 'gw-crash-'))
  const dataDir = join(folder, 'data')
  const workload = new Workload(random, join(folder, 'journal'))
  const kills: Record<Aim | 'anywhere', number> = { claim: 0, accept: 0, step: 0, outcome: 0, anywhere: 0 }
  const startTimes: number[] = []

  for (let cycle = 0; cycle < cycles; cycle++) {
    const aim = cycle % 5 === 4 ? undefined : (Object.keys(aims) as Aim[])[cycle % 5]!
    const server = await startServer(dataDir, aim === undefined ? {} : { GW_FAILPOINT: failpoint(aim, random) })
    if (cycle > 0) startTimes.push(server.startMs)
    await load(server, aim === undefined)
    const { signal } = await server.exited
    if (signal !== 'SIGKILL') throw new Error(`Expected the server to be killed, it ended with ${server.errors()}`)
    kills[aim ?? 'anywhere']++
  }
  const last = await startServer(dataDir)
  startTimes.push(last.startMs)
  const restarted = performance.now()
  await workload.finish(() => last.url, 60_000)
  const recoveryMs = performance.now() - restarted
  const unfinished = await workload.explain(last.url)
  const report = check(
    workload.asked,
    workload.received,
    await workload.found(last.url, [join(dataDir, 'effects.log')]),
  )
  last.process.kill('SIGKILL')
  workload.close()

  const least = Math.min(5, Math.floor(cycles / 10))
  return {
    folder,
    ...workload.counts,
    report,
    lines: [
      ...unfinished,
      `restart p50 ${percentile(startTimes, 0.5)} ms, max ${percentile(startTimes, 1)} ms; every key answered ${Math.round(recoveryMs)} ms after the last restart`,
      `kills: ${Object.entries(kills)
        .map(([name, n]) => `${name} ${n}`)
        .join(', ')}`,
    ],
    faultsFired: (Object.keys(aims) as Aim[]).every((name) => kills[name] >= least),
  }

  async function load(server: ServerProcess, kill: boolean): Promise<void> {
    let gone = false
    void server.exited.then(() => {
      gone = true
    })
    if (kill) void delay(50 + random() * 500).then(() => server.process.kill('SIGKILL'))
    await Promise.all(
      Array.from({ length: 12 }, () =>
        workload.client(
          () => gone,
          () => server.url,
        ),
      ),
    )
    if (!gone) throw new Error('The server outlived the failpoint that it should have died at')
  }
}

function failpoint(aim: Aim, random: () => number): string {
  const point = aims[aim].includes('.') ? aims[aim] : `${aims[aim]}.${random() < 0.5 ? 'before' : 'after'}`
  return `${point}:${5 + Math.floor(random() * 40)}`
}
