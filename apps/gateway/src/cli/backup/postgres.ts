import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { postgresCheckpointStore } from '@gw/checkpoint/postgres'
import { postgresDedupStore } from '@gw/dedup/postgres'
import type { ArchiveTarget } from '@gw/events/archive'
import { postgresEventStore } from '@gw/events/postgres'
import { connectPostgres, type PostgresDatabase, postgresDatabase } from '@gw/postgres'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgres, { type Sql, type TransactionSql } from 'postgres'
import { CommandError, exit, messageOf } from '../failure.ts'
import { eventsOf, lookIntoPostgres } from '../offline/store-look.ts'
import { progressOf } from '../progress.ts'
import { folderOf, type Manifest, newBackupId, sizesOf } from './manifest.ts'
import { putFile, readFile, type StoredFile } from './parts.ts'

/** Rows that mean nothing elsewhere: leases of nodes, who waits for what; and the versions, which migrations write. */
const left = new Set(['gw_schema', 'gw_run_node', 'gw_run_watch'])

/** Copies the gateway's tables as of one moment, while gateways go on writing. */
export async function backUpPostgres(url: string, target: ArchiveTarget): Promise<Manifest> {
  const look = await lookIntoPostgres(url)
  const client = clientOf(url)
  try {
    const madeAt = new Date()
    const id = newBackupId(madeAt)
    const events = look.log === undefined ? undefined : await eventsOf(look)
    const sizes = new Map((await look.sizes()).map(({ table, bytes }) => [table, bytes]))
    const copied = await client.begin('isolation level repeatable read read only', async (tx) => {
      // The first statement fixes the moment.
      const tables = await tablesOf(tx)
      const [head] = sizes.has('gw_event')
        ? await tx<
            { position: string; hash: Buffer }[]
          >`SELECT position::text, hash FROM gw_event ORDER BY position DESC LIMIT 1`
        : []
      const runs = sizes.has('gw_run')
        ? await tx<
            { status: string; runs: number }[]
          >`SELECT status, count(*)::float8 AS runs FROM gw_run GROUP BY status`
        : []
      const writing = progressOf('Copying', {
        of: tables.reduce((sum, name) => sum + (sizes.get(name) ?? 0), 0),
        unit: 'bytes',
      })
      const files: StoredFile[] = []
      let before = 0
      for (const name of tables) {
        const rows = await tx`COPY ${tx(name)} TO STDOUT`.readable()
        const file = await putFile(target, folderOf(id), name, rows, (bytes) => writing.at(before + bytes))
        before += file.bytes
        files.push(file)
      }
      writing.end()
      return { files, head, runs, sequences: await sequencesOf(tx) }
    })
    return {
      format: 'gw-backup-1',
      id,
      kind: 'postgres',
      madeAt: madeAt.toISOString(),
      schemas: look.schemas.map(({ owner, found: version }) => ({ owner, version })),
      files: copied.files,
      sequences: copied.sequences,
      runs: Object.fromEntries(copied.runs.map(({ status, runs }) => [status, runs])),
      ...(events === undefined || copied.head === undefined
        ? {}
        : { events: { log: events.id, position: copied.head.position, hash: copied.head.hash.toString('hex') } }),
    }
  } finally {
    await client.end({ timeout: 1 })
    await look.close()
  }
}

/** Puts a backup into a database that holds no requests, keys or events, in one transaction, and brings its tables up to date. */
export async function restorePostgres(url: string, target: ArchiveTarget, manifest: Manifest): Promise<void> {
  const known = await migrationsOf()
  for (const { owner, version } of manifest.schemas)
    if (version > (known.get(owner)?.length ?? 0))
      throw new CommandError(
        `The backup has version ${version} of the tables of ${owner}, and this gw knows ${known.get(owner)?.length ?? 0}: restore with the version of gw that made it, or a newer one`,
      )
  await refuseUnlessEmpty(url)
  const client = clientOf(url)
  const own = connectPostgres(url, { applicationName: 'gw' })
  const db = postgresDatabase(drizzle(own))
  try {
    for (const { owner, version } of manifest.schemas) await db.migrate(owner, known.get(owner)!.slice(0, version))
    const reading = progressOf('Restoring', { of: sizesOf(manifest).bytes, unit: 'bytes' })
    await client
      .begin(async (tx) => {
        for (const { name } of manifest.files) await tx`LOCK TABLE ${tx(name)} IN ACCESS EXCLUSIVE MODE`
        await refuseRows(
          tx,
          manifest.files.map(({ name }) => name),
        )
        let bytes = 0
        for (const file of manifest.files) {
          await tx`DELETE FROM ${tx(file.name)}`
          const rows = await tx`COPY ${tx(file.name)} FROM STDIN`.writable()
          await pipeline(
            Readable.from(readFile(target, file)),
            async function* (chunks) {
              for await (const chunk of chunks as AsyncIterable<Uint8Array>) {
                bytes += chunk.length
                reading.at(bytes)
                yield chunk
              }
            },
            rows,
          )
        }
        for (const [name, value] of Object.entries(manifest.sequences ?? {}))
          await tx`SELECT setval(${name}::regclass, ${value}::bigint)`
      })
      .finally(() => reading.end())
    for (const [owner, migrations] of known) await db.migrate(owner, migrations)
    await checkRestored(url, manifest)
  } finally {
    await client.end({ timeout: 1 })
    await db.close()
    await own.end({ timeout: 1 })
  }
}

