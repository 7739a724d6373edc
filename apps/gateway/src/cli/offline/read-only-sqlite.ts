import { constants, copyFileSync, existsSync, mkdtempSync, realpathSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { type Database, damageOfLog, type Reader, type SqlValue } from '@gw/sqlite'
import { CommandError, exit } from '../failure.ts'
import { holderOf } from './holder.ts'

/** Which version of its tables an owner has, and which one this code knows. */
export interface SchemaState {
  readonly owner: string
  /** 0 where it has none. */
  readonly found: number
  readonly known: number
}

/** A data directory that is only read: nothing in it is made, locked, recovered or migrated. */
export interface ReadOnlyDirectory {
  readonly directory: string
  readonly file: string
  /** What to open for another look: a path, or a `file:` URL. */
  readonly source: string
  /** What stores are made on; every write is refused. Their `open` notes schemas instead of migrating. */
  readonly db: Database
  readonly schemas: readonly SchemaState[]
  /** `live` beside a running gateway, `crashed` where a write-ahead log was left behind, which is read from a copy. */
  readonly state: 'live' | 'closed' | 'crashed'
  readonly holder: number | undefined
  /** What is wrong with a log that was left behind; what is read ends there. */
  readonly damage: string | undefined
  close(): void
}

/** Node before 22.15 opens paths only. */
const takesUrls = opens(new URL('file::memory:'))

function opens(url: URL): boolean {
  try {
    new DatabaseSync(url).close()
    return true
  } catch {
    return false
  }
}

/** Opens a data directory for reading. */
export function openDirectory(path: string): ReadOnlyDirectory {
  const directory = realpathSync(path)
  const file = join(directory, 'gateway.db')
  const holder = holderOf(directory)
  const left = statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0
  const state = holder !== undefined ? 'live' : left > 0 ? 'crashed' : 'closed'
  const copy = state === 'crashed' || (state === 'closed' && !takesUrls) ? copyOf(file) : undefined
  // An immutable file is read without a lock, and without the index of the log that SQLite would make beside it.
  const source = copy ?? (state === 'live' ? file : new URL(`${pathToFileURL(file).href}?immutable=1`))
  let connection: DatabaseSync
  try {
    connection = new DatabaseSync(source, { readOnly: copy === undefined, timeout: 5_000 })
  } catch (error) {
    if (copy !== undefined) rmSync(join(copy, '..'), { recursive: true, force: true })
    throw new CommandError(`${file} cannot be opened: is it the database of a gateway?`, exit.failed, { cause: error })
  }
  const schemas: SchemaState[] = []
  const reader = readerOf(connection)
  return {
    directory,
    file,
    source: String(source),
    db: databaseOf(directory, file, reader, schemas),
    schemas,
    state,
    holder,
    damage: state === 'crashed' ? damageIn(file) : undefined,
    close() {
      connection.close()
      if (copy !== undefined) rmSync(join(copy, '..'), { recursive: true, force: true })
    },
  }
}

function damageIn(file: string): string | undefined {
  const damage = damageOfLog(file)
  return damage && `the log is broken at its frame ${damage.frame}, in front of commits that were acknowledged`
}

const tries = 5

/** A copy of file and log, in which what the log holds can be put in its place. Fails where they change meanwhile. */
function copyOf(file: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'gw-look-'))
  const copy = join(folder, 'gateway.db')
  const states = () =>
    [file, `${file}-wal`].map((each) => {
      const stat = statSync(each, { bigint: true, throwIfNoEntry: false })
      return `${stat?.size} ${stat?.mtimeNs}`
    })
  for (let n = 0; n < tries; n++) {
    const before = String(states())
    for (const suffix of ['', '-wal'])
      if (existsSync(file + suffix)) copyFileSync(file + suffix, copy + suffix, constants.COPYFILE_FICLONE)
    if (String(states()) === before) return copy
  }
  rmSync(folder, { recursive: true, force: true })
  throw new CommandError(`${file} changes while it is read: another container or machine is using the directory`)
}

function readerOf(connection: DatabaseSync): Reader {
  const statements = new Map<string, StatementSync>()
  const statement = (sql: string) => {
    let prepared = statements.get(sql)
    if (prepared === undefined) {
      prepared = connection.prepare(sql)
      statements.set(sql, prepared)
    }
    return prepared
  }
  return {
    get: (sql, ...params) => statement(sql).get(...(params as SqlValue[])) as never,
    all: (sql, ...params) => statement(sql).all(...(params as SqlValue[])) as never,
  }
}

function databaseOf(directory: string, file: string, reader: Reader, schemas: SchemaState[]): Database {
  const refused = () => new CommandError('This is only read, and takes no writes')
  return {
    directory,
    file,
    durability: 'fsync',
    health: { state: 'open', pendingWrites: 0, commits: 0, commitMs: 0, writes: 0 },
    reader,
    unit: () => ({ add() {}, commit: () => Promise.reject(refused()) }),
    write: () => Promise.reject(refused()),
    async migrate(owner, migrations) {
      if (schemas.some((each) => each.owner === owner)) return
      schemas.push({ owner, found: schemaVersion(reader, owner), known: migrations.length })
    },
    backup: () => Promise.reject(refused()),
    onFailed() {},
    close: async () => {},
  }
}

/** Whether there is a table of that name. */
export function hasTable(reader: Reader, name: string): boolean {
  return reader.get("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", name) !== undefined
}

function schemaVersion(reader: Reader, owner: string): number {
  if (!hasTable(reader, 'gw_schema')) return 0
  return reader.get<{ version: number }>('SELECT version FROM gw_schema WHERE owner = ?', owner)?.version ?? 0
}
