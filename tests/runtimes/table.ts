import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** One row: what is proved of a package, and why a runtime is left out where it is. */
export interface Row {
  /** The folder of the package whose README has the row. */
  readonly folder: string
  readonly what: string
  /** The proof, `<module>.<export>`; `gateway` and `gateway on servers` start the reference server. */
  readonly proof: string
  /** The proof of a runtime that has one of its own: on workerd, SQLite is a Durable Object's. */
  readonly on?: Readonly<Record<string, string>>
  /** Each runtime gets a PostgreSQL of its own, where nobody else's transactions hold back what may be read. */
  readonly ownPostgres?: true
  /** The runtimes that have no cell, and why. */
  readonly not?: Readonly<Record<string, string>>
}

const binding = 'an R2 binding is a Worker’s; from elsewhere R2 is a bucket of the S3 store'
const notAWorker = { 'Node 22.13': binding, 'Node 24': binding, 'Bun 1.4': binding, 'Deno 2.9': binding }

const noListener = { workerd: 'the server listens through `node:http` and keeps its state in a directory' }
const noSockets = { workerd: 'a Worker’s socket ends with the request that opened it' }

/** What is proved, package by package. */
export const rows: readonly Row[] = [
  { folder: 'packages/checkpoint', what: '`durable()`', proof: 'checkpoint.middleware' },
  { folder: 'packages/checkpoint', what: 'memory store', proof: 'checkpoint.memory' },
  {
    folder: 'packages/checkpoint',
    what: 'SQLite store',
    proof: 'sqlite.checkpoint',
    on: { workerd: 'durable-object.checkpoint' },
  },
  { folder: 'packages/checkpoint', what: 'sealed store', proof: 'checkpoint.sealed' },
  { folder: 'packages/checkpoint', what: 'PostgreSQL store', proof: 'postgres.checkpoint', not: noSockets },
  { folder: 'packages/checkpoint', what: 'cold tier on S3', proof: 's3.cold' },
  { folder: 'packages/checkpoint', what: 'tiers on S3', proof: 's3.tiered' },
  { folder: 'packages/checkpoint', what: 'cold tier on R2', proof: 'r2.cold', not: notAWorker },
  { folder: 'packages/checkpoint', what: 'tiers on R2', proof: 'r2.tiered', not: notAWorker },
  { folder: 'packages/dedup', what: '`dedup()`', proof: 'dedup.middleware' },
  { folder: 'packages/dedup', what: 'memory store', proof: 'dedup.memory' },
  {
    folder: 'packages/dedup',
    what: 'SQLite store',
    proof: 'sqlite.dedup',
    on: { workerd: 'durable-object.dedup' },
  },
  { folder: 'packages/dedup', what: 'PostgreSQL store', proof: 'postgres.dedup', not: noSockets },
  { folder: 'packages/dedup', what: 'Redis store, `redis`', proof: 'redis.dedup', not: noSockets },
  { folder: 'packages/dedup', what: 'Redis store, `ioredis`', proof: 'redis.ioredis', not: noSockets },
  { folder: 'packages/dedup', what: 'Redis Cluster, `redis`', proof: 'redis.cluster', not: noSockets },
  { folder: 'packages/dedup', what: 'Redis Cluster, `ioredis`', proof: 'redis.ioredis-cluster', not: noSockets },
  { folder: 'packages/events', what: '`audit()`', proof: 'events.middleware' },
  { folder: 'packages/events', what: 'memory store', proof: 'events.memory' },
  {
    folder: 'packages/events',
    what: 'SQLite store',
    proof: 'sqlite.events',
    on: { workerd: 'durable-object.events' },
  },
  { folder: 'packages/events', what: 'PostgreSQL store', proof: 'postgres.strict', not: noSockets },
  {
    folder: 'packages/events',
    what: 'PostgreSQL store, concurrent',
    proof: 'postgres.concurrent',
    ownPostgres: true,
    not: noSockets,
  },
  { folder: 'packages/breaker', what: '`breaker()`', proof: 'breaker.middleware' },
  { folder: 'packages/breaker', what: 'shared over Redis', proof: 'redis.breaker', not: noSockets },
  {
    folder: 'packages/pool',
    what: '`pool()`',
    proof: 'pool.middleware',
    not: { workerd: 'generic-pool does not bundle for Workers, and a connection there ends with its request' },
  },
  { folder: 'packages/pool', what: 'to PostgreSQL', proof: 'postgres.pool', not: noSockets },
  { folder: 'packages/pool', what: 'to Redis', proof: 'redis.pool', not: noSockets },
  { folder: 'packages/postgres', what: 'the database', proof: 'postgres.database', not: noSockets },
  {
    folder: 'packages/sqlite',
    what: 'the database',
    proof: 'sqlite.database',
    on: { workerd: 'durable-object.database' },
  },
  { folder: 'apps/gateway', what: 'the server', proof: 'gateway', not: noListener },
  {
    folder: 'apps/gateway',
    what: 'the server on PostgreSQL, Redis and S3',
    proof: 'gateway on servers',
    not: noListener,
  },
]

/** `ok`, `FAILED`, or `–` where the row says why. */
export type Cell = 'ok' | 'FAILED' | '–'

/** The rows of one package as Markdown, with the reasons under them. */
export function markdown(
  folder: string,
  runtimes: readonly string[],
  cells: ReadonlyMap<Row, ReadonlyMap<string, Cell>>,
): string {
  const own = rows.filter((row) => row.folder === folder)
  const lines = [
    `| | ${runtimes.join(' | ')} |`,
    `|---|${runtimes.map(() => '---').join('|')}|`,
    ...own.map((row) => `| ${row.what} | ${runtimes.map((name) => cells.get(row)?.get(name) ?? '–').join(' | ')} |`),
  ]
  const left = own.flatMap(({ not = {} }) => Object.entries(not))
  const reasons = new Set(left.map(([, reason]) => reason))
  const namesOf = (reason: string) => new Set(left.filter(([, each]) => each === reason).map(([name]) => name))
  return [...lines, ...[...reasons].map((reason) => `\n– on ${[...namesOf(reason)].join(', ')}: ${reason}.`)].join('\n')
}

const opening = '<!-- runtimes -->'
const closing = '<!-- /runtimes -->'

/** A README with the table between its marks; at its end where it has none. */
export function withTable(readme: string, table: string): string {
  const marked = `${opening}\n${table}\n${closing}`
  const [at, to] = [readme.indexOf(opening), readme.indexOf(closing)]
  if (at === -1 || to < at) return `${readme.trimEnd()}\n\n## Runtimes\n\n${marked}\n`
  return readme.slice(0, at) + marked + readme.slice(to + closing.length)
}

/** Brings a README up to date; with `check` it only says whether it is. */
export function updateReadme(folder: string, table: string, check: boolean): boolean {
  const file = fileURLToPath(new URL(`../../${folder}/README.md`, import.meta.url))
  const before = readFileSync(file, 'utf8')
  const after = withTable(before, table)
  if (before !== after && !check) writeFileSync(file, after)
  return before === after
}
