import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { gatewayOptionsOf } from '../config/compose.ts'
import { openEngine } from '../engine.ts'
import { configuredStores, type StoreFlags } from './configured.ts'
import { CommandError, exit } from './failure.ts'
import type { SchemaState } from './offline/read-only-sqlite.ts'
import { lookIntoDirectory, lookIntoPostgres } from './offline/store-look.ts'
import { table } from './table.ts'
import { paint } from './terminal.ts'

/** `gw migrate`: brings the tables of every store to what this code knows, forwards only, or says what that would be. */
export async function migrate(
  flags: StoreFlags & { readonly check?: boolean; readonly json?: boolean },
): Promise<void> {
  const { loaded, dataDir, databaseUrl, redisUrl } = await configuredStores(flags)
  // Keys in Redis have no tables.
  const ours = ({ owner }: SchemaState) => owner !== 'dedup' || redisUrl === undefined
  const schemas = async () => (await schemasOf(dataDir, databaseUrl)).filter(ours)
  const before = await schemas()
  const newer = before.find(({ found, known }) => found > known)
  if (newer !== undefined)
    throw new CommandError(
      `The tables of ${newer.owner} are at version ${newer.found}, and this gw knows ${newer.known}: migrations go forwards only, so run a newer gw`,
    )
  const due = before.some(({ found, known }) => found < known) || before.length === 0
  if (flags.check !== true && due) {
    // The cold tier has no tables either, and would begin to move things.
    const { coldTier: _, redisUrl: __, ...options } = gatewayOptionsOf(loaded.config)
    const engine = await openEngine(options)
    try {
      await engine.checkpointStore().open()
      if (redisUrl === undefined) await engine.dedupStore().open()
      await engine.eventLog().open()
    } finally {
      await engine.close()
    }
  }
  const after = flags.check === true ? before : await schemas()
  const migrations = after.map(({ owner, found, known }) => {
    const from = before.find((each) => each.owner === owner)?.found ?? 0
    return { owner, from, to: flags.check === true ? known : found, done: from === found }
  })
  if (flags.json === true) console.log(JSON.stringify({ due: flags.check === true && due, migrations }))
  else if (!due) console.log(`${paint.green('Nothing to do')}: the tables are what this gw knows.`)
  else {
    console.log(
      table(
        [{ title: 'tables of' }, { title: 'from', right: true }, { title: 'to', right: true }],
        migrations.map(({ owner, from, to }) => [owner, String(from), String(to)]),
      ),
    )
    console.log(
      flags.check === true ? `\n${paint.yellow('To be done')} with gw migrate.` : `\n${paint.green('Migrated.')}`,
    )
  }
  if (flags.check === true && due) process.exitCode = exit.failed
}

async function schemasOf(dataDir: string, databaseUrl: string | undefined): Promise<readonly SchemaState[]> {
  if (databaseUrl === undefined && !existsSync(join(dataDir, 'gateway.db'))) return []
  const look = await (databaseUrl === undefined ? lookIntoDirectory(dataDir) : lookIntoPostgres(databaseUrl))
  try {
    return [...look.schemas]
  } finally {
    await look.close()
  }
}
