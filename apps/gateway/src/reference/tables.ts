import type { Run } from '@gw/checkpoint'
import type { PostgresTransaction } from '@gw/postgres'
import { type SQL, sql } from 'drizzle-orm'
import type { EmbeddedEngine, Engine, PostgresEngine } from '../engine.ts'
import { insertRow } from './procedures.ts'

/** The reference server's own tables, with nothing in them that would hide a second row. Both engines understand this SQL. */
export const schema = `
CREATE TABLE ledger (payment_id TEXT NOT NULL, transaction_id TEXT NOT NULL, customer_id TEXT NOT NULL, amount DOUBLE PRECISION NOT NULL,
  currency TEXT NOT NULL, payment_method TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX ledger_customer ON ledger (customer_id);
CREATE TABLE orders (order_id TEXT NOT NULL, customer_id TEXT NOT NULL, status TEXT NOT NULL, amount DOUBLE PRECISION NOT NULL,
  created_at TEXT NOT NULL);
CREATE INDEX orders_created ON orders (created_at);
CREATE TABLE work (run TEXT NOT NULL, item INTEGER NOT NULL, attempt INTEGER NOT NULL);
CREATE INDEX work_run ON work (run);
CREATE TABLE operations (id TEXT NOT NULL, type TEXT NOT NULL, principal TEXT NOT NULL, performed_at TEXT NOT NULL);
CREATE INDEX operations_type ON operations (type);
CREATE TABLE users (user_id TEXT NOT NULL, name TEXT NOT NULL, tier TEXT NOT NULL);
CREATE INDEX users_id ON users (user_id);`

/** Each table's columns, in order, and the one that lists are sorted by. */
const tables = {
  ledger: {
    columns: ['payment_id', 'transaction_id', 'customer_id', 'amount', 'currency', 'payment_method', 'created_at'],
    orderBy: 'payment_id',
  },
  orders: { columns: ['order_id', 'customer_id', 'status', 'amount', 'created_at'], orderBy: 'order_id' },
  work: { columns: ['run', 'item', 'attempt'], orderBy: 'item' },
  operations: { columns: ['id', 'type', 'principal', 'performed_at'], orderBy: 'performed_at' },
  users: { columns: ['user_id', 'name', 'tier'], orderBy: 'user_id' },
} as const

/** The name of one of the tables. */
export type TableName = keyof typeof tables

/** A row of a table. */
export type Row<Name extends TableName> = {
  readonly [Column in (typeof tables)[Name]['columns'][number]]: string | number
}

/** Reads and writes the tables on the engine that also keeps the runs, so that a row and a step can be one transaction. */
export interface ReferenceTables {
  migrate(): Promise<void>
  /** Inserts a row and keeps the step in one transaction. `row` is asked only where the step is not kept yet. */
  insertOnce<Name extends TableName>(
    run: Run,
    step: string,
    table: Name,
    row: () => Row<Name> | Promise<Row<Name>>,
  ): Promise<void>
  insert<Name extends TableName>(table: Name, row: Row<Name>): Promise<void>
  /** At most `limit` rows, the last ones where there are more. */
  select<Name extends TableName>(
    table: Name,
    where?: Partial<Row<Name>>,
    options?: { readonly limit?: number },
  ): Promise<Row<Name>[]>
  count<Name extends TableName>(table: Name, where?: Partial<Row<Name>>): Promise<number>
}

/** `INSERT` and `SELECT` of one table; `mark` spells the n-th parameter, from 1. */
export function insertSql(table: TableName, mark: (n: number) => string): string {
  const { columns } = tables[table]
  return `INSERT INTO ${table} (${columns.join(', ')}) VALUES (${columns.map((_, i) => mark(i + 1)).join(', ')})`
}

/** The values of a row in the order of {@link insertSql}. */
export function valuesOf<Name extends TableName>(table: Name, row: Row<Name>): (string | number)[] {
  return tables[table].columns.map((column) => (row as Readonly<Record<string, string | number>>)[column]!)
}

