import { PgDialect } from 'drizzle-orm/pg-core'
import { PostgresJsSession, PostgresJsTransaction } from 'drizzle-orm/postgres-js'
import type { PostgresTransaction, Send } from './database.ts'
import { PostgresError } from './errors.ts'
import type { Client, Line } from './line.ts'

/** What a drizzle `db` is made of: how it writes SQL, and its tables for relational queries. */
export interface DrizzleParts {
  readonly dialect: PgDialect
  readonly schema: unknown
  readonly options: unknown
}

/** Takes apart what drizzle keeps in fields that its types do not show. */
export function drizzleParts(db: object): DrizzleParts {
  const session: object = Reflect.get(db, 'session') ?? {}
  return {
    dialect: Reflect.get(db, 'dialect') ?? new PgDialect(),
    schema: Reflect.get(session, 'schema'),
    options: Reflect.get(session, 'options') ?? {},
  }
}

/** Drizzle on the open transaction of a line, until it is shut. */
export interface Scope {
  readonly tx: PostgresTransaction
  readonly send: Send
  /** The answers to what was sent so, awaited or not. */
  readonly answers: readonly Promise<unknown>[]
  /** From here on every statement is refused: it would land in somebody else's transaction. */
  shut(): void
}

/** What a scope lets through. */
export interface ScopeOptions {
  /** Whether each text is prepared, once a connection. */
  readonly prepare: boolean
  /** Called when the only statement that is let through is on its way. */
  readonly onlyStatement?: (() => void) | undefined
}

/** Opens drizzle on the transaction that `line` is in. */
export function openScope(
  line: Line,
  { dialect, schema, options }: DrizzleParts,
  { prepare, onlyStatement }: ScopeOptions,
): Scope {
  let open = true
  let savepoints = 0
  const answers: Promise<unknown>[] = []
  const client = {
    unsafe(text: string, parameters: readonly unknown[] = []) {
      if (!open) throw new PostgresError('closed', 'No statement is possible here any more; await each one')
      const statement = line.statement(text, parameters, prepare && parameters.length > 0)
      if (onlyStatement !== undefined) {
        open = false
        statement.execute()
        onlyStatement()
      }
      return statement
    },
    async savepoint<Result>(work: (inner: unknown) => Promise<Result>): Promise<Result> {
      const name = `gw_${++savepoints}`
      await client.unsafe(`savepoint ${name}`)
      try {
        const result = await work(client)
        await client.unsafe(`release savepoint ${name}`)
        return result
      } catch (error) {
        await client.unsafe(`rollback to savepoint ${name}`)
        throw error
      }
    },
  }
  const session = new PostgresJsSession(client as unknown as Client, dialect, schema as undefined, options as object)
  const tx = new PostgresJsTransaction(dialect, session as never, schema as undefined)
  return {
    tx: tx as unknown as PostgresTransaction,
    answers,
    send(statement) {
      const { sql, params } = dialect.sqlToQuery(statement)
      const answer = client.unsafe(sql, params).execute() as unknown as ReturnType<Send>
      answer.catch(() => {})
      answers.push(answer)
      return answer
    },
    shut() {
      open = false
    },
  }
}
