import { existsSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { Worker } from 'node:worker_threads'
import { holdDirectory, makePrivate } from './data-directory.ts'
import type { Database, DatabaseHealth, DatabaseOptions } from './database.ts'
import { SqliteError } from './errors.ts'
import { closedError, GroupCommit } from './group-commit.ts'
import { damageOfLog, unsyncedMark } from './log-damage.ts'
import type { BackupData } from './messages.ts'
import { syncPath } from './sync-path.ts'
import type { Durability, Reader, SqlValue, Unit, Write } from './unit.ts'

/** Ports for fault tests; nothing else sets them. */
export interface FaultPorts {
  /** The size in pages at which the file counts as a full disk. */
  readonly maxPages?: number
  /** The commit, counted from 1, that fails as a failed sync does. */
  readonly failCommit?: number
  /** How many times the disk is too full for moving the log into the file. */
  readonly fullCheckpoints?: number
}

const durabilities: readonly Durability[] = ['memory', 'os', 'fsync']
/** Node fires a timer with a longer delay at once. */
const longestTimerMs = 2_147_483_647

/**
 * Opens the database of a data directory, alone, after moving a left-over log into the file and checking it.
 *
 * Throws `SqliteError`: `invalid_option`, `data_dir_locked` while another process has the directory, `data_dir_unsafe` for a
 * symbolic link or one that others may write, `storage_failed` for a damaged file, or a log that is damaged before its end.
 */
export async function openDatabase(options: DatabaseOptions, faults: FaultPorts = {}): Promise<Database> {
  const {
    directory,
    durability = 'fsync',
    maxPending = 10_000,
    onFull = 'wait',
    deadlineMs = 10_000,
    ...unknown
  } = options
  const [surplus] = Object.keys(unknown)
  if (surplus !== undefined) throw invalid(surplus, 'no such option', Reflect.get(unknown, surplus))
  if (typeof directory !== 'string' || directory === '') throw invalid('directory', 'a path', directory)
  if (!durabilities.includes(durability)) throw invalid('durability', 'memory, os or fsync', durability)
  if (!Number.isInteger(maxPending) || maxPending < 1) throw invalid('maxPending', 'a whole number above 0', maxPending)
  if (onFull !== 'wait' && onFull !== 'refuse') throw invalid('onFull', 'wait or refuse', onFull)
  if (!(typeof deadlineMs === 'number' && deadlineMs > 0 && deadlineMs <= longestTimerMs)) {
    throw invalid('deadlineMs', `a number above 0 and up to ${longestTimerMs}`, deadlineMs)
  }

  const held = holdDirectory(directory)
  const file = join(held.path, 'gateway.db')
  try {
    for (const name of [file, `${file}-wal`, `${file}-shm`]) makePrivate(name)
    refuseDamagedLog(file)
    const { maxPages, failCommit, fullCheckpoints } = faults
    const reader = openReader(file)
    try {
      const writer = { file, maxPages, failCommit, fullCheckpoints }
      const group = await GroupCommit.start({ ...writer, maxPending, onFull, deadlineMs })
      // The log is empty now.
      rmSync(unsyncedMark(file), { force: true })
      // A file that was empty has its log only now.
      reader.look()
      return new SqliteDatabase(held.path, file, durability, group, reader, () => held.release())
    } catch (error) {
      reader.close()
      throw error
    }
  } catch (error) {
    held.release()
    throw error
  }
}

/** SQLite would drop what comes after the damage, and write over it. */
function refuseDamagedLog(file: string): void {
  const damage = damageOfLog(file)
  if (damage === undefined) return
  const { log, frame, wholeBytes } = damage
  throw new SqliteError(
    'storage_failed',
    `The log ${log} is damaged at its frame ${frame}, and commits that were acknowledged lie behind it. Restore a backup; or, to go on without them, keep a copy of the log and cut it to ${wholeBytes} bytes`,
  )
}

function invalid(name: string, expected: string, value: unknown): SqliteError {
  return new SqliteError('invalid_option', `Expected \`${name}\` to be ${expected}, got \`${String(value)}\``)
}

class SqliteDatabase implements Database {
  readonly directory: string
  readonly file: string
  readonly durability: Durability
  readonly reader: Reader
  readonly #group: GroupCommit
  readonly #release: () => void
  readonly #closeReader: () => void
  #closed: Promise<void> | undefined
  #copying: Promise<void> = Promise.resolve()

  constructor(
    directory: string,
    file: string,
    durability: Durability,
    group: GroupCommit,
    { reader, close }: OpenReader,
    release: () => void,
  ) {
    this.directory = directory
    this.file = file
    this.durability = durability
    this.#group = group
    this.#release = release
    this.reader = reader
    this.#closeReader = close
  }

  get health(): DatabaseHealth {
    const { failure, stalled, pending, commits, commitMs, writes } = this.#group
    const running = stalled ? 'unavailable' : 'open'
    const state = failure !== undefined ? 'failed' : this.#closed !== undefined ? 'closed' : running
    return {
      state,
      ...(failure === undefined ? {} : { reason: failure.message }),
      pendingWrites: pending,
      commits,
      commitMs,
      writes,
    }
  }

  unit({ durability = this.durability }: { readonly durability?: Durability } = {}): Unit {
    if (durability !== 'replicated' && !durabilities.includes(durability))
      throw invalid('durability', 'memory, os, fsync or replicated', durability)
    // Said is what is reached: one disk is all that there is.
    return new PendingWrites(this.#group, durability === 'replicated' ? 'fsync' : durability)
  }

  async write<Result>(write: Write, options: { readonly durability?: Durability } = {}): Promise<Result> {
    const unit = this.unit(options)
    let result: unknown
    unit.add(write, (value) => {
      result = value
    })
    await unit.commit()
    return result as Result
  }

  migrate(owner: string, migrations: readonly string[]): Promise<void> {
    return this.#group.request((id) => ({ type: 'migrate', id, owner, migrations }))
  }

  /** Behind the copy that is being made; the writer goes on meanwhile. */
  backup(file: string): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(closedError())
    const copied = this.#copying.then(() => this.#copy(file))
    this.#copying = copied.catch(() => {})
    return copied
  }

  async #copy(file: string): Promise<void> {
    if (this.#group.failure !== undefined) throw this.#group.failure
    if (existsSync(file))
      throw new SqliteError('invalid_option', `Expected \`file\` to be absent, got \`${file}\`, which exists`)
    const into = `${file}.partial`
    rmSync(into, { force: true })
    try {
      await new Promise<void>((resolve, reject) => {
        const workerData: BackupData = { file: this.file, into }
        const source = import.meta.url.endsWith('.ts')
        const thread = new Worker(new URL(source ? './backup.ts' : './backup.js', import.meta.url), { workerData })
        thread.once('error', (cause: Error) => reject(new SqliteError('procedure_failed', cause.message, { cause })))
        thread.once('exit', () => resolve())
      })
      renameSync(into, file)
      syncPath(dirname(file), 'r')
    } catch (error) {
      rmSync(into, { force: true })
      throw error
    }
  }

  onFailed(listener: (cause: unknown) => void): void {
    this.#group.onFailed(listener)
  }

  close(): Promise<void> {
    this.#closed ??= (async () => {
      await this.#group.close(this.#copying, this.#closeReader)
      this.#release()
    })()
    return this.#closed
  }
}

