/** `node bench/replay.ts [--rounds n] [--seconds n] [--side name] [--profile folder] [--json]`: what a repeat of an answered key costs, all sides in one run, alternating. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { freshDatabase, sharedRedis } from '@gw/services'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
    side: { type: 'string', multiple: true },
    profile: { type: 'string' },
  },
})

const all: Readonly<Record<string, string>> = {
  plain: 'plain Hono',
  'hand-default': 'hand-written GET, node-redis 6 as it comes',
  hand: 'hand-written GET, node-redis 6 without its timeout a command',
  'peer-memory': '@node-idempotency/core in Hono, memory',
  'peer-redis': '@node-idempotency/core in Hono, Redis',
  memory: 'dedup(), memory',
  sqlite: 'dedup(), memory in front of SQLite',
  redis: 'dedup(), memory in front of Redis',
  postgres: 'dedup(), memory in front of PostgreSQL',
  'sqlite+nocache': 'dedup(), SQLite each time',
  'redis+nocache': 'dedup(), Redis each time',
  'postgres+nocache': 'dedup(), PostgreSQL each time',
}

/** The ratios need the first, the hand-written one, and the nearest middleware on the same kind of store. */
const chosen = values.side && ['plain', 'hand', 'peer-memory', 'peer-redis', ...values.side]
const sides = Object.fromEntries(Object.entries(all).filter(([side]) => chosen?.includes(side) ?? true))

interface Round {
  readonly requests: number
  /** Microseconds of CPU that the server took for each: what is left to compare on a busy machine. */
  readonly cpuMicros: number
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  readonly failed: number
}

const pathOf = (name: string) => fileURLToPath(new URL(name, import.meta.url))

/** The lines that a process says, one at a time. */
async function* linesOf(child: ChildProcess): AsyncGenerator<string, void> {
  let text = ''
  for await (const chunk of child.stdout!) {
    text += String(chunk)
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n')) {
      yield text.slice(0, end)
      text = text.slice(end + 1)
    }
  }
}

async function next(lines: AsyncGenerator<string, void>): Promise<string> {
  const { value } = await lines.next()
  if (typeof value !== 'string') throw new Error('A process of the bench ended without a word')
  return value
}

async function measure(side: string, redisUrl: string, postgresUrl: string): Promise<Round> {
  const stdio = ['ignore', 'pipe', 'inherit'] as const
  const profile = values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}/${side}`]
  const server = spawn(process.execPath, [...profile, pathOf('side.ts'), side, redisUrl, postgresUrl], {
    stdio: [...stdio],
  })
  const said = linesOf(server)
  const port = await next(said)
  const load = spawn(process.execPath, [pathOf('load.ts'), port, '64', values.seconds, '100'], { stdio: [...stdio] })
  const loading = linesOf(load)
  await next(loading)
  server.kill('SIGUSR2')
  const before = Number(await next(said))
  const result = JSON.parse(await next(loading)) as Omit<Round, 'cpuMicros'>
  server.kill()
  const cpuMicros = (Number(await next(said)) - before) / result.requests
  await once(server, 'exit')
  return { ...result, cpuMicros }
}

const { url: redisUrl } = await sharedRedis()
const rounds = new Map<string, Round[]>(Object.keys(sides).map((side) => [side, []]))
for (let round = 0; round < Number(values.rounds); round++) {
  const postgresUrl = await freshDatabase()
  for (const side of Object.keys(sides)) {
    const result = await measure(side, redisUrl, postgresUrl)
    if (result.failed > 0) throw new Error(`${side}: ${result.failed} requests were not answered with 201`)
    rounds.get(side)!.push(result)
  }
}

const median = (side: string, field: keyof Round) => {
  const sorted = rounds
    .get(side)!
    .map((each) => each[field])
    .sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]!
}
/** Its memory where ours is asked too, its Redis where ours goes over a network. */
const peerOf = (side: string) => (/redis|postgres/.test(side) ? 'peer-redis' : 'peer-memory')
const rows = Object.entries(sides).map(([side, name]) => ({
  name,
  value: Math.round(median(side, 'perSecond')),
  unit: 'requests/s',
  ratio: Number((median(side, 'perSecond') / median('plain', 'perSecond')).toFixed(2)),
  ratioToGet: Number((median(side, 'perSecond') / median('hand', 'perSecond')).toFixed(2)),
  ratioToPeer: Number((median(side, 'perSecond') / median(peerOf(side), 'perSecond')).toFixed(2)),
  cpuMicros: Number(median(side, 'cpuMicros').toFixed(1)),
  cpuRatio: Number((median('plain', 'cpuMicros') / median(side, 'cpuMicros')).toFixed(2)),
  cpuRatioToGet: Number((median('hand', 'cpuMicros') / median(side, 'cpuMicros')).toFixed(2)),
  p50: Number(median(side, 'p50').toFixed(2)),
  p99: Number(median(side, 'p99').toFixed(2)),
}))
const machine = { cores: cpus().length, node: process.version, platform: process.platform }
if (values.json) console.log(JSON.stringify({ suite: 'replay', machine, rows }))
else {
  console.log(
    `replay: ${machine.cores} cores shared with the load, Node ${machine.node}, 64 connections, medians of ${values.rounds} alternating rounds of ${values.seconds} s`,
  )
  console.table(
    Object.fromEntries(
      rows.map(({ name, value, ratio, ratioToGet, ratioToPeer, cpuMicros, cpuRatio, cpuRatioToGet, p50, p99 }) => [
        name,
        {
          'requests/s': value,
          'to plain': ratio,
          'to GET': ratioToGet,
          'to peer': ratioToPeer,
          'CPU µs': cpuMicros,
          'plain CPU': cpuRatio,
          'GET CPU': cpuRatioToGet,
          p50,
          p99,
        },
      ]),
    ),
  )
}
process.exit(0)
