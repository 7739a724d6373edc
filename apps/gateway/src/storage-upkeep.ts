import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { CheckpointStore } from '@gw/checkpoint'
import type { TieredCheckpointStore } from '@gw/checkpoint/tiered'
import type { Database } from '@gw/sqlite'
import type { Engine } from './engine.ts'

/** A file by its size. */
export interface KeptFile {
  readonly name: string
  readonly bytes: number
}

/** What was backed up. */
export interface BackedUp {
  readonly kind: 'cold' | 'file'
  readonly file: string | null
  readonly bytes: number
}

/** What an operator may want done to the storage at once, and how much there is. */
export class StorageUpkeep {
  readonly #engine: Engine & { readonly database?: unknown }
  readonly #tiered: TieredCheckpointStore | undefined

  constructor(engine: Engine, store: CheckpointStore) {
    this.#engine = engine
    this.#tiered = 'tiers' in store && 'backup' in store ? (store as TieredCheckpointStore) : undefined
  }

  get canBackUp(): boolean {
    return this.#engine.tiers?.backup !== undefined || this.#engine.kind === 'sqlite'
  }

  /** The files of this process's directory. */
  async files(): Promise<KeptFile[]> {
    const found: KeptFile[] = []
    for (const entry of await readdir(this.#engine.directory, { withFileTypes: true })) {
      if (!entry.isFile()) continue
      const bytes = await sizeOf(join(this.#engine.directory, entry.name))
      if (bytes !== undefined) found.push({ name: entry.name, bytes })
    }
    return found
  }

  /** Of the embedded database with its log. */
  async databaseBytes(): Promise<number | null> {
    if (this.#engine.kind !== 'sqlite') return null
    const { file } = this.#engine.database as Database
    const sizes = await Promise.all([file, `${file}-wal`].map(sizeOf))
    return sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0)
  }

  /** The copies of the embedded database that were made here, oldest first. */
  async backups(): Promise<(KeptFile & { readonly at: number })[]> {
    const folder = join(this.#engine.directory, 'backups')
    const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.db')).sort()
    const found: (KeptFile & { readonly at: number })[] = []
    for (const name of names) {
      const about = await stat(join(folder, name)).catch(() => undefined)
      if (about !== undefined) found.push({ name, bytes: about.size, at: Math.round(about.mtimeMs) })
    }
    return found
  }

  /** Backs up: to the cold tier, else into a file that has its name once it is whole and synced. */
  async backUp(): Promise<BackedUp> {
    if (this.#tiered !== undefined && this.#engine.tiers?.backup !== undefined) {
      await this.#tiered.backup()
      return { kind: 'cold', file: null, bytes: this.#engine.tiers?.backup?.bytes ?? 0 }
    }
    const folder = join(this.#engine.directory, 'backups')
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const name = `gateway-${new Date().toISOString().replaceAll(/[:.]/g, '-')}-${randomUUID().slice(0, 8)}.db`
    const partial = join(folder, `${name}.partial`)
    try {
      await (this.#engine.database as Database).backup(partial)
      await synced(partial)
      await rename(partial, join(folder, name))
      await synced(folder)
    } finally {
      await rm(partial, { force: true })
    }
    return { kind: 'file', file: join(folder, name), bytes: (await sizeOf(join(folder, name))) ?? 0 }
  }

  /** Moves what is due to the cold tier; `undefined` where there is none. */
  async moveCold(): Promise<{ readonly backlog: number; readonly moved: number } | undefined> {
    if (this.#tiered === undefined || this.#engine.tiers === undefined) return undefined
    await this.#tiered.moveCold()
    const { backlog, moved } = this.#engine.tiers.cold
    return { backlog, moved }
  }
}

async function sizeOf(file: string): Promise<number | undefined> {
  return (await stat(file).catch(() => undefined))?.size
}

async function synced(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
