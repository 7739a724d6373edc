import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { restore } from '@gw/checkpoint/tiered'
import type { ArchiveTarget } from '@gw/events/archive'
import { folderArchive } from '@gw/events/folder'
import { coldStoreAt } from '../cold-tier.ts'
import { gatewayOptionsOf } from '../config/compose.ts'
import { openEngine } from '../engine.ts'
import { backupTable } from './backup/listing.ts'
import { backupsAt, type Manifest, manifestAt, putManifest, sizesOf, verifyBackup } from './backup/manifest.ts'
import { backUpPostgres, restorePostgres } from './backup/postgres.ts'
import { backUpDirectory, restoreDirectory } from './backup/sqlite.ts'
import { configuredStores, type StoreFlags } from './configured.ts'
import { CommandError, exit } from './failure.ts'
import { bucketAt, isBucket } from './offline/bucket.ts'
import { runsText } from './offline/inspect-stores.ts'
import { progressOf } from './progress.ts'
import { facts } from './table.ts'
import { count, paint, size } from './terminal.ts'

/** A folder or a bucket that backups lie in. */
export function targetAt(place: string): { readonly place: string; readonly target: ArchiveTarget } {
  if (isBucket(place)) return bucketAt(place)
  const path = resolve(place)
  return { place: path, target: folderArchive({ path }) }
}

/** `gw backup` */
export async function backUp(
  to: string,
  flags: StoreFlags & { readonly evenDamaged?: boolean; readonly json?: boolean },
): Promise<void> {
  const { dataDir, databaseUrl } = await configuredStores(flags)
  const { place, target } = targetAt(to)
  if (databaseUrl === undefined && !existsSync(dataDir))
    throw new CommandError(`There is no data directory ${resolve(dataDir)}: set --data-dir or GW_DATA_DIR`)
  const manifest =
    databaseUrl === undefined
      ? await backUpDirectory(dataDir, target, { evenDamaged: flags.evenDamaged === true })
      : await backUpPostgres(databaseUrl, target)
  const verifying = progressOf('Verifying', { of: sizesOf(manifest).bytes, unit: 'bytes' })
  await verifyBackup(target, manifest, (bytes) => verifying.at(bytes)).finally(() => verifying.end())
  await putManifest(target, manifest)
  if (flags.json === true) return console.log(JSON.stringify(summaryOf(manifest, place)))
  console.log(`${paint.green('Backed up and verified')}\n${describe(manifest, place)}`)
}

/** `gw restore` */
export async function restoreFrom(
  from: string | undefined,
  flags: StoreFlags & { readonly backup?: string; readonly list?: boolean; readonly json?: boolean },
): Promise<void> {
  if (from === undefined) {
    if (flags.list === true) throw new CommandError('Expected a folder or a bucket to list the backups of', exit.usage)
    return restoreFromColdTier(flags)
  }
  const { place, target } = targetAt(from)
  if (flags.list === true) return listBackups(place, target, flags.json === true)
  const { dataDir, databaseUrl } = await configuredStores(flags)
  const manifest = await manifestAt(target, place, flags.backup)
  const wanted = databaseUrl === undefined ? 'sqlite' : 'postgres'
  if (manifest.kind !== wanted)
    throw new CommandError(
      manifest.kind === 'sqlite'
        ? `${manifest.id} is of a data directory, and DATABASE_URL is set: unset it to restore into --data-dir`
        : `${manifest.id} is of PostgreSQL: set DATABASE_URL to the empty database to restore into`,
      exit.configuration,
    )
  if (databaseUrl === undefined) await restoreDirectory(dataDir, target, manifest)
  else await restorePostgres(databaseUrl, target, manifest)
  if (flags.json === true) return console.log(JSON.stringify(summaryOf(manifest, place)))
  console.log(`${paint.green('Restored and verified')}\n${describe(manifest, place)}`)
}

async function listBackups(place: string, target: ArchiveTarget, json: boolean): Promise<void> {
  const manifests: Manifest[] = []
  for (const id of await backupsAt(target)) manifests.push(await manifestAt(target, place, id))
  if (json) return console.log(JSON.stringify({ backups: manifests.map((each) => summaryOf(each, place)) }))
  if (manifests.length === 0) return console.log(`No complete backups at ${place}.`)
  console.log(backupTable(manifests))
}

/** Brings back every request that the running gateway backed up to its cold tier. Safe to repeat. */
async function restoreFromColdTier(flags: StoreFlags & { readonly json?: boolean }): Promise<void> {
  const { loaded, coldTierUrl } = await configuredStores(flags)
  if (coldTierUrl === undefined)
    throw new CommandError(
      'Expected where to restore from, as in `gw restore ./backups`; without it, `coldTier.url` or GW_S3_URL must name the cold tier',
      exit.configuration,
    )
  const engine = await openEngine(gatewayOptionsOf(loaded.config))
  try {
    const restored = await restore({ cold: coldStoreAt(coldTierUrl), into: engine.checkpointStore() })
    if (flags.json === true) return console.log(JSON.stringify(restored))
    console.log(
      Object.entries(restored)
        .map(
          ([name, value]) =>
            `${name} ${name === 'cutAt' && value !== undefined ? new Date(value).toISOString() : value}`,
        )
        .join(', '),
    )
  } finally {
    await engine.close()
  }
}

function summaryOf(manifest: Manifest, place: string) {
  const { id, kind, madeAt, runs, events, schemas } = manifest
  return { id, place, kind, madeAt, ...sizesOf(manifest), runs, events: events ?? null, schemas }
}

function describe(manifest: Manifest, place: string): string {
  const { bytes, stored } = sizesOf(manifest)
  return facts([
    ['backup', manifest.id],
    ['place', place],
    ['size', `${size(bytes)}, ${size(stored)} stored`],
    ['runs', runsText(manifest.runs)],
    ['events', manifest.events && `${count(BigInt(manifest.events.position))}`],
    ['head', manifest.events?.hash],
  ])
}
