/** The writer thread: one connection, one transaction a batch, one answer a batch. */
import { createHash } from 'node:crypto'
import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { unsyncedMark } from './log-damage.ts'
import {
  type Answer,
  type BatchMessage,
  type Failed,
  type FromWriter,
  isFailed,
  type ToWriter,
  type UnitMessage,
  type WriterData,
} from './messages.ts'
import { procedureIn } from './procedure-name.ts'
import { syncPath } from './sync-path.ts'
import type { Connection, Procedures, SqlValue } from './unit.ts'

class Refused extends Error {
  readonly reason: unknown
  constructor(reason: unknown) {
    super('refused')
    this.reason = reason
  }
}

/** A unit whose own statement has ended the transaction of all. */
class RolledBack extends Error {
  readonly answer: Failed
  constructor(answer: Failed) {
    super(answer.message)
    this.answer = answer
  }
}

const { file, maxPages, failCommit, fullCheckpoints = 0 } = workerData as WriterData
const port = parentPort!
/** The next message that waits; on Deno, where a worker's port cannot be asked, none: batches then share a commit by the turn. */
const nextMessage: () => ToWriter | undefined =
  port instanceof MessagePort ? () => receiveMessageOnPort(port)?.message as ToWriter | undefined : () => undefined
const db = new DatabaseSync(file)
const statements = new Map<string, StatementSync>()
const ofProcedures = new Map<string, StatementSync>()
const procedures: ((connection: Connection, args: never) => unknown)[] = []
/** Why the procedure of a number is not there. */
const absent: string[] = []
/** How long the log may be before it is moved into the file: readers look through all of it, and a restart reads it. */
const logBytes = 32 * 1024 * 1024
const known = new Map<string, unknown>()
let level = 'FULL'
let commits = 0
/** The log's length when it was last moved, as long as it has not begun anew since. */
let movedAtBytes = 0
let checkpoints = 0
/** The unit's own statement has ended the transaction of all; what the unit does since is in another, which is taken back. */
let rolledBack = false
/** Nothing is done after a failure: a sync that succeeds now says nothing of the pages that an earlier one failed for. */
let failed = false

function statement(sql: string): StatementSync {
  let prepared = statements.get(sql)
  if (prepared === undefined) {
    prepared = db.prepare(sql)
    statements.set(sql, prepared)
  }
  return prepared
}

const emptyBytes = new Uint8Array(1).subarray(1)
/** Node 22.13 binds bytes of no length that came from another thread as NULL. */
const losesEmptyBytes =
  db.prepare('SELECT typeof(?) AS type').get(structuredClone(new Uint8Array(0)))?.['type'] !== 'blob'

function bound(params: readonly SqlValue[]): SqlValue[] {
  return params.map((value) => (value instanceof Uint8Array && value.length === 0 ? emptyBytes : value))
}

/** What would end the transaction, with the writes of others in it, or another one's savepoint. */
const control =
  /^(?:\s|;|--[^\n]*(?:\n|$)|\/\*(?:[^*]|\*(?!\/))*\*\/)*(?:begin|commit|end|rollback|savepoint|release)\b/i

/** A statement of a procedure, looked at once. */
function statementOf(sql: string): StatementSync {
  let prepared = ofProcedures.get(sql)
  if (prepared === undefined) {
    if (control.test(sql))
      throw new Error(`A procedure cannot run \`${sql.trim()}\`: its transaction is also that of others`)
    prepared = db.prepare(sql)
    ofProcedures.set(sql, prepared)
  }
  return prepared
}

/** Finds out whether the statement that failed has ended the transaction. */
function noted(error: unknown): unknown {
  if (resultCode(error) === constraint && begins()) rolledBack = true
  return error
}

/** Begins a transaction where none is left, as after `INSERT OR ROLLBACK`. */
function begins(): boolean {
  try {
    statement('BEGIN IMMEDIATE').run()
    return true
  } catch {
    return false
  }
}

const connection: Connection = {
  get(sql, ...params) {
    try {
      return statementOf(sql).get(...(params as SqlValue[])) as never
    } catch (error) {
      throw noted(error)
    }
  },
  all(sql, ...params) {
    try {
      return statementOf(sql).all(...(params as SqlValue[])) as never
    } catch (error) {
      throw noted(error)
    }
  },
  run(sql, ...params) {
    try {
      const values = losesEmptyBytes ? bound(params) : (params as SqlValue[])
      return Number(statementOf(sql).run(...values).changes)
    } catch (error) {
      throw noted(error)
    }
  },
  refuse(reason) {
    throw new Refused(reason)
  },
  sha256(...chunks) {
    const hash = createHash('sha256')
    for (const chunk of chunks) hash.update(chunk)
    return hash.digest()
  },
  known,
}

function runUnit(unit: UnitMessage): Answer {
  const results: unknown[] = []
  for (let i = 0; i < unit.length; i += 2) {
    const id = unit[i] as number
    const procedure = procedures[id < 0 ? ~id : id]
    if (procedure === undefined) return { code: 'procedure_failed', message: absent[id < 0 ? ~id : id]! }
    const result = procedure(connection, unit[i + 1] as never)
    results.push(id < 0 ? undefined : result)
  }
  if (rolledBack) return { code: 'procedure_failed', message: 'A statement of the unit has ended its transaction' }
  return results
}

