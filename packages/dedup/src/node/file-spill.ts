import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { DedupError } from '../errors.ts'
import type { SpillStore } from '../spill.ts'

/** Where a {@link fileSpill} lies. */
export interface FileSpillOptions {
  /** Made with mode 0700 where it is absent. On a disk that every process that replays can read. */
  readonly directory: string
}

/** A {@link SpillStore} in files, with the means to delete what no window covers any more. */
export interface FileSpill extends SpillStore {
  /** Deletes bodies that are older than the longest window; answers how many. */
  sweep(maxAgeMs: number): Promise<number>
}

const form = /^[0-9a-f]{32}$/

/** Keeps bodies that are too long for memory in files of mode 0600. A body is readable once it is whole and synced. */
export function fileSpill({ directory }: FileSpillOptions): FileSpill {
  const fileOf = (name: string) => {
    if (!form.test(name)) throw new DedupError('invalid_option', 'Expected a name of 32 hexadecimal digits')
    return join(directory, name)
  }
  return {
    async write(name) {
      const file = fileOf(name)
      const partial = `${file}.partial`
      await mkdir(directory, { recursive: true, mode: 0o700 })
      const handle = await open(partial, 'wx', 0o600)
      return {
        async append(chunk) {
          let at = 0
          while (at < chunk.length) at += (await handle.write(chunk, at)).bytesWritten
        },
        async finish() {
          await handle.sync()
          await handle.close()
          await rename(partial, file)
          const folder = await open(directory, 'r')
          try {
            await folder.sync()
          } finally {
            await folder.close()
          }
        },
        async abort() {
          await handle.close()
          await rm(partial, { force: true })
        },
      }
    },
    async read(name) {
      const file = fileOf(name)
      try {
        await stat(file)
      } catch {
        return undefined
      }
      return Readable.toWeb(createReadStream(file)) as ReadableStream<Uint8Array>
    },
    delete: (name) => rm(fileOf(name), { force: true }),
    async sweep(maxAgeMs) {
      let swept = 0
      for (const name of await readdir(directory).catch(() => [])) {
        if (!form.test(name.replace(/\.partial$/, ''))) continue
        const file = join(directory, name)
        const found = await stat(file).catch(() => undefined)
        if (found === undefined || Date.now() - found.mtimeMs < maxAgeMs) continue
        await rm(file, { force: true })
        swept++
      }
      return swept
    },
  }
}
