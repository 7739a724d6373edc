/** `pnpm bench <suite> [--rounds n] [--seconds n] [--runs n] [--json] [--profile]`: both sides in one run, alternating; medians and ratios. */
import { execFile, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { postgres } from '@gw/services'
import { cold } from './cold.ts'
import { growth } from './growth.ts'
import { nodes } from './nodes.ts'
import { overhead } from './overhead.ts'
import type { Row } from './row.ts'
import { answers, ended, startSide, warmUpSeconds } from './server-process.ts'

const [suite = '', ...options] = process.argv.slice(2)
/** Suites that are programs of their own. */
const programs: Readonly<Record<string, string>> = {
  breaker: '../../packages/breaker/bench/breaker.ts',
  pool: '../../packages/pool/bench/pool.ts',
  replay: '../../packages/dedup/bench/replay.ts',
  events: '../../packages/events/bench/events.ts',
  'group-commit': '../../packages/postgres/bench/group-commit.ts',
  proxy: './proxy/proxy.ts',
}
const own = programs[suite]
if (own !== undefined) {
  const program = fileURLToPath(new URL(own, import.meta.url))
  const { status } = spawnSync(process.execPath, ['--conditions=@gw/source', program, ...options], { stdio: 'inherit' })
  process.exit(status ?? 1)
}

const { values } = parseArgs({
  args: options,
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    // How many `growth` goes up to.
    runs: { type: 'string', default: '1000000' },
    json: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
  },
})
const suites: Readonly<Record<string, readonly string[]>> = {
  durable: ['plain', 'handwritten', 'gateway'],
  'durable-postgres': ['plain', 'handwritten-postgres', 'gateway-postgres'],
}
const machine = { cores: cpus().length, node: process.version, platform: process.platform }
/** Suites whose figures are not those of sides under one load. */
const figures: Readonly<Record<string, () => Promise<readonly Row[]>>> = {
  overhead: () => overhead(Number(values.rounds)),
  growth: () => growth(Number(values.runs)),
  nodes: () => nodes(Number(values.rounds), values.seconds),
  cold: () => cold(Number(values.rounds)),
}
const rowsOf = figures[suite]
if (rowsOf !== undefined) {
  const rows = await rowsOf()
  if (values.json) console.log(JSON.stringify({ suite, machine, rows }))
  else console.table(rows)
  process.exit()
}
const sides = suites[suite]
if (sides === undefined) {
  console.error(`Expected a suite: ${[suites, programs, figures].flatMap((each) => Object.keys(each)).join(', ')}`)
  process.exit(2)
}

interface Round {
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  readonly failed: number
}

const database = suite.endsWith('-postgres') ? await postgres() : undefined
const run = promisify(execFile)
const pathOf = (name: string) => fileURLToPath(new URL(name, import.meta.url))
const rounds = new Map<string, Round[]>(sides.map((side) => [side, []]))
for (let round = 0; round < Number(values.rounds); round++) {
  for (const side of sides) rounds.get(side)!.push(await measure(side, 21_000 + round * 10 + sides.indexOf(side)))
}

await database?.stop()

const median = (side: string, field: keyof Round) => {
  const sorted = rounds
    .get(side)!
    .map((each) => each[field])
    .sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]!
}
const rows = sides.map((side) => ({
  name: side,
  value: Math.round(median(side, 'perSecond')),
  unit: 'requests/s',
  ratio: Number((median(side, 'perSecond') / median(sides[0]!, 'perSecond')).toFixed(3)),
  p50: Number(median(side, 'p50').toFixed(2)),
  p99: Number(median(side, 'p99').toFixed(2)),
}))
if (values.json) console.log(JSON.stringify({ suite, machine, rows }))
else {
  console.log(
    `${suite}: ${machine.cores} cores shared with the load, Node ${machine.node}, 64 connections, medians of ${values.rounds} alternating rounds of ${values.seconds} s`,
  )
  console.table(rows)
}

async function measure(side: string, port: number): Promise<Round> {
  const directory = mkdtempSync(join(tmpdir(), 'gw-bench-'))
  const profile = values.profile && side.startsWith('gateway') ? ['--cpu-prof', `--cpu-prof-dir=${directory}/prof`] : []
  const env: Record<string, string> = database === undefined ? {} : { DATABASE_URL: database.url }
  const server = startSide(side, [String(port), directory], env, profile)
  await answers(server, port)
  const load = async (seconds: string, prefix: string) =>
    JSON.parse(
      (await run(process.execPath, [pathOf('./load.ts'), String(port), '64', seconds, `${prefix}-${port}`])).stdout,
    ) as Round
  await load(warmUpSeconds(values.seconds), 'warm-up')
  const round = await load(values.seconds, 'measured')
  await ended(server, 'SIGTERM')
  if (profile.length > 0) printProfile(join(directory, 'prof'))
  rmSync(directory, { recursive: true, force: true })
  if (round.failed > 0) throw new Error(`${side} failed ${round.failed} requests`)
  return round
}

/** The functions with the most time of their own, for each thread. */
function printProfile(folder: string): void {
  for (const file of readdirSync(folder)) {
    const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(join(folder, file), 'utf8')) as {
      nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[]
      samples: number[]
      timeDeltas: number[]
    }
    const names = new Map(
      nodes.map(({ id, callFrame }) => [
        id,
        `${callFrame.functionName || '(anonymous)'} ${callFrame.url.split('/').slice(-2).join('/')}:${callFrame.lineNumber + 1}`,
      ]),
    )
    const times = new Map<string, number>()
    for (const [i, id] of samples.entries())
      times.set(names.get(id)!, (times.get(names.get(id)!) ?? 0) + timeDeltas[i]!)
    const total = timeDeltas.reduce((sum, each) => sum + each, 0)
    console.log(`\n${file}`)
    for (const [name, time] of [...times].sort((a, b) => b[1] - a[1]).slice(0, 25))
      console.log(`${((100 * time) / total).toFixed(1).padStart(5)} %  ${name}`)
  }
}
