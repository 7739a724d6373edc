/**
 * `pnpm sim --seeds n [--from s]` lives through n seeds of a cluster with faults; `--seed s [--trace]` replays one exactly;
 * `--exhaustive n [--nodes m]` tries every history of up to n operations with every fault at each of its writes; `--mutants [--only name] [--known]` looks whether each planted bug is found, with `--known` from a seed on that has found it before. `--mutant name` goes with the first two.
 */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { unhealthy } from './health.ts'
import { mutants } from './mutants.ts'
import { type Lived, liveThrough } from './threads.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    trace: { type: 'boolean', default: false },
    mutants: { type: 'boolean', default: false },
    mutant: { type: 'string' },
    only: { type: 'string' },
    known: { type: 'boolean', default: false },
    exhaustive: { type: 'string' },
    nodes: { type: 'string', default: '1' },
    threads: { type: 'string', default: String(Math.max(2, Math.min(8, availableParallelism()))) },
  },
})
const threads = Number(values.threads)
const from = Number(values.from)

process.exitCode = await whatWasAskedFor()

function whatWasAskedFor(): Promise<number> {
  if (values.seed !== undefined) return replay(Number(values.seed))
  if (values.exhaustive !== undefined) return exhaust(Number(values.exhaustive), Number(values.nodes))
  return values.mutants ? findMutants() : search()
}

async function search(): Promise<number> {
  const seeds = Number(values.seeds ?? 1_000)
  const lived = await liveThrough({ from, to: from + seeds - 1, threads, mutant: values.mutant, untilFound: false })
  const { counts } = lived
  console.log(
    `${lived.seeds} seeds in ${lived.seconds.toFixed(1)} s (${(lived.seeds / lived.seconds).toFixed(0)} a second), ${lived.events} events, ${lived.twice} seeds lived through twice`,
  )
  for (const prefix of ['fault ', '']) {
    const shown = Object.entries(counts).filter(([what]) => what.startsWith('fault ') === (prefix !== ''))
    console.log(
      `${prefix === '' ? 'did' : 'faults'}: ${shown.map(([what, n]) => `${what.replace(prefix, '')} ${n}`).join(', ')}`,
    )
  }
  for (const { seed, broken } of lived.found.slice(0, 5)) tell(seed, broken)
  if (lived.found.length > 0) {
    console.log(`FAILED: ${lived.found.length} seeds found something. The first, in short:`)
    await explain(lived)
    return 1
  }
  const ill = lived.seeds >= 1_000 ? unhealthy(counts) : []
  for (const what of ill) console.log(`FAILED: ${what}`)
  return ill.length > 0 ? 1 : 0
}

async function exhaust(length: number, nodes: number): Promise<number> {
  const exhaustive = { length, nodes }
  const lived = await liveThrough({
    from: 0,
    to: threads,
    threads,
    mutant: values.mutant,
    untilFound: false,
    exhaustive,
  })
  const { history = 0, ...faults } = lived.counts
  const counted = Object.entries(faults).map(([what, n]) => `${what.replace('fault ', '')} ${n}`)
  console.log(`${history} histories, ${lived.seeds} cases in ${lived.seconds.toFixed(1)} s: ${counted.join(', ')}`)
  for (const { broken } of lived.found.slice(0, 10)) console.log(`  ${broken[0]!.slice(0, 600)}`)
  if (lived.found.length > 0) console.log(`FAILED: ${lived.found.length} cases broke something.`)
  return lived.found.length > 0 || Object.values(faults).some((n) => n === 0) ? 1 : 0
}

async function findMutants(): Promise<number> {
  const seeds = Number(values.seeds ?? 20_000)
  let missed = 0
  for (const { name, bug, seed } of mutants) {
    if (values.only !== undefined && name !== values.only) continue
    const first = (values.known ? seed : undefined) ?? from
    const lived = await liveThrough({ from: first, to: first + seeds - 1, threads, mutant: name, untilFound: true })
    const found = lived.found[0]
    if (found === undefined) missed++
    const what = found === undefined ? 'NOT FOUND' : `found at seed ${found.seed}`
    const why = found === undefined ? `in ${lived.seeds} seeds` : found.broken[0]!.slice(0, 90).replaceAll('\n', ' ')
    console.log(`${name.padEnd(13)} ${what.padEnd(20)} ${bug}: ${why}`)
  }
  console.log(
    missed === 0
      ? 'Every planted bug that was looked for was found.'
      : `FAILED: ${missed} planted bugs were not found.`,
  )
  return missed === 0 ? 0 : 1
}

async function replay(seed: number): Promise<number> {
  const once = { from: seed, to: seed, threads: 1, mutant: values.mutant, untilFound: false, traced: values.trace }
  const lived = await liveThrough(once)
  for (const line of lived.lines ?? []) console.log(line)
  console.log(`seed ${seed}, trace ${lived.hash}`)
  for (const { broken } of lived.found) tell(seed, broken)
  return lived.found.length > 0 ? 1 : 0
}

function tell(seed: number, broken: readonly string[]): void {
  console.log(`seed ${seed} broke ${broken.length} rules:`)
  for (const what of broken.slice(0, 5)) console.log(`  ${what.slice(0, 600)}`)
  const mutant = values.mutant === undefined ? '' : ` --mutant '${values.mutant}'`
  console.log(`  replay it: pnpm sim --seed ${seed} --trace${mutant}`)
}

/** The part of the first failure's trace that is about the run or key that it names, and what went wrong around it. */
async function explain({ found }: Lived): Promise<void> {
  const { seed, broken } = found.reduce((a, b) => (b.events < a.events ? b : a))
  const { lines = [] } = await liveThrough({
    from: seed,
    to: seed,
    threads: 1,
    mutant: values.mutant,
    untilFound: false,
    traced: true,
  })
  const names = new Set(broken[0]!.match(/[0-9a-f]{8}-[0-9a-f-]{27}|\bk\d+\b|\bkey [0-9a-f]{6}/g) ?? [])
  const wanted = [...names].map((name) => (name.startsWith('key ') ? name.slice(4) : name.slice(-6)))
  const around = /crashes|paused|is cut|SIGTERM|to n\d|start |quiet|BROKEN/
  const about = lines.filter((line) => wanted.some((name) => line.includes(name)) || around.test(line))
  console.log(`trace of seed ${seed}, ${lines.length} lines, what matters of it:`)
  for (const line of about.slice(-60)) console.log(`  ${line.slice(0, 200)}`)
}