/** The primary result code of an SQLite error, or undefined for an error of a procedure's own. */
function resultCode(error: unknown): number | undefined {
  return error instanceof Error && 'errcode' in error ? Number(error.errcode) & 0xff : undefined
}

const generic = 1
const full = 13
const constraint = 19
/** Errors of the statement or its values, which say nothing about the file: ERROR, MISMATCH, RANGE, TOOBIG. */
const ordinary = new Set([generic, 18, 20, 25])

function refusalOf(error: unknown): Failed | undefined {
  if (error instanceof Refused)
    return { code: 'refused', message: 'A procedure refused the unit', reason: error.reason }
  const message = error instanceof Error ? error.message : String(error)
  const code = resultCode(error)
  if (code === constraint) return { code: 'constraint', message }
  if (code === undefined || ordinary.has(code)) return { code: 'procedure_failed', message }
  return undefined
}

/** All units in one transaction without savepoints: the common case, in which none is refused. */
function runTogether(units: readonly UnitMessage[]): Answer[] | undefined {
  statement('BEGIN IMMEDIATE').run()
  const answers: Answer[] = []
  for (const unit of units) {
    try {
      const answer = runUnit(unit)
      if (isFailed(answer)) return abandon()
      answers.push(answer)
    } catch (error) {
      if (refusalOf(error) === undefined) throw error
      return abandon()
    }
  }
  commit()
  return answers
}

/** One savepoint a unit, so that a refusal takes back its own unit only. */
function runApart(units: readonly UnitMessage[]): Answer[] {
  statement('BEGIN IMMEDIATE').run()
  const answers = units.map((unit): Answer => {
    statement('SAVEPOINT unit').run()
    let answer: Answer
    try {
      answer = runUnit(unit)
    } catch (error) {
      const refusal = refusalOf(error)
      if (refusal === undefined) throw error
      answer = refusal
    }
    if (isFailed(answer)) {
      if (rolledBack) throw new RolledBack(answer)
      known.clear()
      statement('ROLLBACK TO unit').run()
    }
    statement('RELEASE unit').run()
    return answer
  })
  commit()
  return answers
}

function commit(): void {
  if (failCommit !== undefined && commits + 1 === failCommit) {
    // As SQLite itself does when a sync fails.
    statement('ROLLBACK').run()
    throw Object.assign(new Error('disk I/O error'), { errcode: 1034 })
  }
  statement('COMMIT').run()
  commits++
}

function abandon(): undefined {
  known.clear()
  rolledBack = false
  try {
    statement('ROLLBACK').run()
  } catch (error) {
    // A full disk may have ended the transaction already, which Node 22.13 cannot be asked.
    if (resultCode(error) !== generic) throw error
  }
}

const diskFull: Failed = { code: 'storage_full', message: 'The disk is full; nothing of this was kept' }

/** What a unit is answered that has ended the whole transaction; undefined for what ends the database. */
function endOfAll(error: unknown): Failed | undefined {
  if (error instanceof RolledBack) return error.answer
  return resultCode(error) === full ? diskFull : undefined
}

/** Each unit is tried again by itself, and only those lose that do not fit on the disk or end their own transaction. */
function runOneByOne(units: readonly UnitMessage[]): Answer[] {
  return units.map((unit) => {
    try {
      return runApart([unit])[0]!
    } catch (error) {
      const answer = endOfAll(error)
      if (answer === undefined) throw error
      abandon()
      return answer
    }
  })
}

function setLevel(sync: boolean): void {
  const wanted = sync ? 'FULL' : 'NORMAL'
  if (wanted === level || (!sync && !markUnsynced())) return
  db.exec(`PRAGMA synchronous = ${wanted}`)
  level = wanted
}

let marked = false

/** Before the first commit that is not synced, and on the disk itself: the next open must know. Where it cannot be, all are synced. */
function markUnsynced(): boolean {
  try {
    if (!marked) {
      syncPath(unsyncedMark(file), 'w')
      syncPath(dirname(file), 'r')
    }
    marked = true
  } catch {
    // The disk is full, or worse; what comes next will tell.
  }
  return marked
}

function runBatch({ units, sync }: BatchMessage): Answer[] {
  setLevel(sync)
  try {
    return runTogether(units) ?? runApart(units)
  } catch (error) {
    if (endOfAll(error) === undefined) throw error
    abandon()
    return runOneByOne(units)
  }
}

/**
 * Moves the log into the file when it is long, between batches; a reader in its way, or a full disk, only puts it off. A log that
 * was moved whole begins anew with the next commit, in a file that is cut to `logBytes`: what is longer has grown since.
 */
