import { createHash } from 'node:crypto'
import type { StoreDatabase } from './database.ts'
import { SqliteError } from './errors.ts'
import { ownerIn, procedureIn } from './procedure-name.ts'
import type { Connection, Durability, Procedures, Reader, SqlValue, Unit, Write } from './unit.ts'

/** What is used of a Durable Object's `ctx.storage`, in a class whose migration says `new_sqlite_classes`. */
export interface DurableObjectStorage {
  readonly sql: { exec(query: string, ...bindings: unknown[]): { toArray(): Record<string, unknown>[] } }
  transactionSync<Result>(closure: () => Result): Result
  sync(): Promise<void>
}

const schemaTable =
  'CREATE TABLE IF NOT EXISTS gw_schema (owner TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID'

/**
 * The database that a Durable Object has with it, for the SQLite stores of every package: one unit carries the writes of them all.
 *
 * A unit runs where it is committed, in one transaction, and is acknowledged once the platform has it (`replicated`); with
 * `memory` it is acknowledged at once, and the platform still holds the object's answers back until it has it. Needs the
 * compatibility flag `nodejs_compat` for `node:crypto`. Makes nothing before its first use.
 */
export function durableObjectDatabase(storage: DurableObjectStorage): StoreDatabase {
  const owners = new Map<string, Procedures>()
  const connection = connectionOf(storage)
  const procedureOf = ({ procedure }: Write) => {
    const found = owners.get(ownerIn(procedure))?.[procedureIn(procedure)]
    if (found === undefined) throw new SqliteError('procedure_failed', `No store has brought ${procedure}`)
    return found
  }
  const transaction = <Result>(work: () => Result): Result => {
    try {
      return storage.transactionSync(work)
    } catch (error) {
      connection.known.clear()
      throw errorOf(error)
    }
  }
  const unit = ({ durability = 'replicated' }: { readonly durability?: Durability } = {}): Unit => {
    const writes: Write[] = []
    const listeners: (((result: unknown) => void) | undefined)[] = []
    let committed = false
    return {
      add(write, onCommitted) {
        if (committed) throw new SqliteError('invalid_option', 'This unit has been committed; make a new one')
        writes.push(write)
        listeners.push(onCommitted)
      },
      async commit() {
        if (committed) throw new SqliteError('invalid_option', 'This unit has been committed; make a new one')
        committed = true
        const results = transaction(() => writes.map((write) => procedureOf(write)(connection, write.args as never)))
        const acknowledged = durability === 'memory' ? 'memory' : 'replicated'
        if (acknowledged === 'replicated') {
          await storage.sync().catch((cause: unknown) => {
            throw new SqliteError('storage_failed', 'The platform could not keep what was written', { cause })
          })
        }
        results.forEach((result, i) => void listeners[i]?.(result))
        return acknowledged
      },
    }
  }
  return {
    durability: 'replicated',
    reader: connection,
    unit,
    async write<Result>(write: Write, options?: { readonly durability?: Durability }) {
      let result: unknown
      const own = unit(options)
      own.add(write, (value) => {
        result = value
      })
      await own.commit()
      return result as Result
    },
    async migrate(owner, migrations, procedures = {}) {
      owners.set(owner, procedures)
      connection.known.clear()
      transaction(() => {
        connection.run(schemaTable)
        const version =
          connection.get<{ version: number }>('SELECT version FROM gw_schema WHERE owner = ?', owner)?.version ?? 0
        if (version > migrations.length) {
          throw new SqliteError(
            'schema_too_new',
            `The schema of ${owner} is at version ${version}; this code knows ${migrations.length}`,
          )
        }
        for (const sql of migrations.slice(version)) storage.sql.exec(sql)
        connection.run('INSERT OR REPLACE INTO gw_schema VALUES (?, ?)', owner, migrations.length)
      })
    },
  }
}

class Refused extends Error {
  readonly reason: unknown
  constructor(reason: unknown) {
    super('refused')
    this.reason = reason
  }
}

function connectionOf({ sql }: DurableObjectStorage): Connection {
  const all: Reader['all'] = <Row>(text: string, ...params: readonly SqlValue[]) =>
    sql
      .exec(text, ...params.map(bound))
      .toArray()
      .map(rowOf) as Row[]
  return {
    all,
    get: <Row>(text: string, ...params: readonly SqlValue[]) => all<Row>(text, ...params)[0],
    run(text, ...params) {
      sql.exec(text, ...params.map(bound)).toArray()
      // The cursor's own figure counts the rows of indexes, too.
      return Number(sql.exec('SELECT changes() AS changes').toArray()[0]?.['changes'])
    },
    refuse(reason) {
      throw new Refused(reason)
    },
    sha256(...chunks) {
      const hash = createHash('sha256')
      for (const chunk of chunks) hash.update(chunk)
      return hash.digest()
    },
    known: new Map(),
  }
}

/** The platform takes no big integers; positions stay far below what a double holds exactly. */
function bound(value: SqlValue): unknown {
  return typeof value === 'bigint' ? Number(value) : value
}

function rowOf(row: Record<string, unknown>): Record<string, unknown> {
  for (const name in row) if (row[name] instanceof ArrayBuffer) row[name] = new Uint8Array(row[name])
  return row
}

/** The platform names SQLite's codes in its messages: `… : SQLITE_CONSTRAINT`. */
function errorOf(error: unknown): SqliteError {
  if (error instanceof SqliteError) return error
  if (error instanceof Refused)
    return new SqliteError('refused', 'A procedure refused the unit', { reason: error.reason })
  const message = error instanceof Error ? error.message : String(error)
  if (message.includes('SQLITE_CONSTRAINT')) return new SqliteError('constraint', message, { cause: error })
  if (message.includes('SQLITE_FULL')) return new SqliteError('storage_full', message, { cause: error })
  return new SqliteError('procedure_failed', message, { cause: error })
}
