/**
 * Units of one row a second, at 1, 64 and 256 concurrent writers, beside one transaction each on the same server:
 * `GW_TEST_POSTGRES_URL=postgres://… node --conditions=@gw/source bench/group-commit.ts [seconds] [rounds] [lanes]`.
 */
import { randomUUID } from 'node:crypto'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import { connectPostgres, postgresDatabase } from '../src/index.ts'

const url = process.env['GW_TEST_POSTGRES_URL']
if (url === undefined) throw new Error('Set GW_TEST_POSTGRES_URL to a PostgreSQL that may be written to')
const [seconds = 2, rounds = 3, lanes = 2] = process.argv.slice(2).map(Number)
const client = connectPostgres(url, { maxConnections: 64 })
const database = postgresDatabase(drizzle(client), { lanes })
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
      const values = sql.param(batch.map((row) => row.value))
      await tx.execute(sql`insert into gw_bench select * from unnest(${ids}::text[], ${values}::text[])`)
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

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!
}

const three = ['put', 'put2', 'put3']
await rate(8, () => unit(three))
for (const [name, grouped, alone] of [
  ['one write', () => unit(['put']), () => each(1)],
  ['three writes of three procedures', () => unit(three), () => each(3)],
] as const) {
  for (const writers of [1, 64, 256]) {
    const figures: [number, number][] = []
    for (let round = 0; round < rounds; round++) {
      figures.push([await rate(writers, grouped), await rate(writers, alone)])
      await client`truncate gw_bench`
    }
    const [a, b] = [median(figures.map(([x]) => x)), median(figures.map(([, x]) => x))]
    console.log(
      `${name}, ${writers} writers: ${Math.round(a)} units/s, one transaction each ${Math.round(b)}/s, ratio ${(a / b).toFixed(2)}`,
    )
  }
}
await database.close()
await client.end()