async function checkRestored(url: string, { id, events: expected }: Manifest): Promise<void> {
  const look = await lookIntoPostgres(url)
  try {
    if (look.log === undefined || expected === undefined) return
    const events = await eventsOf(look)
    const verifying = progressOf('Checking', { unit: 'events' })
    const { problems } = await events
      .verify({
        expectedHead: { position: BigInt(expected.position), hash: expected.hash },
        onProgress: ({ events: done, of }) => verifying.at(done, Number(of)),
      })
      .finally(() => verifying.end())
    const [problem] = problems
    if (problem !== undefined)
      throw new CommandError(
        `${id} was restored, and its events are damaged: ${problem.kind} at ${problem.position}, ${problem.detail}`,
      )
  } finally {
    await look.close()
  }
}

function clientOf(url: string): Sql {
  return postgres(url, { max: 1, onnotice() {}, connect_timeout: 5, connection: { application_name: 'gw' } })
}

async function tablesOf(tx: Sql | TransactionSql): Promise<readonly string[]> {
  const rows = await tx<{ name: string }[]>`SELECT relname AS name FROM pg_class
    WHERE relkind = 'r' AND relname LIKE 'gw\\_%' AND pg_table_is_visible(oid) ORDER BY relname`
  return rows.map(({ name }) => name).filter((name) => !left.has(name))
}

async function sequencesOf(tx: TransactionSql): Promise<Record<string, string>> {
  const rows = await tx<{ name: string; value: string | null }[]>`SELECT sequencename AS name, last_value::text AS value
    FROM pg_sequences WHERE sequencename LIKE 'gw\\_%' AND schemaname = current_schema()`
  return Object.fromEntries(rows.flatMap(({ name, value }) => (value === null ? [] : [[name, value]])))
}

/** The tables that a gateway has only once it was used. */
const telling = ['gw_run', 'gw_event', 'gw_event_register', 'gw_key', 'gw_secret']

async function refuseUnlessEmpty(url: string): Promise<void> {
  const client = clientOf(url)
  try {
    await refuseRows(client, await tablesOf(client))
  } catch (error) {
    if (error instanceof CommandError) throw error
    throw new CommandError(`PostgreSQL does not answer: ${messageOf(error)}`, exit.unavailable, { cause: error })
  } finally {
    await client.end({ timeout: 1 })
  }
}

async function refuseRows(tx: Sql | TransactionSql, tables: readonly string[]): Promise<void> {
  for (const name of telling) {
    if (!tables.includes(name)) continue
    const [row] = await tx`SELECT 1 FROM ${tx(name)} LIMIT 1`
    if (row !== undefined)
      throw new CommandError(
        `The database has rows in ${name}, and nothing is ever written over: stop its gateways and restore into an empty database`,
      )
  }
}

/** The migrations of every store, as the stores themselves hand them over. */
async function migrationsOf(): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, readonly string[]>()
  const noted = [{ name: 'log/mode', version: 1, value: 'strict' }]
  const recorder = {
    async migrate(owner: string, migrations: readonly string[]) {
      found.set(owner, migrations)
    },
    define() {},
    query: async () => noted,
  } as unknown as PostgresDatabase
  for (const store of [
    postgresCheckpointStore({ db: recorder }),
    postgresDedupStore({ db: recorder }),
    postgresEventStore({ db: recorder }),
  ])
    await store.open()
  return found
}
