/** `pnpm bench nodes`: 1, 2 and 4 gateways on one PostgreSQL, and how soon the runs of one that was killed are finished elsewhere. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { freePorts, postgres } from '@gw/services'
import { median, type Row, rounded } from './row.ts'
import { answers, ended, startSide, warmUpSeconds } from './server-process.ts'

const run = promisify(execFile)
const load = fileURLToPath(new URL('./load.ts', import.meta.url))
const counts = [1, 2, 4]
const connections = 64
const leaseMs = 5_000
const taken = 1_000

export async function nodes(rounds: number, seconds: string): Promise<Row[]> {
  const perSecond = new Map<number, number[]>(counts.map((count) => [count, []]))
  for (let round = 0; round < rounds; round++)
    for (const count of counts) perSecond.get(count)!.push(await together(count, seconds))
  const one = median(perSecond.get(1)!)
  const rows: Row[] = counts.map((count) => ({
    name: count === 1 ? '1 gateway' : `${count} gateways, together`,
    value: Math.round(median(perSecond.get(count)!)),
    unit: 'requests/s',
    ratio: rounded(median(perSecond.get(count)!) / one),
  }))
  const ms = await takeover()
  rows.push({
    name: `${taken} runs of a killed node finished elsewhere, after its lease of ${leaseMs} ms`,
    value: Math.round(ms - leaseMs),
    unit: 'ms',
  })
  return rows
}

/** Requests a second that so many gateways answer together, on a database of their own. */
async function together(count: number, seconds: string): Promise<number> {
  const database = await postgres()
  const directory = mkdtempSync(join(tmpdir(), 'gw-nodes-'))
  const ports = await freePorts(count)
  const children = ports.map((port, i) =>
    startSide('gateway-postgres', [String(port), join(directory, String(i))], { DATABASE_URL: database.url }),
  )
  try {
    for (const [i, child] of children.entries()) await answers(child, ports[i]!)
    const all = (forSeconds: string, prefix: string) =>
      Promise.all(
        ports.map(async (port) => {
          const args = [load, String(port), String(connections / count), forSeconds, `${prefix}-${port}`]
          return JSON.parse((await run(process.execPath, args)).stdout) as { perSecond: number; failed: number }
        }),
      )
    await all(warmUpSeconds(seconds), 'warm-up')
    const loads = await all(seconds, 'measured')
    const failed = loads.reduce((sum, each) => sum + each.failed, 0)
    if (failed > 0) throw new Error(`${count} gateways failed ${failed} requests`)
    return loads.reduce((sum, each) => sum + each.perSecond, 0)
  } finally {
    await Promise.all(children.map((child) => ended(child)))
    await database.stop()
    rmSync(directory, { recursive: true, force: true })
  }
}

/** From the kill of a node to the end of the last of its runs, on another node. */
async function takeover(): Promise<number> {
  const database = await postgres()
  const directory = mkdtempSync(join(tmpdir(), 'gw-nodes-'))
  const [port, otherPort] = (await freePorts(2)) as [number, number]
  const env = { DATABASE_URL: database.url, LEASE_MS: String(leaseMs) }
  const node = startSide('jobs', [String(port), join(directory, 'a'), 'hold'], env)
  await answers(node, port)
  const post = () => fetch(`http://127.0.0.1:${port}/job`, { method: 'POST', headers: { prefer: 'respond-async' } })
  const figures = async (at: number) =>
    (await (await fetch(`http://127.0.0.1:${at}/left`)).json()) as { running: number; completed: number }
  for (let sent = 0; sent < taken; sent += 50) await Promise.all(Array.from({ length: 50 }, post))
  while ((await figures(port)).running < taken) await delay(20)
  const other = startSide('jobs', [String(otherPort), join(directory, 'b'), 'hold'], env)
  try {
    await answers(other, otherPort)
    await ended(node)
    const began = performance.now()
    while ((await figures(otherPort)).completed < taken) await delay(20)
    return performance.now() - began
  } finally {
    await ended(other)
    await database.stop()
    rmSync(directory, { recursive: true, force: true })
  }
}
