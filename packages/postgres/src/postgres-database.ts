import type { SQL } from 'drizzle-orm'
import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import { mergeLocks, overlap, planGroups, type Step } from './batch.ts'
import type {
  Lock,
  PostgresDatabase,
  PostgresDatabaseHealth,
  PostgresDatabaseOptions,
  PostgresTransaction,
  Procedure,
  Send,
} from './database.ts'
import { checkDeadline, closedError, failureOf, invalid, isOfServer, PostgresError, rootOf, textOf } from './errors.ts'
import { GroupCommit } from './group-commit.ts'
import { Line, type LineOptions, levelOf, type ParsedOptions, settings, type TypeTables } from './line.ts'
import { OwnLines, SharedLines } from './lines.ts'
import { Notifications } from './listen.ts'
import { migrateOn } from './migrate.ts'
import { PendingUnit } from './pending-unit.ts'
import { type DrizzleParts, drizzleParts, openScope } from './transaction.ts'
import type { Durability, Unit, Write } from './unit.ts'

const databases = new WeakMap<object, { readonly database: PostgresDatabase; readonly options: string }>()
/** Connections for reads at most: they are shared, so a few keep two cores of a server busy. */
const readLines = 4
const migrationMs = 600_000

/**
 * Gives a drizzle `db` over postgres.js its group commit. The same `db` gives the same object, so that stores made on one `db`
 * share units. Makes connections of its own with the options of the client of `db`, when the first call needs one: up to
 * `lanes` for units, four for reads, the client's `max` for transactions, one for migrations, one for notifications.
 *
 * Throws `PostgresError` code `invalid_option`, also for options that differ from the first ones for this `db`.
 */
export function postgresDatabase<Schema extends Record<string, unknown>>(
  db: PostgresJsDatabase<Schema>,
  options?: PostgresDatabaseOptions,
): PostgresDatabase {
  const known = databases.get(db)
  const { deadlineMs = 5_000, lanes = 2, maxPending = 10_000, onFull = 'wait', ...unknown } = options ?? {}
  const [surplus] = Object.keys(unknown)
  if (surplus !== undefined) throw invalid(surplus, 'no such option', Reflect.get(unknown, surplus))
  checkDeadline(deadlineMs)
  if (!Number.isInteger(lanes) || lanes < 1) throw invalid('lanes', 'a whole number above 0', lanes)
  if (!Number.isInteger(maxPending) || maxPending < 1) throw invalid('maxPending', 'a whole number above 0', maxPending)
  if (onFull !== 'wait' && onFull !== 'refuse') throw invalid('onFull', 'wait or refuse', onFull)
  const given = JSON.stringify([deadlineMs, lanes, maxPending, onFull])
  if (known !== undefined) {
    if (options !== undefined && given !== known.options) {
      throw invalid('options', 'those of the first call for this `db`, or none', given)
    }
    return known.database
  }
  const template: unknown = Reflect.get(Object(Reflect.get(db, '$client')), 'options')
  if (typeof template !== 'object' || template === null || !('shared' in template)) {
    throw invalid('db', 'drizzle over a postgres.js client', db)
  }
  const database = new PostgresJsGroupDatabase(
    db as unknown as PostgresJsDatabase,
    template as unknown as ParsedOptions,
    {
      deadlineMs,
      lanes,
      maxPending,
      onFull,
    },
  )
  databases.set(db, { database, options: given })
  return database
}

class PostgresJsGroupDatabase implements PostgresDatabase {
  readonly db: PostgresJsDatabase
  readonly deadlineMs: number
  readonly #template: ParsedOptions
  readonly #drizzle: DrizzleParts
  readonly #procedures = new Map<string, Procedure<unknown>>()
  readonly #group: GroupCommit
  readonly #reads: SharedLines
  readonly #transactions: OwnLines
  readonly #notifications: Notifications
  #types: TypeTables | undefined
  #unavailable: string | undefined
  #closed: Promise<void> | undefined

