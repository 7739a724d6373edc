/**
 * `node --conditions=@gw/source bench/group-commit.ts [--rounds n] [--seconds n] [--lanes n] [--json]`: units of 300-byte rows at 1,
 * 64 and 256 concurrent writers, beside one transaction each on the same server.
 */
import { randomUUID } from 'node:crypto'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { freshDatabase } from '@gw/services'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import { connectPostgres, postgresDatabase } from '../src/index.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '2' },
    lanes: { type: 'string', default: '2' },
    json: { type: 'boolean', default: false },
  },
})
const seconds = Number(values.seconds)
const client = connectPostgres(await freshDatabase(), { maxConnections: 64 })
const database = postgresDatabase(drizzle(client), { lanes: Number(values.lanes) })
const value = 'x'.repeat(300)

await database.migrate('bench', ['create table gw_bench (id text primary key, value text not null)'])
interface Row {
  readonly id: string
  readonly value: string
}
for (const name of ['put', 'put2', 'put3']) {
  database.define<Row>(name, {
    locks: ({ id }) => [{ name: `bench:${id}`, shared: false }],
    oneStatement: true,
    async run(tx, batch) {
      const ids = sql.param(batch.map(({ id }) => id))
      const texts = sql.param(batch.map((row) => row.value))
      await tx.execute(sql`insert into gw_bench select * from unnest(${ids}::text[], ${texts}::text[])`)
      return batch.map(() => ({ result: undefined }))
    },
  })
}

async function unit(procedures: readonly string[]): Promise<void> {
  const writes = database.unit()
  for (const procedure of procedures) writes.add({ procedure, args: { id: randomUUID(), value } })
  await writes.commit()
}

async function each(rows: number): Promise<void> {
  await client.begin(async (tx) => {
    for (let i = 0; i < rows; i++) await tx`insert into gw_bench values (${randomUUID()}, ${value})`
  })
}

async function rate(writers: number, write: () => Promise<void>): Promise<number> {
  const end = performance.now() + seconds * 1000
  const started = performance.now()
  let done = 0
  await Promise.all(
    Array.from({ length: writers }, async () => {
      while (performance.now() < end) {
        await write()
        done++
      }
    }),
  )
  return done / ((performance.now() - started) / 1000)
}

function median(figures: readonly number[]): number {
  return [...figures].sort((a, b) => a - b)[values.length >> 1]!
}

const three = ['put', 'put2', 'put3']
const rows: object[] = []
await rate(8, () => unit(three))
for (const [name, grouped, alone] of [
  ['one write', () => unit(['put']), () => each(1)],
  ['three writes of three procedures', () => unit(three), () => each(3)],
] as const) {
  for (const writers of [1, 64, 256]) {
    const figures: [number, number][] = []
    for (let round = 0; round < Number(values.rounds); round++) {
      figures.push([await rate(writers, grouped), await rate(writers, alone)])
      await client`truncate gw_bench`
    }
    const [a, b] = [median(figures.map(([x]) => x)), median(figures.map(([, x]) => x))]
    const of = `${name}, ${writers} writers`
    rows.push(
      { name: `${of}: a transaction each`, value: Math.round(b), unit: 'units/s', ratio: 1 },
      { name: `${of}: units`, value: Math.round(a), unit: 'units/s', ratio: Number((a / b).toFixed(2)) },
    )
  }
}
await database.close()
await client.end()
const machine = { cores: cpus().length, node: process.version, platform: process.platform }
if (values.json) console.log(JSON.stringify({ suite: 'group-commit', machine, rows }))
else {
  console.log(
    `group-commit: ${machine.cores} cores shared with PostgreSQL, Node ${machine.node}, medians of ${values.rounds} alternating rounds of ${seconds} s`,
  )
  console.table(rows)
}
