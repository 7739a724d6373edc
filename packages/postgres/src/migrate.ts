import { PostgresError } from './errors.ts'
import type { Line } from './line.ts'

/** Any fixed number: every process that migrates takes the same one. */
const lockKey = '7238423301'

/** Applies what is missing of `migrations` in one transaction under the lock. */
export async function migrateOn(line: Line, owner: string, migrations: readonly string[]): Promise<void> {
  await line.send('begin')
  try {
    await line.send(`select pg_advisory_xact_lock(${lockKey})`)
    await line.send('create table if not exists gw_schema (owner text primary key, version integer not null)')
    const [row] = await line.send('select version from gw_schema where owner = $1', [owner])
    const version = Number(row?.['version'] ?? 0)
    if (version > migrations.length) {
      throw new PostgresError(
        'schema_too_new',
        `The schema of ${owner} is at version ${version}; this code knows ${migrations.length}`,
      )
    }
    for (const text of migrations.slice(version)) await line.send(text)
    if (version < migrations.length) {
      await line.send(
        'insert into gw_schema values ($1, $2) on conflict (owner) do update set version = excluded.version',
        [owner, migrations.length],
      )
    }
    await line.send('commit')
  } catch (error) {
    line.send('rollback').catch(() => {})
    throw error
  }
}
