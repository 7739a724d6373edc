import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { link, lstat, mkdir, open, readdir, rm } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import type { ArchiveTarget } from '../archive-target.ts'
import { EventError, refuseUnknown } from '../errors.ts'

/** A folder that holds an archive. */
export interface FolderArchiveOptions {
  /** Made (0700) where it is absent. */
  readonly path: string
}

/** Keeps objects as files (0600). A file has its name once it and its folder are synced, and is never written again. */
export function folderArchive({ path, ...unknown }: FolderArchiveOptions): ArchiveTarget {
  refuseUnknown(unknown)
  const fileOf = (name: string) => {
    if (!/^[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/.test(name))
      throw new EventError('invalid_option', `Expected the name of an object, got \`${name}\``)
    return join(path, ...name.split('/'))
  }
  return {
    async put(name, bytes) {
      const file = fileOf(name)
      const folder = dirname(file)
      const made = await mkdir(folder, { recursive: true, mode: 0o700 })
      const partial = `${file}.${randomUUID()}.partial`
      const handle = await open(partial, 'wx', 0o600)
      try {
        try {
          await handle.writeFile(bytes)
          await handle.sync()
        } finally {
          await handle.close()
        }
        // A link fails where the name exists, in one step.
        await link(partial, file)
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
        return 'exists'
      } finally {
        await rm(partial, { force: true })
        await sync(folder)
        if (made !== undefined)
          for (let at = folder; at !== dirname(made) && at !== '.'; at = dirname(at)) await sync(dirname(at))
      }
      return 'created'
    },
    async get(name) {
      const file = fileOf(name)
      const stat = await lstat(file).catch(absent)
      if (stat === undefined) return undefined
      const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW)
      try {
        return new Uint8Array(await handle.readFile())
      } finally {
        await handle.close()
      }
    },
    async list(prefix) {
      const entries = await readdir(path, { recursive: true, withFileTypes: true }).catch(absent)
      return (entries ?? [])
        .filter((entry) => entry.isFile() && !entry.name.endsWith('.partial'))
        .map((entry) => relative(path, join(entry.parentPath, entry.name)).split('\\').join('/'))
        .filter((name) => name.startsWith(prefix))
        .sort()
    },
  }
}

/** Undefined for what is not there; what cannot be read is no absence. */
function absent(error: unknown): undefined {
  if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
}

async function sync(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