  constructor(db: PostgresJsDatabase, template: ParsedOptions, options: Required<PostgresDatabaseOptions>) {
    this.db = db
    this.deadlineMs = options.deadlineMs
    this.#template = template
    this.#drizzle = drizzleParts(db)
    const openLine = () => this.#open({ limited: true })
    this.#group = new GroupCommit({
      ...options,
      drizzle: this.#drizzle,
      openLine: () => this.#open({ limited: true, byKey: true }),
      procedure: (name) => this.#procedures.get(name),
    })
    this.#reads = new SharedLines(readLines, openLine)
    this.#transactions = new OwnLines(template.max, openLine)
    this.#notifications = new Notifications({
      deadlineMs: options.deadlineMs,
      openLine: (onNotify) => this.#open({ limited: false, onNotify }),
    })
  }

  get health(): PostgresDatabaseHealth {
    const { pending, commits, commitMs, writes } = this.#group
    const state = this.#closed !== undefined ? 'closed' : this.#unavailable !== undefined ? 'unavailable' : 'open'
    return {
      state,
      ...(state === 'unavailable' ? { reason: this.#unavailable! } : {}),
      pendingWrites: pending,
      commits,
      commitMs,
      writes,
    }
  }

  unit(): Unit {
    return new CollectedUnit(
      (writes, listeners) =>
        new Promise((resolve, reject) => {
          const { steps, locks, slow } = this.#prepare(writes)
          const committed = (results: readonly unknown[], level: Durability) => {
            try {
              tell(listeners, results)
              resolve(level)
            } catch (error) {
              // The listener's own error, to its own caller: the lane has others to serve.
              reject(error)
            }
          }
          this.#group.enqueue(new PendingUnit(steps, locks, slow, committed, reject))
        }),
    )
  }

  unitIn(tx: PostgresTransaction): Unit {
    return new CollectedUnit(async (writes, listeners) => {
      const { steps, locks, slow } = this.#prepare(writes)
      const unit = new PendingUnit(
        steps,
        locks,
        slow,
        () => {},
        () => {},
      )
      await tx.execute('savepoint gw_unit')
      try {
        for (const group of planGroups([unit])) {
          let sent: Promise<unknown> = Promise.resolve()
          const send: Send = (statement) => {
            const answer = sent.then(() => tx.execute(statement))
            answer.catch(() => {})
            sent = answer
            return answer
          }
          const answers = await this.#procedure(group.procedure).run(tx, group.batch, send)
          await sent
          answers.forEach((answer, i) => {
            if ('refused' in answer) {
              throw new PostgresError('refused', 'A procedure refused the unit', { reason: answer.refused })
            }
            unit.results[group.steps[i]!] = answer.result
          })
        }
        await tx.execute('release savepoint gw_unit')
      } catch (error) {
        await tx.execute('rollback to savepoint gw_unit')
        throw ownError(error)
      }
      const [row] = await tx.execute(settings)
      tell(listeners, unit.results)
      return levelOf(row ?? {})
    })
  }

  async transaction<Result>(work: (tx: PostgresTransaction) => Promise<Result>): Promise<Result> {
    const deadlineAt = performance.now() + this.deadlineMs
    const line = await this.#transactions.take(this.deadlineMs)
    const scope = openScope(line, this.#drizzle, { prepare: false })
    let commitSent = false
    return new Promise<Result>((resolve, reject) => {
      const late = 'The deadline passed before the transaction was committed'
      const timer = setTimeout(
        () => {
          reject(
            new PostgresError(
              commitSent ? 'unknown' : 'unavailable',
              commitSent ? 'The COMMIT was not answered' : late,
            ),
          )
          line.destroy(late)
        },
        Math.max(1, deadlineAt - performance.now()),
      )
      const run = async (): Promise<Result> => {
        line.send('begin').catch(() => {})
        let result: Result
        try {
          result = await work(scope.tx)
          scope.shut()
        } catch (error) {
          scope.shut()
          line.send('rollback').catch(() => {})
          if (line.lost !== undefined) throw line.lost
          const failure = failureOf(error)
          // A server that goes down says so to a statement before the connection is gone.
          if ((failure === 'lost' || failure === 'exhausted') && isOfServer(error))
            throw new PostgresError('unavailable', `Nothing is applied: ${textOf(error)}`, { cause: rootOf(error) })
          throw error
        }
        if (line.lost !== undefined) throw line.lost
        commitSent = true
        let command: string
        try {
          command = (await line.send('commit')).command
        } catch (error) {
          if (line.lost !== undefined || failureOf(error) === 'lost') {
            throw new PostgresError('unknown', 'The COMMIT was not answered', { cause: rootOf(error) })
          }
          throw ownError(error)
        }
        if (command !== 'COMMIT') {
          throw new PostgresError('procedure_failed', 'A statement failed and its error was caught: rolled back')
        }
        return result
      }
      run()
        .then(resolve, reject)
        .finally(() => {
          clearTimeout(timer)
          this.#transactions.give(line)
        })
    })
  }

  async query<Row extends Record<string, unknown>>(statement: SQL): Promise<Row[]> {
    const deadlineAt = performance.now() + this.deadlineMs
    const line = await this.#reads.share()
    const { sql, params } = this.#drizzle.dialect.sqlToQuery(statement)
    return new Promise<Row[]>((resolve, reject) => {
      const timer = setTimeout(
        () => {
          reject(new PostgresError('unknown', 'The server did not answer within the deadline'))
          line.destroy('The server did not answer within the deadline')
        },
        Math.max(1, deadlineAt - performance.now()),
      )
      line.send(sql, params, params.length > 0).then(
        (rows) => {
          clearTimeout(timer)
          resolve([...rows] as Row[])
        },
        (error) => {
          clearTimeout(timer)
          reject(ownError(error))
        },
      )
    })
  }

  async migrate(owner: string, migrations: readonly string[]): Promise<void> {
    if (this.#closed !== undefined) throw closedError()
    const line = await this.#open({ limited: false })
    const timer = setTimeout(() => line.destroy('The migration took longer than 10 minutes'), migrationMs)
    try {
      await migrateOn(line, owner, migrations)
    } catch (error) {
      throw ownError(error)
    } finally {
      clearTimeout(timer)
      await line.end()
    }
  }

  define<Args>(name: string, procedure: Procedure<Args>): void {
    this.#procedures.set(name, procedure as Procedure<unknown>)
  }

  async listen(channel: string, listener: (payload: string) => void): Promise<() => Promise<void>> {
    if (this.#closed !== undefined) throw closedError()
    try {
      return await this.#notifications.listen(channel, listener)
    } catch (error) {
      throw ownError(error)
    }
  }

  close(): Promise<void> {
    this.#closed ??= (async () => {
      databases.delete(this.db)
      await Promise.all([
        this.#group.close(),
        this.#reads.close(),
        this.#transactions.close(),
        this.#notifications.close(),
      ])
    })()
    return this.#closed
  }

  #procedure(name: string): Procedure<unknown> {
    const procedure = this.#procedures.get(name)
    if (procedure === undefined) throw new PostgresError('procedure_failed', `No procedure \`${name}\` is defined`)
    return procedure
  }

  #prepare(writes: readonly Write[]): Pick<PendingUnit, 'steps' | 'locks' | 'slow'> {
    const steps: Step[] = []
    const all: Lock[] = []
    let run: Lock[] = []
    let slow = false
    let previous: string | undefined
    for (const { procedure, args } of writes) {
      const defined = this.#procedure(procedure)
      const locks = defined.locks(args)
      slow ||= defined.oneStatement !== true
      const apart = procedure === previous && overlap(run, locks)
      if (apart || procedure !== previous) run = []
      run.push(...locks)
      all.push(...locks)
      steps.push({ procedure, args, apart })
      previous = procedure
    }
    return { steps, locks: mergeLocks(all), slow }
  }

  async #open(options: Omit<LineOptions, 'types' | 'deadlineMs'>): Promise<Line> {
    const types = this.#types ?? {
      parsers: { ...this.#template.parsers },
      serializers: { ...this.#template.serializers },
    }
    try {
      const line = await Line.open(this.#template, { ...options, types, deadlineMs: this.deadlineMs })
      this.#types = types
      this.#unavailable = undefined
      return line
    } catch (error) {
      this.#unavailable = textOf(error)
      throw error
    }
  }
}

type Listener = ((result: unknown) => void) | undefined

class CollectedUnit implements Unit {
  readonly #commit: (writes: readonly Write[], listeners: readonly Listener[]) => Promise<Durability>
  readonly #writes: Write[] = []
  readonly #listeners: Listener[] = []
  #sent = false

  constructor(commit: (writes: readonly Write[], listeners: readonly Listener[]) => Promise<Durability>) {
    this.#commit = commit
  }

  add(write: Write, onCommitted?: (result: unknown) => void): void {
    if (this.#sent) throw committedError()
    this.#writes.push(write)
    this.#listeners.push(onCommitted)
  }

  commit(): Promise<Durability> {
    if (this.#sent) return Promise.reject(committedError())
    this.#sent = true
    return this.#commit(this.#writes, this.#listeners)
  }
}

function tell(listeners: readonly Listener[], results: readonly unknown[]): void {
  for (let i = 0; i < results.length; i++) listeners[i]?.(results[i])
}

function committedError(): PostgresError {
  return new PostgresError('invalid_option', 'This unit has been committed; make a new one')
}

/** An error of the server or of the connection in this package's codes. */
function ownError(error: unknown): unknown {
  const cause = rootOf(error)
  if (cause instanceof PostgresError) return cause
  const failure = failureOf(cause)
  if (failure === 'constraint') return new PostgresError('constraint', textOf(cause), { cause })
  if (failure === 'failed') return new PostgresError('procedure_failed', textOf(cause), { cause })
  return new PostgresError('unavailable', textOf(cause), { cause })
}
