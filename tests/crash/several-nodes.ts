import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { postgres } from '@gw/services'
import { check } from './checker.ts'
import type { CrashResult } from './crash.ts'
import { type ServerProcess, startServer } from './server.ts'
import { percentile, seededRandom, Workload } from './workload.ts'

const leaseMs = 2_000

/**
 * Several nodes on one PostgreSQL. Each cycle one of them is killed, or paused for longer than its lease and continued; and every
 * 5 to 10 seconds PostgreSQL is killed or restarted and is down for up to two.
 */
export async function crashSeveralNodes(cycles: number, nodes: number, seed: number): Promise<CrashResult> {
  const random = seededRandom(seed)
  const folder = mkdtempSync(join(tmpdir(), 'gw-crash-'))
  const workload = new Workload(random, join(folder, 'journal'))
  const database = await postgres()
  const dataDirs = Array.from({ length: nodes }, (_, i) => join(folder, `node-${i}`))
  const start = (i: number) =>
    startServer(dataDirs[i]!, { DATABASE_URL: database.url, GW_NODE_ID: `node-${i}`, GW_LEASE: `${leaseMs}ms` })
  const running: (ServerProcess | undefined)[] = []
  // One after the other: the first makes the schema.
  for (let i = 0; i < nodes; i++) running.push(await start(i))
  const faults = { killed: 0, paused: 0, 'database restarted': 0, 'database killed': 0 }
  const startTimes: number[] = []
  let cyclesDone = false
  let over = false
  const urlOf = () => {
    const alive = running.filter((node) => node !== undefined)
    return alive[Math.floor(random() * alive.length)]?.url ?? 'http://127.0.0.1:1'
  }
  const clients = Array.from({ length: 12 }, () => clientUntilOver())
  const databaseFaults = restartDatabase()

  for (let cycle = 0; cycle < cycles; cycle++) {
    await delay(300 + random() * 700)
    const i = Math.floor(random() * nodes)
    const node = running[i]!
    if (cycle % 3 === 2) {
      node.process.kill('SIGSTOP')
      await delay(leaseMs + 500 + random() * 1_000)
      node.process.kill('SIGCONT')
      faults.paused++
    } else {
      running[i] = undefined
      node.process.kill('SIGKILL')
      await node.exited
      faults.killed++
      const again = await startUntilUp(i)
      startTimes.push(again.startMs)
      running[i] = again
    }
  }
  cyclesDone = true
  await databaseFaults
  over = true
  await Promise.all(clients)

  const began = performance.now()
  await workload.finish(urlOf, 120_000)
  const recoveryMs = performance.now() - began
  const logs = dataDirs.map((dataDir) => join(dataDir, 'effects.log'))
  const unfinished = await workload.explain(urlOf())
  const report = check(workload.asked, workload.received, await workload.found(urlOf(), logs))
  for (const node of running) node?.process.kill('SIGKILL')
  await database.stop()
  workload.close()
  return {
    folder,
    ...workload.counts,
    report,
    lines: [
      ...unfinished,
      `${nodes} nodes; restart p50 ${percentile(startTimes, 0.5)} ms, max ${percentile(startTimes, 1)} ms; every key answered ${Math.round(recoveryMs)} ms after the last fault`,
      `faults: ${Object.entries(faults)
        .map(([name, n]) => `${name} ${n}`)
        .join(', ')}`,
    ],
    faultsFired: Object.values(faults).every((n) => n > 0),
  }

  async function clientUntilOver(): Promise<void> {
    while (!over) await workload.client(() => over, urlOf, 20)
  }

  async function restartDatabase(): Promise<void> {
    // Until each has happened, however short the test.
    for (let n = 0; !cyclesDone || faults['database killed'] === 0 || faults['database restarted'] === 0; n++) {
      await delay(Math.min(5_000, 1_000 * cycles) + random() * 5_000)
      const downMs = Math.round(random() * 2_000)
      if (n % 2 === 0) {
        await database.kill()
        await delay(downMs)
        await database.restart()
        faults['database killed']++
      } else {
        await database.restart({ downMs })
        faults['database restarted']++
      }
    }
  }

  /** A node may come up while PostgreSQL is away: then it says so and ends, and whoever runs it starts it again. */
  async function startUntilUp(i: number): Promise<ServerProcess> {
    for (let tries = 0; tries < 20; tries++) {
      const node = await start(i)
      if (node.process.exitCode === null && node.process.signalCode === null) return node
      await delay(250)
    }
    throw new Error(`node-${i} did not come up again`)
  }
}
