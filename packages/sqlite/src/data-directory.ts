import { closeSync, lstatSync, mkdirSync, openSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { SqliteError } from './errors.ts'

/** A data directory that this process holds alone. */
export interface DataDirectory {
  readonly path: string
  /** Gives the directory free. */
  release(): void
}

/** Directories held by this process: to open and close the lock file once more would give the kernel's lock away. */
const held = new Set<string>()

/**
 * Makes the directory where it is absent (0700), and takes it for this process.
 *
 * The lock is an SQLite file under an exclusive transaction: the kernel frees it when the process dies, however it dies, and it
 * holds between containers that share the volume.
 */
export function holdDirectory(directory: string): DataDirectory {
  const path = resolve(directory)
  mkdirSync(dirname(path), { recursive: true })
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) mkdirSync(path, { recursive: true, mode: 0o700 })
  checkSafe(path)
  const real = realpathSync(path)
  const holderFile = join(real, 'lock-holder')
  if (held.has(real)) throw locked(real, process.pid)
  const lockFile = join(real, 'lock')
  makePrivate(lockFile)
  const lock = new DatabaseSync(lockFile, { timeout: 0 })
  try {
    takeLock(lock, real, holderFile)
    writeFileSync(holderFile, `${process.pid}\n`, { mode: 0o600 })
  } catch (error) {
    lock.close()
    throw error
  }
  held.add(real)
  return {
    path: real,
    release() {
      if (!held.delete(real)) return
      lock.close()
    },
  }
}

/** Makes an empty file that only its owner may read, before SQLite would make it readable for all. */
export function makePrivate(file: string): void {
  closeSync(openSync(file, 'a', 0o600))
}

function checkSafe(path: string): void {
  const stat = lstatSync(path)
  if (stat.isSymbolicLink()) {
    throw new SqliteError('data_dir_unsafe', `${path} is a symbolic link; give the directory itself`)
  }
  if (!stat.isDirectory()) throw new SqliteError('data_dir_unsafe', `${path} is not a directory`)
  if (process.platform !== 'win32' && (stat.mode & 0o022) !== 0) {
    throw new SqliteError('data_dir_unsafe', `${path} can be written by others; run: chmod 700 ${path}`)
  }
}

function takeLock(lock: DatabaseSync, directory: string, holderFile: string): void {
  try {
    lock.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
  } catch (cause) {
    const { errcode = busy, message } = cause as Error & { readonly errcode?: number }
    if ((errcode & 0xff) === busy) throw locked(directory, holderOf(holderFile))
    throw new SqliteError('storage_failed', `${join(directory, 'lock')} cannot be locked: ${message}`, { cause })
  }
}

/** SQLite's code for a lock that somebody else has. */
const busy = 5

function holderOf(file: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(file, 'utf8'), 10) || undefined
  } catch {
    return undefined
  }
}

function locked(path: string, pid: number | undefined): SqliteError {
  const holder = pid === undefined ? 'another process' : `process ${pid}`
  return new SqliteError(
    'data_dir_locked',
    `data_dir_locked: ${path} is in use by ${holder}; stop it or choose another data directory`,
  )
}
