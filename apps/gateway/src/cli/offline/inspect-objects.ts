import type { CheckpointStore } from '@gw/checkpoint'
import type { ColdStore } from '@gw/checkpoint/s3'
import { type Restored, restore } from '@gw/checkpoint/tiered'
import type { ArchiveTarget } from '@gw/events/archive'
import { backupTable } from '../backup/listing.ts'
import { backupsAt, type Manifest, manifestAt, sizesOf, verifyBackup } from '../backup/manifest.ts'
import { CommandError, messageOf } from '../failure.ts'
import { progressOf } from '../progress.ts'
import { facts, table } from '../table.ts'
import { count, paint, relative } from '../terminal.ts'
import { type ArchivedLog, anchorsAt, archivedLogs, verifyArchive } from './archived-log.ts'

/** What `gw inspect` found in a folder or a bucket. */
export interface ObjectsReport {
  readonly kind: 'objects'
  readonly place: string
  readonly backups: readonly Manifest[]
  readonly logs: readonly (ArchivedLog & { readonly anchors: number })[]
  /** What the cold tier keeps there; only of a bucket that was read. */
  readonly coldTier:
    | { readonly moved: number; readonly segments: number; readonly read: Restored | undefined }
    | undefined
  readonly checked: boolean
  readonly damage: readonly string[]
}

/** Looks into a folder or a bucket with archives, backups or a cold tier, and reads everything unless it is to be `quick`. */
export async function inspectObjects({
  place,
  target,
  cold,
  quick,
}: {
  readonly place: string
  readonly target: ArchiveTarget
  readonly cold?: ColdStore
  readonly quick: boolean
}): Promise<ObjectsReport> {
  const damage: string[] = []
  const backups: Manifest[] = []
  for (const id of await backupsAt(target)) {
    try {
      const manifest = await manifestAt(target, place, id)
      backups.push(manifest)
      if (quick) continue
      const reading = progressOf(`Reading ${id}`, { of: sizesOf(manifest).bytes, unit: 'bytes' })
      await verifyBackup(target, manifest, (bytes) => reading.at(bytes)).finally(() => reading.end())
    } catch (error) {
      if (!(error instanceof CommandError)) throw error
      damage.push(`backup ${id}: ${messageOf(error)}`)
    }
  }
  const logs: (ArchivedLog & { readonly anchors: number })[] = []
  for (const log of await archivedLogs(target)) {
    logs.push({ ...log, anchors: (await anchorsAt(target, log.log)).length })
    if (quick) continue
    const verifying = progressOf('Verifying events', { unit: 'events' })
    const { problems } = await verifyArchive(target, log, {}, (events) => verifying.at(events))
    verifying.end()
    damage.push(
      ...problems.map(({ kind, position, detail }) => `events of ${log.log}: ${kind} at ${position}, ${detail}`),
    )
  }
  const coldTier = cold === undefined ? undefined : await coldTierOf(target, cold, quick, damage)
  if (
    backups.length === 0 &&
    logs.length === 0 &&
    damage.length === 0 &&
    (coldTier?.moved ?? 0) + (coldTier?.segments ?? 0) === 0
  )
    throw new CommandError(`${place} has no backup, no archived events and no cold tier`)
  return { kind: 'objects', place, backups, logs, coldTier, checked: !quick, damage }
}

async function coldTierOf(
  target: ArchiveTarget,
  cold: ColdStore,
  quick: boolean,
  damage: string[],
): Promise<ObjectsReport['coldTier']> {
  const moved = (await target.list('runs/')).length
  const segments = (await target.list('backup/')).filter((name) => /\/\d{15}$/.test(name)).length
  if (quick || moved + segments === 0) return { moved, segments, read: undefined }
  const reading = progressOf('Reading requests', { unit: 'requests' })
  let read = 0
  try {
    return { moved, segments, read: await restore({ cold, into: counting(() => reading.at(++read)) }) }
  } catch (error) {
    damage.push(`cold tier: ${messageOf(error)}`)
    return { moved, segments, read: undefined }
  } finally {
    reading.end()
  }
}

/** A store that takes every request and keeps none: what a restore reads is checked on the way. */
function counting(onRun: () => void): CheckpointStore {
  const nothing = {
    async open() {},
    unit: () => ({
      add: onRun,
      commit: async () => 'memory' as const,
    }),
    accept: () => ({ procedure: 'nothing', args: undefined }),
  }
  return nothing as unknown as CheckpointStore
}

/** A report for people. */
export function objectsReportText({ place, backups, logs, coldTier, checked, damage }: ObjectsReport): string {
  const there = (coldTier?.moved ?? 0) + (coldTier?.segments ?? 0) > 0
  const sections = [
    facts([['place', place]]),
    backups.length === 0 ? '' : backupTable(backups),
    logs.length === 0
      ? ''
      : table(
          [
            { title: 'archived log' },
            { title: 'segments', right: true },
            { title: 'events', right: true },
            { title: 'from', right: true },
            { title: 'to', right: true },
            { title: 'anchors', right: true },
          ],
          logs.map(({ log, segments, anchors }) => [
            log,
            count(segments.length),
            count(segments.reduce((sum, { events }) => sum + events, 0)),
            segments[0]?.first ?? '',
            segments.at(-1)?.last ?? '',
            count(anchors),
          ]),
        ),
    coldTier !== undefined && there
      ? facts([
          [
            'cold tier',
            `${count(coldTier.moved)} requests moved there, ${count(coldTier.segments)} objects of backups`,
          ],
          [
            'restorable',
            coldTier.read && `${count(coldTier.read.runs)} requests, ${count(coldTier.read.unfinished)} unfinished`,
          ],
          ['backed up to', coldTier.read?.cutAt === undefined ? undefined : relative(coldTier.read.cutAt)],
        ])
      : '',
    !checked
      ? paint.dim('Nothing was checked for damage (--quick).')
      : damage.length === 0
        ? paint.green('No damage: everything is what was written.')
        : paint.red(`Damaged:\n${damage.map((line) => `  ${line}`).join('\n')}`),
  ]
  return sections.filter((section) => section !== '').join('\n\n')
}
