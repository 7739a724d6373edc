// `pnpm runtimes [--check]`: runs every cell of package × runtime now, prints the table and writes it into the READMEs; with
// `--check` a README that says something else is a failure instead.
import { freshDatabase, postgres } from '@gw/services'
import { proveGateway } from './gateway.ts'
import type { Outcome } from './proof.ts'
import { type Runtime, runtimes } from './runtime.ts'
import { servers } from './servers.ts'
import { type Cell, markdown, type Row, rows, updateReadme } from './table.ts'

const check = process.argv.includes('--check')
const on = await servers()
const columns = await runtimes(on)
const names = columns.map(({ name }) => name)
const cells = new Map<Row, Map<string, Cell>>(rows.map((row) => [row, new Map()]))
let failed = false

async function prove(row: Row, runtime: Runtime): Promise<void> {
  let outcome: Outcome
  try {
    if (row.proof === 'gateway') outcome = await proveGateway(runtime)
    else if (row.proof === 'gateway on servers') {
      const state = { DATABASE_URL: await freshDatabase(), REDIS_URL: on.REDIS_URL, GW_S3_URL: on.BUCKET_URL }
      outcome = await proveGateway(runtime, state)
    } else if (row.ownPostgres === true) {
      const server = await postgres()
      outcome = await runtime.prove(row.proof, { POSTGRES_URL: server.url }).finally(server.stop)
    } else outcome = await runtime.prove(row.on?.[runtime.name] ?? row.proof)
  } catch (error) {
    outcome = { passed: 0, failures: [{ name: 'it runs', error: String(error) }] }
  }
  const good = outcome.failures.length === 0 && outcome.passed > 0
  cells.get(row)?.set(runtime.name, good ? 'ok' : 'FAILED')
  if (good) return
  failed = true
  for (const { name, error } of outcome.failures)
    console.error(`${row.folder}, ${row.what}, ${runtime.name}: ${name}\n${error}\n`)
}

try {
  for (const row of rows) {
    const held = columns.filter(({ name }) => row.not?.[name] === undefined)
    await Promise.all(held.map((runtime) => prove(row, runtime)))
    const line = names.map((name) => (cells.get(row)?.get(name) ?? '–').padEnd(name.length))
    if (row === rows[0]) console.log(`${''.padEnd(52)}${names.join('  ')}`)
    console.log(`${`${row.folder} ${row.what.replaceAll('`', '')}`.padEnd(52)}${line.join('  ')}`)
  }
  for (const folder of failed ? [] : new Set(rows.map((row) => row.folder))) {
    if (!updateReadme(folder, markdown(folder, names, cells), check) && check) {
      failed = true
      console.error(`${folder}/README.md is not current: run \`pnpm runtimes\``)
    }
  }
} finally {
  for (const { close } of columns) await close?.()
}
process.exitCode = failed ? 1 : 0