class PendingWrites implements Unit {
  readonly #group: GroupCommit
  readonly #durability: Durability
  readonly #message: unknown[] = []
  readonly #listeners: (((result: unknown) => void) | undefined)[] = []
  #sent = false

  constructor(group: GroupCommit, durability: Durability) {
    this.#group = group
    this.#durability = durability
  }

  add({ procedure, args }: Write, onCommitted?: (result: unknown) => void): void {
    if (this.#sent) throw new SqliteError('invalid_option', 'This unit has been committed; make a new one')
    const id = this.#group.procedureId(procedure)
    this.#message.push(onCommitted === undefined || onCommitted.length === 0 ? ~id : id, args)
    this.#listeners.push(onCommitted)
  }

  commit(): Promise<Durability> {
    if (this.#sent)
      return Promise.reject(new SqliteError('invalid_option', 'This unit has been committed; make a new one'))
    this.#sent = true
    if (this.#message.length === 0) return Promise.resolve(this.#durability)
    return new Promise((resolve, reject) => {
      this.#group.enqueue({
        message: this.#message,
        sync: this.#durability === 'fsync',
        committed: (results) => {
          try {
            for (let i = 0; i < results.length; i++) this.#listeners[i]?.(results[i])
            resolve(this.#durability)
          } catch (error) {
            // The listener's own error, to its own caller: the units behind it have their answers to come.
            reject(error)
          }
        },
        failed: reject,
      })
    })
  }
}

interface OpenReader {
  readonly reader: Reader
  look(): void
  close(): void
}

/**
 * Opens the connection for reads, before the writer's and with a first look: SQLite moves the log into the file when the last
 * connection that has looked is closed, and a writer that has failed must not do that.
 */
function openReader(file: string): OpenReader {
  const db = new DatabaseSync(file, { readOnly: true, timeout: 5_000 })
  const look = () => {
    try {
      db.prepare('SELECT 1 FROM sqlite_master').get()
    } catch {
      // What is wrong with the file is told by the writer.
    }
  }
  look()
  const statements = new Map<string, StatementSync>()
  let closed = false
  const statement = (sql: string) => {
    if (closed) throw closedError()
    let prepared = statements.get(sql)
    if (prepared === undefined) {
      prepared = db.prepare(sql)
      statements.set(sql, prepared)
    }
    return prepared
  }
  return {
    look,
    reader: {
      get: (sql, ...params) => statement(sql).get(...(params as SqlValue[])) as never,
      all: (sql, ...params) => statement(sql).all(...(params as SqlValue[])) as never,
    },
    close() {
      if (closed) return
      closed = true
      statements.clear()
      db.close()
    },
  }
}
