/**
 * `node --conditions=@gw/source bench/pool.ts [--rounds n] [--json]`: an acquire and release on generic-pool with an acquire timeout
 * and a test, on tarn, and here; alone and with 100 tasks on 10 connections; and `SELECT 1` end to end on a real PostgreSQL beside
 * postgres.js's own pool. Both sides alternate in one process; medians.
 */
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { ConnectionPool } from '@gw/pool'
import { postgresFactory } from '@gw/pool/postgres'
import { freshDatabase } from '@gw/services'
import { createPool } from 'generic-pool'
import postgres, { type Sql } from 'postgres'
import { Pool as TarnPool } from 'tarn'

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '7' }, json: { type: 'boolean', default: false } },
})
const rounds = Number(values.rounds)

interface Side {
  readonly name: string
  cycle(): Promise<void>
}

const factory = { create: async () => ({}), destroy: async () => {}, validate: async () => true }
const generic = createPool(factory, { min: 0, max: 10, acquireTimeoutMillis: 30_000, testOnBorrow: true })
const tarn = new TarnPool<object>({
  create: async () => ({}),
  destroy: () => {},
  validate: () => true,
  min: 0,
  max: 10,
  acquireTimeoutMillis: 30_000,
})
const pool = new ConnectionPool({ name: 'bench', min: 0, max: 10, validateAfterIdleMs: 0 })
const ours = pool.register<object>('object', factory)
const lately = new ConnectionPool({ name: 'lately', min: 0, max: 10 }).register<object>('object', factory)

const sides: Side[] = [
  {
    name: 'generic-pool, timeout and test',
    async cycle() {
      const resource = await generic.acquire()
      await generic.release(resource)
    },
  },
  {
    name: 'tarn',
    async cycle() {
      const resource = await tarn.acquire().promise
      tarn.release(resource)
    },
  },
  {
    name: '@gw/pool, tested each time',
    async cycle() {
      const lease = await ours.acquire()
      lease.release()
    },
  },
  {
    name: '@gw/pool, as it comes',
    async cycle() {
      const lease = await lately.acquire()
      lease.release()
    },
  },
]

async function alone({ cycle }: Side): Promise<number> {
  const times = 20_000
  const began = performance.now()
  for (let i = 0; i < times; i++) await cycle()
  return ((performance.now() - began) * 1e6) / times
}

async function crowded({ cycle }: Side): Promise<number> {
  const times = 40_000
  const began = performance.now()
  await Promise.all(
    Array.from({ length: 100 }, async () => {
      for (let i = 0; i < times / 100; i++) await cycle()
    }),
  )
  return ((performance.now() - began) * 1e6) / times
}

const url = await freshDatabase()
const own = postgres(url, { max: 10, onnotice: () => {} })
const onPostgres = new ConnectionPool({ name: 'postgres', min: 0, max: 10, connectConcurrency: 10 })
const database = onPostgres.register<Sql>('database', postgresFactory({ url, client: { onnotice: () => {} } }))
const endToEnd: Side[] = [
  {
    name: 'postgres.js and its own pool, SELECT 1',
    async cycle() {
      await own`SELECT 1`
    },
  },
  {
    name: '@gw/pool, SELECT 1',
    async cycle() {
      await database.use((sql) => sql`SELECT 1`)
    },
  },
]

async function queries({ cycle }: Side): Promise<number> {
  const times = 6_000
  const began = performance.now()
  await Promise.all(
    Array.from({ length: 10 }, async () => {
      for (let i = 0; i < times / 10; i++) await cycle()
    }),
  )
  return ((performance.now() - began) * 1e6) / times
}

const median = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]!
const rows: { name: string; value: number; unit: string; ratio: number }[] = []
for (const [how, measure, who] of [
  ['alone', alone, sides],
  ['100 on 10', crowded, sides],
  ['10 on 10', queries, endToEnd],
] as const) {
  const taken = new Map<string, number[]>(who.map(({ name }) => [name, []]))
  for (const side of who) await measure(side)
  for (let round = 0; round < rounds; round++) for (const side of who) taken.get(side.name)!.push(await measure(side))
  const base = median(taken.get(who[0]!.name)!)
  for (const { name } of who) {
    const value = median(taken.get(name)!)
    rows.push({
      name: `${name}, ${how}`,
      value: Math.round(value),
      unit: 'ns',
      ratio: Number((value / base).toFixed(2)),
    })
  }
}
const machine = { cores: cpus().length, node: process.version }
if (values.json) console.log(JSON.stringify({ suite: 'pool', machine, rows }))
else console.table(rows)
process.exit()
