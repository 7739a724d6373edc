import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'drizzle-orm'
import { messageOf } from '../failure.ts'
import { bucketAt } from '../offline/bucket.ts'
import { openPostgres } from '../offline/read-only-postgres.ts'
import type { SchemaState } from '../offline/read-only-sqlite.ts'
import { lookIntoRedis } from '../offline/redis-look.ts'
import { lookIntoDirectory, lookIntoPostgres, type StoreLook } from '../offline/store-look.ts'
import { period } from '../terminal.ts'
import { type Finding, failed, ok, warning } from './finding.ts'

/** How far this clock may be from a store's, of which leases and expiry depend. */
const skewMs = 2_000
const badSkewMs = 10_000

/** Opens the store that has the truth, and says how it is. The look is the caller's to close. */
export async function checkPrimary(
  dataDir: string,
  databaseUrl: string | undefined,
  redisUrl: string | undefined,
): Promise<{ readonly findings: readonly Finding[]; readonly look: StoreLook | undefined }> {
  // Keys in Redis have no tables.
  const ours = ({ owner }: SchemaState) => owner !== 'dedup' || redisUrl === undefined
  return databaseUrl === undefined ? checkSqlite(dataDir, ours) : checkPostgres(databaseUrl, ours)
}

async function checkSqlite(dataDir: string, ours: (schema: SchemaState) => boolean) {
  if (!existsSync(join(dataDir, 'gateway.db')))
    return { findings: [ok('sqlite', 'no database yet; the first start makes it')], look: undefined }
  try {
    const look = await lookIntoDirectory(dataDir)
    const [problem] = await look.check()
    const findings =
      problem === undefined
        ? [
            ok(
              'sqlite',
              `SQLite ${process.versions['sqlite'] ?? ''}, the file is whole${look.remark === undefined ? '' : `; ${look.remark}`}`,
            ),
          ]
        : [
            failed(
              'sqlite',
              `the file is damaged: ${problem}`,
              `See gw inspect ${dataDir}, and restore the newest backup with gw restore`,
            ),
          ]
    return { findings: [...findings, ...schemaFindings(look.schemas.filter(ours))], look }
  } catch (error) {
    const mend = `See gw inspect ${dataDir}, and restore the newest backup with gw restore`
    return { findings: [failed('sqlite', messageOf(error), mend)], look: undefined }
  }
}

/** Settings under which PostgreSQL loses what it had acknowledged. */
const expectedSettings: Readonly<Record<string, readonly string[]>> = {
  fsync: ['on'],
  full_page_writes: ['on'],
  synchronous_commit: ['on', 'remote_write', 'remote_apply'],
}

async function checkPostgres(url: string, ours: (schema: SchemaState) => boolean) {
  const { db, close } = openPostgres(url)
  const findings: Finding[] = []
  try {
    const sent = Date.now()
    const [server] = await db.query<{
      version: string
      now: number
      standby: boolean
      writable: boolean
      used: number
      most: number
    }>(
      sql`SELECT current_setting('server_version') AS version, (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now,
        pg_is_in_recovery() AS standby, has_schema_privilege(current_schema(), 'CREATE') AS writable,
        (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::float8 AS used,
        current_setting('max_connections')::float8 AS most`,
    )
    const took = Date.now() - sent
    findings.push(ok('postgres', `PostgreSQL ${server!.version}, answers in ${period(took)}`))
    if (server!.standby)
      findings.push(failed('postgres', 'it is a standby, which takes no writes', 'Point DATABASE_URL at the primary'))
    if (!server!.writable)
      findings.push(
        warning(
          'postgres',
          'this role may make no tables',
          'Run gw migrate with a role that may, before each new version',
        ),
      )
    if (server!.used > server!.most * 0.8)
      findings.push(
        warning(
          'postgres',
          `${server!.used} of ${server!.most} connections are taken`,
          'Raise max_connections, or put a pooler in front',
        ),
      )
    for (const [name, wanted] of Object.entries(expectedSettings)) {
      const [row] = await db.query<{ value: string }>(sql`SELECT current_setting(${name}) AS value`)
      if (!wanted.includes(row!.value))
        findings.push(
          failed(
            'postgres',
            `${name} is ${row!.value}: acknowledged requests can be lost in a crash`,
            `Set ${name} = ${wanted[0]}`,
          ),
        )
    }
    findings.push(...clockFinding('PostgreSQL', server!.now, sent + took / 2))
    const look = await lookIntoPostgres(url)
    return { findings: [...findings, ...schemaFindings(look.schemas.filter(ours))], look }
  } catch (error) {
    const mend = 'Start PostgreSQL, or mend DATABASE_URL'
    return {
      findings: [...findings, failed('postgres', `it does not answer: ${messageOf(error)}`, mend)],
      look: undefined,
    }
  } finally {
    await close()
  }
}

function schemaFindings(schemas: readonly SchemaState[]): readonly Finding[] {
  const newer = schemas.filter(({ found, known }) => found > known)
  const older = schemas.filter(({ found, known }) => found < known)
  const names = (states: readonly SchemaState[]) =>
    states.map(({ owner, found, known }) => `${owner} ${found} of ${known}`).join(', ')
  if (newer.length > 0)
    return [
      failed(
        'migrations',
        `tables are newer than this gw knows: ${names(newer)}`,
        'Run the version of gw that made them, or a newer one',
      ),
    ]
  if (older.length > 0)
    return [
      warning('migrations', `still to run: ${names(older)}`, 'Run gw migrate, or start the gateway, which does it'),
    ]
  return [ok('migrations', schemas.map(({ owner, found }) => `${owner} ${found}`).join(', '))]
}

/** Keys, where they lie in Redis. */
export async function checkRedis(url: string): Promise<readonly Finding[]> {
  try {
    const sent = Date.now()
    const { version, nodes, now, risks } = await lookIntoRedis(url)
    return [
      ok('redis', `Redis ${version}${nodes > 1 ? `, ${nodes} masters` : ''}`),
      ...risks.map((risk) => warning('redis policies', risk, 'Set it with CONFIG SET, and in redis.conf')),
      ...clockFinding('Redis', now, (sent + Date.now()) / 2),
    ]
  } catch (error) {
    return [failed('redis', messageOf(error), 'Start Redis, or mend REDIS_URL')]
  }
}

/** The cold tier, where there is one. */
export async function checkBucket(url: string): Promise<readonly Finding[]> {
  try {
    const { place, cold, now } = bucketAt(url)
    const sent = Date.now()
    const time = await now()
    await cold.probe()
    return [ok('s3', place), ...(time === undefined ? [] : clockFinding('S3', time, (sent + Date.now()) / 2, 1_000))]
  } catch (error) {
    return [
      failed(
        's3',
        messageOf(error),
        'Mend coldTier.url or GW_S3_URL: the bucket must exist, and its key may read and write there',
      ),
    ]
  }
}

/** `grain` is how exact the other clock tells the time. */
function clockFinding(whose: string, theirs: number, ours: number, grain = 0): readonly Finding[] {
  const away = Math.max(0, Math.abs(theirs - ours) - grain)
  if (away < skewMs) return [ok('clock', `within ${period(skewMs)} of ${whose}'s`)]
  const detail = `this machine is ${period(away)} ${ours > theirs ? 'ahead of' : 'behind'} ${whose}`
  const mend = 'Synchronise the clocks of all machines, for example with chrony'
  return [away < badSkewMs ? warning('clock', detail, mend) : failed('clock', detail, mend)]
}
