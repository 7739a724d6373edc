import type { ArchiveTarget } from '@gw/events/archive'
import { z } from 'zod'
import { CommandError, exit } from '../failure.ts'
import { readFile } from './parts.ts'

const figure = z.int().min(0)
const sha256 = z.string().regex(/^[\da-f]{64}$/)
const objectName = z.string().regex(/^snapshots\/[A-Za-z0-9-]+\/[A-Za-z0-9._-]+$/)

const manifestSchema = z.object({
  format: z.literal('gw-backup-1'),
  id: z.string(),
  kind: z.enum(['sqlite', 'postgres']),
  madeAt: z.iso.datetime(),
  /** What the tables were at. */
  schemas: z.array(z.object({ owner: z.string(), version: figure })).readonly(),
  files: z
    .array(
      z.object({
        name: z.string().regex(/^[a-z_][a-z0-9_.]*$/),
        bytes: figure,
        sha256,
        parts: z.array(z.object({ name: objectName, bytes: figure, sha256 })).readonly(),
      }),
    )
    .readonly(),
  /** Where PostgreSQL's sequences stood. */
  sequences: z.record(z.string().regex(/^[a-z_][a-z0-9_]*$/), z.string().regex(/^\d+$/)).optional(),
  runs: z.record(z.string(), figure),
  /** The end of the audit trail, for whoever compares it with an anchor. */
  events: z.object({ log: z.string(), position: z.string(), hash: z.string() }).optional(),
})

/** What is in a backup. It is written last: a backup without one is not complete, and is passed over. */
export type Manifest = z.output<typeof manifestSchema>

const folder = 'snapshots'

/** The folder of a backup's objects. */
export function folderOf(id: string): string {
  return `${folder}/${id}`
}

function nameOf(id: string): string {
  return `${folder}/${id}/manifest.json`
}

/** Names sort by when they were made. */
export function newBackupId(now: Date): string {
  const time = now.toISOString().replaceAll(/[-:]|\.\d+/g, '')
  return `${time}-${Math.random().toString(36).slice(2, 6).padEnd(4, '0')}`
}

/** Says that a backup is complete. */
export async function putManifest(target: ArchiveTarget, manifest: Manifest): Promise<void> {
  const bytes = new TextEncoder().encode(JSON.stringify(manifest, undefined, 2))
  if ((await target.put(nameOf(manifest.id), bytes)) === 'exists')
    throw new CommandError(`A backup ${manifest.id} exists already: run it again`)
}

/** The complete backups at a place, oldest first. */
export async function backupsAt(target: ArchiveTarget): Promise<readonly string[]> {
  return (await target.list(`${folder}/`)).flatMap((name) => {
    const [, id] = /^snapshots\/([A-Za-z0-9-]+)\/manifest\.json$/.exec(name) ?? []
    return id === undefined ? [] : [id]
  })
}

/** Reads the manifest of one backup, or of the newest. */
export async function manifestAt(target: ArchiveTarget, place: string, id?: string): Promise<Manifest> {
  const all = await backupsAt(target)
  const wanted = id ?? all.at(-1)
  if (wanted === undefined) throw new CommandError(`There is no complete backup at ${place}`, exit.failed)
  if (!all.includes(wanted))
    throw new CommandError(`There is no backup ${wanted} at ${place}, but: ${all.join(', ') || 'none'}`, exit.failed)
  const bytes = await target.get(nameOf(wanted))
  const parsed = manifestSchema.safeParse(parse(bytes))
  if (!parsed.success) throw new CommandError(`The backup is damaged: ${nameOf(wanted)} is not a manifest`)
  return parsed.data
}

function parse(bytes: Uint8Array | undefined): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    return undefined
  }
}

/** Reads every piece of a backup again. Throws for the first that is not what was written. */
export async function verifyBackup(
  target: ArchiveTarget,
  { files }: Manifest,
  onBytes: (bytes: number) => void = () => {},
): Promise<void> {
  let bytes = 0
  for (const file of files)
    for await (const chunk of readFile(target, file)) {
      bytes += chunk.length
      onBytes(bytes)
    }
}

/** How much a backup holds, uncompressed and as it is stored. */
export function sizesOf({ files }: Manifest): { readonly bytes: number; readonly stored: number } {
  const parts = files.flatMap((file) => file.parts)
  return {
    bytes: files.reduce((sum, file) => sum + file.bytes, 0),
    stored: parts.reduce((sum, part) => sum + part.bytes, 0),
  }
}