function checkpoint(): void {
  const size = statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0
  if (size <= logBytes) movedAtBytes = 0
  else if (size >= movedAtBytes + logBytes / 2) {
    movedAtBytes = size
    try {
      if (++checkpoints <= fullCheckpoints)
        throw Object.assign(new Error('database or disk is full'), { errcode: full })
      statement('PRAGMA wal_checkpoint(PASSIVE)').all()
    } catch (error) {
      if (resultCode(error) !== full) throw error
    }
  }
}

async function load(id: number, name: string): Promise<void> {
  const at = name.lastIndexOf('#')
  try {
    const module = (await import(name.slice(0, at))) as { procedures?: Procedures }
    const procedure = module.procedures?.[procedureIn(name)]
    if (procedure !== undefined) procedures[id] = procedure
    else absent[id] = `The module of ${name} has no such procedure`
  } catch (error) {
    absent[id] = `The module of ${name} cannot be loaded: ${error instanceof Error ? error.message : String(error)}`
  }
}

function migrate(owner: string, migrations: readonly string[]): Answer {
  // The level cannot change inside a transaction.
  setLevel(true)
  statement('BEGIN IMMEDIATE').run()
  try {
    db.exec('CREATE TABLE IF NOT EXISTS gw_schema (owner TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID')
    const version =
      (statement('SELECT version FROM gw_schema WHERE owner = ?').get(owner)?.['version'] as number | undefined) ?? 0
    if (version > migrations.length) {
      statement('ROLLBACK').run()
      return {
        code: 'schema_too_new',
        message: `The schema of ${owner} is at version ${version}; this code knows ${migrations.length}`,
      }
    }
    known.clear()
    for (const sql of migrations.slice(version)) db.exec(sql)
    statement('INSERT OR REPLACE INTO gw_schema VALUES (?, ?)').run(owner, migrations.length)
    commit()
    return []
  } catch (error) {
    abandon()
    if (resultCode(error) === full) return diskFull
    throw error
  }
}

function post(message: FromWriter): void {
  port.postMessage(message)
}

/** A result that cannot go to another thread takes no other answer with it. */
function postAnswers(answers: readonly Answer[]): void {
  try {
    post({ type: 'answers', answers })
  } catch {
    post({ type: 'answers', answers: answers.map(tellable) })
  }
}

function tellable(answer: Answer): Answer {
  try {
    return structuredClone(answer)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return isFailed(answer)
      ? { code: answer.code, message: `${answer.message}, for a reason that no other thread can have: ${why}` }
      : { code: 'unknown', message: `The unit is kept, but no other thread can have its result: ${why}` }
  }
}

/** Modules load asynchronously; messages are answered strictly in the order they came. */
let ready: Promise<void> = Promise.resolve()
let loading = 0

function receive(message: ToWriter): void {
  if (message.type === 'procedure') {
    loading++
    ready = ready.then(() => load(message.id, message.name)).finally(() => loading--)
  } else if (loading > 0) {
    loading++
    ready = ready.then(() => handle(message)).finally(() => loading--)
  } else handle(message)
}

/** A batch with every batch that waits behind it, and the first message that is something else. */
function joined(first: BatchMessage): { readonly batch: BatchMessage; readonly next: ToWriter | undefined } {
  let batch = first
  for (;;) {
    // While more than this batch has waited for a module, what stands at the port comes behind that.
    const next = loading > 1 ? undefined : nextMessage()
    if (next?.type !== 'batch') return { batch, next }
    batch = { type: 'batch', sync: batch.sync || next.sync, units: [...batch.units, ...next.units] }
  }
}

function handle(message: ToWriter): void {
  if (failed) return
  try {
    if (message.type === 'batch') {
      const { batch, next } = joined(message)
      postAnswers(runBatch(batch))
      checkpoint()
      if (next !== undefined) receive(next)
    } else if (message.type === 'migrate') {
      post({ type: 'answer', id: message.id, answer: migrate(message.owner, message.migrations) })
    } else if (message.type === 'close') {
      statements.clear()
      ofProcedures.clear()
      db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
      db.close()
      post({ type: 'answer', id: message.id, answer: [] })
      port.close()
    }
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    if ('id' in message && message.type !== 'migrate') {
      post({ type: 'answer', id: message.id, answer: { code: 'procedure_failed', message: text } })
    } else if ('id' in message && refusalOf(error) !== undefined) {
      post({ type: 'answer', id: message.id, answer: refusalOf(error)! })
    } else {
      failed = true
      post({ type: 'failed', message: text })
    }
  }
}

try {
  db.exec(`PRAGMA secure_delete = ON; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
    PRAGMA busy_timeout = 5000; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -8192; PRAGMA journal_size_limit = ${logBytes}`)
  if (maxPages !== undefined) db.exec(`PRAGMA max_page_count = ${maxPages}`)
  db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  const check = db.prepare('PRAGMA quick_check(1)').get()?.['quick_check']
  if (check !== 'ok') throw new Error(`The database is damaged: ${String(check)}`)
  port.on('message', receive)
  post({ type: 'ready' })
} catch (error) {
  post({ type: 'failed', message: error instanceof Error ? error.message : String(error) })
}
