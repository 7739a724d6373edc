/**
 * `pnpm crash`: kills the real server, or takes its disk away, and holds it to every answer that it gave.
 *
 * - `--cycles n [--nodes n] [--store sqlite|postgres]`: kills it again and again
 * - `--cycles n --storage-faults`: makes its writes and syncs fail
 * - `--cycles n --full-disk`: has it run out of room
 * - `--cycles n --power-cut [--without-sync]`: cuts the power of its disk. `--without-sync` checks the check: it passes when a server
 *   whose syncs do nothing is found to have lost answers
 * - `--each-call [--every n] [--power-cut]`: kills it, or cuts the power, at each call of a short life that changes a file
 *
 * `--seed s` has the same chance again.
 */
import { rmSync } from 'node:fs'
import { parseArgs } from 'node:util'
import type { Report } from './checker.ts'
import { crashAtEachCall } from './each-call.ts'
import { crashByFullDisk } from './full-disk.ts'
import { crashOneNode } from './one-node.ts'
import { crashByPowerCut } from './power-cut.ts'
import { crashSeveralNodes } from './several-nodes.ts'
import { crashByStorageFaults } from './storage-faults.ts'
import { Unavailable } from './unavailable.ts'

/** What a crash test found, and whether every fault that it promises has fired. */
export interface CrashResult {
  readonly folder: string
  readonly sent: number
  readonly answered: number
  readonly report: Report
  readonly lines: readonly string[]
  readonly faultsFired: boolean
}

const { values } = parseArgs({
  options: {
    cycles: { type: 'string', default: '50' },
    nodes: { type: 'string', default: '1' },
    store: { type: 'string' },
    'storage-faults': { type: 'boolean', default: false },
    'full-disk': { type: 'boolean', default: false },
    'each-call': { type: 'boolean', default: false },
    every: { type: 'string', default: '1' },
    'power-cut': { type: 'boolean', default: false },
    'without-sync': { type: 'boolean', default: false },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
})
const cycles = Number(values.cycles)
const nodes = Number(values.nodes)
const store = values.store ?? (nodes > 1 ? 'postgres' : 'sqlite')
if (!['sqlite', 'postgres'].includes(store) || (store === 'sqlite' && nodes !== 1)) {
  console.error('Expected --store sqlite with one node, or --store postgres with any number')
  process.exit(2)
}
const fullDisk = values['full-disk']
const powerCut = values['power-cut']
const withoutSync = values['without-sync']
const storageFaults = values['storage-faults']
const eachCall = values['each-call']
const faults = [powerCut || eachCall, storageFaults, fullDisk].filter(Boolean).length
if (faults > 1 || (faults > 0 && store !== 'sqlite') || (withoutSync && (!powerCut || eachCall))) {
  console.error(
    'Expected --store sqlite with one of --each-call, --power-cut, --storage-faults and --full-disk, or --each-call with --power-cut; and --without-sync with --power-cut alone',
  )
  process.exit(2)
}

const { folder, sent, answered, report, lines, faultsFired } = await crash(cycles, Number(values.seed)).catch(
  (error: unknown) => {
    if (!(error instanceof Unavailable)) throw error
    console.error(error.message)
    process.exit(69)
  },
)
const successRatio = answered / sent
console.log(
  `seed ${values.seed}, ${store}, ${eachCall ? '' : `${cycles} cycles, `}${sent} requests sent, ${(successRatio * 100).toFixed(1)} % answered`,
)
console.log(
  `acknowledged ${report.acknowledged} of ${report.asked}, lost ${report.lost}, duplicated rows ${report.duplicatedRows}, repeated executions ${report.repeatedExecutions}, different answers ${report.differentAnswers}, unfinished ${report.unfinished}`,
)
for (const line of lines) console.log(line)
const violations = report.lost + report.duplicatedRows + report.differentAnswers + report.unfinished
const failed = withoutSync ? violations === 0 : violations > 0 || successRatio < 0.2 || !faultsFired
if (failed && withoutSync) console.error('FAILED: a server whose syncs do nothing lost no answer')
else if (failed)
  console.error(`FAILED${faultsFired ? '' : ': not every fault has fired'}; what it left is in ${folder}`)
else rmSync(folder, { recursive: true })
process.exit(failed ? 1 : 0)

function crash(cycles: number, seed: number): Promise<CrashResult> {
  if (store === 'postgres') return crashSeveralNodes(cycles, nodes, seed)
  if (fullDisk) return crashByFullDisk(cycles, seed)
  if (eachCall) return crashAtEachCall(Number(values.every), powerCut, seed)
  if (powerCut) return crashByPowerCut(cycles, seed, withoutSync)
  return storageFaults ? crashByStorageFaults(cycles, seed) : crashOneNode(cycles, seed)
}