/** `FROM … WHERE` by equality on columns of the table. */
export function fromSql(table: TableName, columns: readonly string[], mark: (n: number) => string): string {
  const where = columns.map((column, i) => `${column} = ${mark(i + 1)}`)
  return `FROM ${table}${where.length === 0 ? '' : ` WHERE ${where.join(' AND ')}`}`
}

/** The last rows by the table's order, newest first; the limit is the parameter behind those of the columns. */
export function selectSql(table: TableName, columns: readonly string[], mark: (n: number) => string): string {
  const { columns: all, orderBy } = tables[table]
  return `SELECT ${all.join(', ')} ${fromSql(table, columns, mark)} ORDER BY ${orderBy} DESC LIMIT ${mark(columns.length + 1)}`
}

/** The tables on the gateway's engine. */
export function referenceTables(engine: Engine): ReferenceTables {
  return engine.kind === 'postgres'
    ? postgresTables(engine as PostgresEngine)
    : embeddedTables(engine as EmbeddedEngine)
}

function embeddedTables({ database }: EmbeddedEngine): ReferenceTables {
  const mark = () => '?'
  return {
    migrate: () => database.migrate('reference', [schema]),
    async insertOnce(run, step, table, row) {
      await run.transaction(step, async () => [[insertSql(table, mark), valuesOf(table, await row())]])
    },
    async insert(table, row) {
      await database.write({
        procedure: insertRow,
        args: { sql: insertSql(table, mark), values: valuesOf(table, row) },
      })
    },
    async select(table, where = {}, { limit = 1_000 } = {}) {
      const rows = database.reader.all<never>(
        selectSql(table, Object.keys(where), mark),
        ...(Object.values(where) as (string | number)[]),
        limit,
      )
      return rows.reverse()
    },
    async count(table, where = {}) {
      const sql = `SELECT count(*) AS n ${fromSql(table, Object.keys(where), mark)}`
      return database.reader.get<{ n: number }>(sql, ...(Object.values(where) as (string | number)[]))!.n
    },
  }
}

function postgresTables({ database }: PostgresEngine): ReferenceTables {
  const inserted = <Name extends TableName>(table: Name, row: Row<Name>) =>
    sql`INSERT INTO ${sql.identifier(table)} (${names(tables[table].columns)}) VALUES (${sql.join(
      valuesOf(table, row).map((value) => sql`${value}`),
      sql`, `,
    )})`
  const from = (table: TableName, where: Readonly<Record<string, unknown>>) => {
    const equal = Object.entries(where).map(([column, value]) => sql`${sql.identifier(column)} = ${value}`)
    return sql`FROM ${sql.identifier(table)}${equal.length === 0 ? sql`` : sql` WHERE ${sql.join(equal, sql` AND `)}`}`
  }
  return {
    migrate: () => database.migrate('reference', [schema]),
    async insertOnce(run, step, table, row) {
      await run.transaction(step, async (tx: PostgresTransaction) => {
        await tx.execute(inserted(table, await row()))
      })
    },
    async insert(table, row) {
      await database.transaction((tx) => tx.execute(inserted(table, row)))
    },
    async select(table, where = {}, { limit = 1_000 } = {}) {
      const { columns, orderBy } = tables[table]
      const rows = await database.query<never>(
        sql`SELECT ${names(columns)} ${from(table, where)} ORDER BY ${sql.identifier(orderBy)} DESC LIMIT ${limit}`,
      )
      return rows.reverse()
    },
    async count(table, where = {}) {
      const [row] = await database.query<{ n: number }>(sql`SELECT count(*)::int AS n ${from(table, where)}`)
      return row!.n
    },
  }
}

function names(columns: readonly string[]): SQL {
  return sql.join(
    columns.map((column) => sql.identifier(column)),
    sql`, `,
  )
}
