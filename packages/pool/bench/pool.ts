/**
 * `node bench/pool.ts [--rounds n] [--json]`: what a loan costs, beside generic-pool with the same options on and tarn,
 * and end to end on a real PostgreSQL beside postgres.js's own pool.
 *
 * All sides in one process, alternating; medians of the rounds. Goals: at most 1.3 × generic-pool with the same options
 * on, ahead of tarn, and end to end within 2 % of postgres.js's own pool.
 */
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { sharedPostgres } from '@gw/services'
import genericPool from 'generic-pool'
import postgres from 'postgres'
import { Pool as Tarn } from 'tarn'
import { postgresFactory } from '../dist/factories/postgres.js'
import { ConnectionPool, type NamedPool, type PoolOptions } from '../dist/index.js'

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '9' }, json: { type: 'boolean', default: false } },
})
const rounds = Number(values.rounds)

interface Row {
  readonly name: string
  readonly value: number
  readonly unit: string
  readonly ratio: number
}

interface Side {
  readonly name: string
  /** Takes something, gives the turn away once, and gives it back. */
  readonly once: () => Promise<unknown>
}

const create = async () => ({})
const destroy = async () => {}
const validate = async () => true
const size = { min: 10, max: 10 }

function genericSide(name: string, options: object): Side {
  const pool = genericPool.createPool({ create, destroy, validate }, { ...size, ...options })
  return {
    name,
    async once() {
      const resource = await pool.acquire()
      await null
      await pool.release(resource)
    },
  }
}

function tarnSide(): Side {
  const pool = new Tarn({ ...size, create, destroy, validate: () => true, acquireTimeoutMillis: 30_000 })
  return {
    name: 'tarn, timeout and validation',
    async once() {
      const resource = await pool.acquire().promise
      await null
      pool.release(resource)
    },
  }
}

async function oursSide(name: string, options: Partial<PoolOptions>): Promise<Side> {
  const pool = new ConnectionPool({ name, ...size, ...options })
  const things = pool.register('things', { create, destroy, validate })
  await pool.start()
  return {
    name,
    async once() {
      const lease = await things.acquire()
      await null
      lease.release()
    },
  }
}

const alone = async (side: Side, times: number): Promise<void> => {
  for (let index = 0; index < times; index++) await side.once()
}
const together =
  (tasks: number) =>
  async (side: Side, times: number): Promise<void> => {
    await Promise.all(Array.from({ length: tasks }, () => alone(side, times / tasks)))
  }

/** Nanoseconds or microseconds a time, the median of the rounds, the sides alternating. */
async function measure(
  sides: readonly Side[],
  how: (side: Side, times: number) => Promise<void>,
  times: number,
  rounds: number,
): Promise<Map<string, number>> {
  const found = new Map<string, number[]>(sides.map((side) => [side.name, []]))
  for (const side of sides) await how(side, times / 4)
  for (let round = 0; round < rounds; round++) {
    // Each begins in turn, so that none is always the one after the garbage of another.
    for (let place = 0; place < sides.length; place++) {
      const side = sides[(place + round) % sides.length] as Side
      const began = performance.now()
      await how(side, times)
      found.get(side.name)?.push(((performance.now() - began) * 1e6) / times)
    }
  }
  return new Map([...found].map(([name, all]) => [name, all.sort((a, b) => a - b)[all.length >> 1] as number]))
}

const rows: Row[] = []
function add(what: string, found: Map<string, number>, base: string, unit: 'ns' | 'µs'): void {
  for (const [name, value] of found) {
    rows.push({
      name: `${what}: ${name}`,
      value: unit === 'ns' ? Math.round(value) : Number((value / 1e3).toFixed(1)),
      unit,
      ratio: Number((value / (found.get(base) as number)).toFixed(3)),
    })
  }
}

const same = 'generic-pool, timeout and validation'
const sides = [
  genericSide('generic-pool, bare', {}),
  genericSide('generic-pool, timeout', { acquireTimeoutMillis: 30_000 }),
  genericSide(same, { acquireTimeoutMillis: 30_000, testOnBorrow: true }),
  tarnSide(),
  await oursSide('@gw/pool', {}),
  await oursSide('@gw/pool, tested every time', { validateAfterIdleMs: 0 }),
]
add('alone', await measure(sides, alone, 100_000, rounds), same, 'ns')
add('100 tasks on 10', await measure(sides, together(100), 100_000, rounds), same, 'ns')

const { url } = await sharedPostgres()
const own = postgres(url, { max: 10 })
const pool = new ConnectionPool({ name: 'bench', ...size })
const database: NamedPool<postgres.Sql> = pool.register('database', postgresFactory({ url }))
await pool.start()
const onServer: Side[] = [
  { name: 'postgres.js', once: () => own`SELECT 1` },
  {
    name: 'postgres.js, reserved',
    async once() {
      const reserved = await own.reserve()
      await reserved`SELECT 1`
      reserved.release()
    },
  },
  { name: '@gw/pool', once: () => database.use((sql) => sql`SELECT 1`) },
]
// Short turns, many of them: the server's mood lasts longer than a turn.
add('SELECT 1, alone', await measure(onServer, alone, 500, rounds * 6), 'postgres.js', 'µs')
add('SELECT 1, 10 tasks on 10', await measure(onServer, together(10), 2_000, rounds * 6), 'postgres.js', 'µs')
add('SELECT 1, 100 tasks on 10', await measure(onServer, together(100), 2_000, rounds * 6), 'postgres.js', 'µs')
await Promise.all([own.end(), pool.drain()])

const machine = { cores: cpus().length, node: process.version, platform: process.platform }
if (values.json) console.log(JSON.stringify({ suite: 'pool', machine, rows }))
else {
  console.log(
    `pool: ${machine.cores} cores, Node ${machine.node}, medians of ${rounds} alternating rounds, a time each\n`,
  )
  const width = Math.max(...rows.map((row) => row.name.length))
  for (const { name, value, unit, ratio } of rows) {
    console.log(`${name.padEnd(width)}  ${String(value).padStart(8)} ${unit}  ${ratio.toFixed(3).padStart(6)}`)
  }
}
process.exit(0)
