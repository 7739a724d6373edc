/** `pnpm bench proxy [--rounds n] [--seconds n] [--json] [--profile folder]`: what a proxied request costs, all sides in one run, alternating. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpus } from 'node:os'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '2' },
    json: { type: 'boolean', default: false },
    profile: { type: 'string' },
  },
})

interface Case {
  readonly name: string
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly bytes: number
  readonly sides: readonly string[]
}

const all = ['hono', 'fastify', 'gateway']
const cases: readonly Case[] = [
  { name: 'GET 1 KB', method: 'GET', path: '/1000', bytes: 0, sides: all },
  { name: 'POST 1 KB', method: 'POST', path: '/1000', bytes: 1_000, sides: all },
  { name: 'GET 1 MB', method: 'GET', path: '/1000000', bytes: 0, sides: all },
  { name: 'POST 1 MB', method: 'POST', path: '/1000', bytes: 1_000_000, sides: all },
  // Nobody else has it: it is compared with what they do without.
  { name: 'durable keyed POST 1 KB', method: 'POST', path: '/durable', bytes: 1_000, sides: ['gateway'] },
]
const names: Readonly<Record<string, string>> = {
  hono: 'hono/proxy',
  fastify: '@fastify/http-proxy',
  gateway: '@gw/gateway',
}

interface Round {
  readonly requests: number
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  readonly failed: number
  /** Microseconds of CPU that the proxy took for each: what is left to compare on a busy machine. */
  readonly cpuMicros: number
}

const pathOf = (name: string) => fileURLToPath(new URL(name, import.meta.url))

/** Starts a program of the bench; `line` resolves to the next line that it says. */
function start(name: string, args: readonly string[], flags: readonly string[] = []) {
  const child: ChildProcess = spawn(process.execPath, [...flags, pathOf(name), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
  return {
    child,
    async line(): Promise<string> {
      const { value } = await lines.next()
      if (typeof value !== 'string') throw new Error(`${name} ended without a word`)
      return value
    },
  }
}

async function measure(side: string, { name, method, path, bytes }: Case, upstream: string): Promise<Round> {
  const { profile } = values
  const flags =
    profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}/${name.replaceAll(' ', '-')}/${side}`]
  const proxy = start('side.ts', [side, upstream], flags)
  const load = start('load.ts', [await proxy.line(), method, path, String(bytes), values.seconds, crypto.randomUUID()])
  await load.line()
  proxy.child.kill('SIGUSR2')
  const before = Number(await proxy.line())
  const seen = JSON.parse(await load.line()) as Omit<Round, 'cpuMicros'>
  proxy.child.kill()
  const cpuMicros = (Number(await proxy.line()) - before) / seen.requests
  await once(proxy.child, 'exit')
  if (seen.failed > 0) throw new Error(`${names[side]}, ${name}: ${seen.failed} requests failed`)
  return { ...seen, cpuMicros }
}

const upstream = start('upstream.ts', [])
const url = `http://127.0.0.1:${await upstream.line()}`
const rounds = new Map<string, Round[]>()
for (let round = 0; round < Number(values.rounds); round++)
  for (const each of cases)
    for (const side of each.sides) {
      const id = `${each.name}: ${names[side]}`
      rounds.set(id, [...(rounds.get(id) ?? []), await measure(side, each, url)])
    }
upstream.child.kill()

const median = (id: string, field: keyof Round) => {
  const sorted = rounds.get(id)!.map((each) => each[field])
  sorted.sort((a, b) => a - b)
  return sorted[sorted.length >> 1]!
}
const rows = cases.flatMap(({ name, sides }) =>
  sides.map((side) => {
    const id = `${name}: ${names[side]}`
    const base = `${sides.length > 1 ? name : 'POST 1 KB'}: ${names['hono']}`
    return {
      name: id,
      value: Math.round(median(id, 'perSecond')),
      unit: 'requests/s',
      ratio: Number((median(id, 'perSecond') / median(base, 'perSecond')).toFixed(2)),
      cpuMicros: Number(median(id, 'cpuMicros').toFixed(0)),
      cpuRatio: Number((median(base, 'cpuMicros') / median(id, 'cpuMicros')).toFixed(2)),
      p50: Number(median(id, 'p50').toFixed(2)),
      p99: Number(median(id, 'p99').toFixed(2)),
    }
  }),
)
const machine = { cores: cpus().length, node: process.version, platform: process.platform }
if (values.json) console.log(JSON.stringify({ suite: 'proxy', machine, rows }))
else {
  console.log(
    `proxy: ${machine.cores} cores shared with the load and the upstream, Node ${machine.node}, 32 connections, medians of ${values.rounds} alternating rounds of ${values.seconds} s; ratios to hono/proxy`,
  )
  console.table(Object.fromEntries(rows.map(({ name, unit: _, ...figures }) => [name, figures])))
}
