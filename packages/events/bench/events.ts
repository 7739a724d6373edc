/** `node --conditions=@gw/source bench/events.ts [--rounds n] [--seconds n] [--small n] [--large n] [--json]`: appends of 300 bytes and queries by actor and time. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { connectPostgres, postgresDatabase } from '@gw/postgres'
import { freshDatabase } from '@gw/services'
import { openDatabase } from '@gw/sqlite'
import { drizzle } from 'drizzle-orm/postgres-js'
import { EventStore } from '../src/index.ts'
import { postgresEventStore } from '../src/stores/postgres.ts'
import { sqliteEventStore } from '../src/stores/sqlite.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '2' },
    small: { type: 'string', default: '100000' },
    large: { type: 'string', default: '1000000' },
    json: { type: 'boolean', default: false },
    'no-queries': { type: 'boolean', default: false },
  },
})
const seconds = Number(values.seconds)
const data = { text: 'x'.repeat(289) }
const text = JSON.stringify(data)
const folder = mkdtempSync(join(tmpdir(), 'gw-bench-events-'))

/** Has `writers` call `write` one after the other each for the time of a round; answers events a second. */
async function rate(writers: number, write: (writer: number) => Promise<unknown>, during = seconds): Promise<number> {
  let count = 0
  const began = performance.now()
  const until = began + during * 1_000
  await Promise.all(
    Array.from({ length: writers }, async (_, writer) => {
      while (performance.now() < until) {
        await write(writer)
        count++
      }
    }),
  )
  return (count * 1_000) / (performance.now() - began)
}

interface Side {
  readonly name: string
  readonly base: string
  measure(during?: number): Promise<number>
}

/** What the same rows cost without a library: the table that any event store needs, one transaction a group. */
function raw(group: number): Side {
  const db = new DatabaseSync(join(folder, `raw${group}.db`))
  db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE event (position INTEGER PRIMARY KEY, stream TEXT NOT NULL, version INTEGER NOT NULL, time INTEGER NOT NULL,
      id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, data TEXT NOT NULL);
    CREATE UNIQUE INDEX event_stream ON event (stream, version)`)
  const insert = db.prepare('INSERT INTO event VALUES (NULL, ?, ?, ?, ?, ?, ?)')
  const versions = new Array<number>(group).fill(0)
  return {
    name: `node:sqlite by hand, ${group} a transaction`,
    base: `node:sqlite by hand, ${group} a transaction`,
    async measure(during = seconds) {
      const began = performance.now()
      let count = 0
      while (performance.now() - began < during * 1_000) {
        db.exec('BEGIN IMMEDIATE')
        for (let i = 0; i < group; i++)
          insert.run(`s${i}`, versions[i]!++, Date.now(), crypto.randomUUID(), 'benched', text)
        db.exec('COMMIT')
        count += group
        await new Promise((resolve) => setImmediate(resolve))
      }
      return (count * 1_000) / (performance.now() - began)
    },
  }
}

function ours(name: string, base: string, events: EventStore, writers: number): Side {
  return {
    name: `${name}, ${writers} writers`,
    base,
    measure: (during) => rate(writers, (w) => events.append('benched', data, { stream: `s${w}` }), during),
  }
}

async function emmett(url: string, writers: number): Promise<Side> {
  const required = createRequire(new URL('../../../tests/package.json', import.meta.url))
  const path = required.resolve('@event-driven-io/emmett-postgresql').replace(/index\.cjs$/, 'index.js')
  const { getPostgreSQLEventStore } = (await import(pathToFileURL(path).href)) as {
    getPostgreSQLEventStore(url: string): {
      appendToStream(stream: string, events: readonly object[]): Promise<unknown>
    }
  }
  const store = getPostgreSQLEventStore(url)
  return {
    name: `emmett on PostgreSQL, ${writers} writers`,
    base: `emmett on PostgreSQL, ${writers} writers`,
    measure: (during) => rate(writers, (w) => store.appendToStream(`s${w}`, [{ type: 'benched', data }]), during),
  }
}

const median = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1]!
const quantile = (sorted: readonly number[], q: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]!

const db = await openDatabase({ directory: join(folder, 'sqlite') })
const onSqlite = new EventStore({ store: sqliteEventStore({ db }) })
const client = connectPostgres(await freshDatabase())
const postgres = postgresDatabase(drizzle(client))
const onPostgres = new EventStore({ store: postgresEventStore({ db: postgres }) })
const emmettUrl = await freshDatabase()
const [emmettOne, emmettMany] = [await emmett(emmettUrl, 1), await emmett(emmettUrl, 64)]
const sides = [
  raw(1),
  ours('SQLite', 'node:sqlite by hand, 1 a transaction', onSqlite, 1),
  raw(64),
  ours('SQLite', 'node:sqlite by hand, 64 a transaction', onSqlite, 64),
  emmettOne,
  ours('PostgreSQL', emmettOne.name, onPostgres, 1),
  emmettMany,
  ours('PostgreSQL', emmettMany.name, onPostgres, 64),
]

const measured = new Map<string, number[]>(sides.map(({ name }) => [name, []]))
for (const side of sides) await side.measure(0.3)
for (let round = 0; round < Number(values.rounds); round++)
  for (const { name, measure } of sides) measured.get(name)!.push(await measure())
const rows: object[] = sides.map(({ name, base }) => ({
  name,
  value: Math.round(median(measured.get(name)!)),
  unit: 'events/s',
  ratio: Number((median(measured.get(name)!) / median(measured.get(base)!)).toFixed(2)),
}))

if (!values['no-queries']) {
  let first: number | undefined
  for (const size of [Number(values.small), Number(values.large)]) {
    const directory = join(folder, `query${size}`)
    const filled = await openDatabase({ directory })
    const events = new EventStore({ store: sqliteEventStore({ db: filled }) })
    for (let at = 0; at < size; at += 1_000)
      await events.appendBatch(
        `s${at % 7_000}`,
        Array.from({ length: 1_000 }, (_, i) => ({ type: 'benched', data, actor: `a${(at + i) % 997}` })),
      )
    const { events: edge } = await events.query({ limit: 1 })
    const start = Date.parse(edge[0]!.time)
    const span = Date.now() - start
    const times: number[] = []
    for (let i = 0; i < 2_000; i++) {
      const from = start + Math.floor((span * (i % 100)) / 100)
      const began = performance.now()
      await events.query({ actor: `a${i % 997}`, from, limit: 20 })
      times.push(performance.now() - began)
    }
    times.sort((a, b) => a - b)
    const p99 = quantile(times, 0.99)
    first ??= p99
    rows.push({
      name: `query by actor and time, ${size} events`,
      value: Math.round(1_000 / quantile(times, 0.5)),
      unit: 'queries/s',
      ratio: Number((p99 / first).toFixed(2)),
      p50: Number(quantile(times, 0.5).toFixed(3)),
      p99: Number(p99.toFixed(3)),
    })
    await filled.close()
  }
}

await onSqlite.stop()
await db.close()
await onPostgres.stop()
await postgres.close()
await client.end()
rmSync(folder, { recursive: true, force: true })
const machine = { cores: cpus().length, node: process.version, platform: process.platform }
if (values.json) console.log(JSON.stringify({ suite: 'events', machine, rows }))
else {
  console.log(
    `events: ${machine.cores} cores, Node ${machine.node}, medians of ${values.rounds} alternating rounds of ${seconds} s`,
  )
  console.table(rows)
}
process.exit()
