import { createReadStream, existsSync, linkSync, lstatSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import type { ArchiveTarget } from '@gw/events/archive'
import { CommandError, exit } from '../failure.ts'
import { atEnd } from '../interrupt.ts'
import { holderOf } from '../offline/holder.ts'
import { openDirectory } from '../offline/read-only-sqlite.ts'
import { eventsOf, lookIntoDirectory, type StoreLook } from '../offline/store-look.ts'
import { progressOf } from '../progress.ts'
import { folderOf, type Manifest, newBackupId, sizesOf } from './manifest.ts'
import { putFile, readFile } from './parts.ts'
import { snapshotInto } from './sqlite-snapshot.ts'

/** Copies the database of a data directory, also of one in use, and writes the copy to `target` piece by piece. */
export async function backUpDirectory(
  directory: string,
  target: ArchiveTarget,
  { evenDamaged }: { readonly evenDamaged: boolean },
): Promise<Manifest> {
  const folder = mkdtempSync(join(tmpdir(), 'gw-backup-'))
  const forget = atEnd(() => rmSync(folder, { recursive: true, force: true }))
  try {
    const copy = join(folder, 'gateway.db')
    const origin = openDirectory(directory)
    const { damage } = origin
    try {
      const [pages, length] = ['page_count', 'page_size'].map((pragma) =>
        Number(origin.db.reader.get<Record<string, number>>(`PRAGMA ${pragma}`)?.[pragma] ?? 0),
      )
      const copying = progressOf('Copying', { unit: 'bytes' })
      await snapshotInto(origin.source, copy, pages! * length!, copying).finally(() => copying.end())
    } finally {
      origin.close()
    }
    const look = await lookIntoDirectory(folder)
    try {
      const found = [...(damage === undefined ? [] : [damage]), ...(await soundness(look))]
      if (found.length > 0 && !evenDamaged)
        throw new CommandError(
          `${directory} is damaged (${found[0]}), and was not backed up; gw inspect ${directory} says what is wrong, --even-damaged backs it up all the same`,
        )
      const madeAt = new Date()
      const id = newBackupId(madeAt)
      const events = look.log === undefined ? undefined : await eventsOf(look)
      const head = await look.log?.head()
      const writing = progressOf('Writing', { of: look.bytes, unit: 'bytes' })
      const file = await putFile(target, folderOf(id), 'gateway.db', createReadStream(copy), (bytes) =>
        writing.at(bytes),
      )
      writing.end()
      return {
        format: 'gw-backup-1',
        id,
        kind: 'sqlite',
        madeAt: madeAt.toISOString(),
        schemas: look.schemas.map(({ owner, found: version }) => ({ owner, version })),
        files: [file],
        runs: (await look.runs?.counts()) ?? {},
        ...(events === undefined || head === undefined
          ? {}
          : {
              events: {
                log: events.id,
                position: head.position.toString(),
                hash: Buffer.from(head.hash).toString('hex'),
              },
            }),
      }
    } finally {
      await look.close()
    }
  } finally {
    forget()
  }
}

/** What is wrong with a database as a whole: its file, and its chain of events. */
async function soundness(look: StoreLook): Promise<readonly string[]> {
  const file = await look.check()
  if (look.log === undefined) return file
  const events = await eventsOf(look)
  const verifying = progressOf('Checking', { unit: 'events' })
  const { problems } = await events
    .verify({ onProgress: ({ events: done, of }) => verifying.at(done, Number(of)) })
    .finally(() => verifying.end())
  return [...file, ...problems.map(({ kind, position, detail }) => `${kind} at event ${position}, ${detail}`)]
}

/** Puts a backup into a data directory that has no database yet. It is there whole, or not at all. */
export async function restoreDirectory(path: string, target: ArchiveTarget, manifest: Manifest): Promise<void> {
  const directory = resolve(path)
  refuseUnlessEmpty(directory)
  const [file] = manifest.files
  if (file === undefined || file.name !== 'gateway.db')
    throw new CommandError(`The backup ${manifest.id} does not hold a gateway.db`)
  mkdirSync(dirname(directory), { recursive: true })
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const folder = mkdtempSync(join(directory, 'restoring-'))
  const forget = atEnd(() => rmSync(folder, { recursive: true, force: true }))
  try {
    const copy = join(folder, 'gateway.db')
    const reading = progressOf('Restoring', { of: sizesOf(manifest).bytes, unit: 'bytes' })
    const handle = await open(copy, 'wx', 0o600)
    let bytes = 0
    try {
      for await (const chunk of readFile(target, file)) {
        await handle.writeFile(chunk)
        bytes += chunk.length
        reading.at(bytes)
      }
      await handle.sync()
    } finally {
      reading.end()
      await handle.close()
    }
    const look = await lookIntoDirectory(folder)
    try {
      const found = await soundness(look)
      if (found.length > 0) throw new CommandError(`The backup ${manifest.id} is damaged: ${found[0]}`)
    } finally {
      await look.close()
    }
    refuseUnlessEmpty(directory)
    const place = join(directory, 'gateway.db')
    // An empty file is what a gateway makes that could not open its database; a log of another database would be taken in.
    rmSync(place, { force: true })
    for (const suffix of ['-wal', '-shm']) {
      const left = place + suffix
      if (existsSync(left)) renameSync(left, `${left}.before-restore`)
    }
    linkSync(copy, place)
    await syncFolder(directory)
  } finally {
    forget()
  }
}

function refuseUnlessEmpty(directory: string): void {
  const stat = lstatSync(directory, { throwIfNoEntry: false })
  if (stat !== undefined && !stat.isDirectory()) throw new CommandError(`${directory} is not a directory`)
  const holder = holderOf(directory)
  if (holder !== undefined)
    throw new CommandError(`${directory} is in use by process ${holder}: stop it, or restore into another --data-dir`)
  const there = lstatSync(join(directory, 'gateway.db'), { throwIfNoEntry: false })
  if (there !== undefined && there.size > 0)
    throw new CommandError(
      `${directory} has a database, which is never written over: move it away, or restore into another --data-dir`,
      exit.failed,
    )
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
