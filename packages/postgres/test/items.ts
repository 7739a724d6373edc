import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import {
  type ConnectOptions,
  connectPostgres,
  type PostgresDatabase,
  type PostgresDatabaseOptions,
  postgresDatabase,
  type Write,
} from '../src/index.ts'

/** A database with the tables and procedures of these tests, and the batches that each procedure was given. */
export interface Items {
  readonly db: PostgresDatabase
  readonly client: ReturnType<typeof connectPostgres>
  readonly batches: { readonly procedure: string; readonly keys: readonly string[] }[]
  /** What the function gets runs before each procedure, with its name. */
  before(hook: (procedure: string) => Promise<void> | void): void
  keys(table?: 'item' | 'entry'): Promise<string[]>
  close(): Promise<void>
}

export interface ItemArgs {
  readonly key: string
  readonly value?: string
  readonly locks?: readonly { readonly name: string; readonly shared: boolean }[]
}

const schema = [
  `create table item (n bigserial, key text primary key, value text check (value <> 'bad'));
   create table entry (n bigserial, key text not null, value text)`,
]

/** A row into `item`; refused when the key is there. */
export const put = (key: string, args: Omit<ItemArgs, 'key'> = {}): Write => ({
  procedure: 'put',
  args: { key, ...args },
})
/** A row into `entry`. */
export const append = (key: string, args: Omit<ItemArgs, 'key'> = {}): Write => ({
  procedure: 'append',
  args: { key, ...args },
})
export const refuse = (reason: string): Write => ({ procedure: 'refuse', args: { key: reason } })

export async function items(
  url: string,
  options: PostgresDatabaseOptions & { readonly connect?: ConnectOptions; readonly migrate?: boolean } = {},
): Promise<Items> {
  const { connect = {}, migrate = true, ...own } = options
  const { deadlineMs } = own
  const client = connectPostgres(url, {
    maxConnections: 4,
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
    ...connect,
  })
  const db = postgresDatabase(drizzle(client), own)
  if (migrate) await db.migrate('test', schema)
  const batches: Items['batches'] = []
  let hook: (procedure: string) => Promise<void> | void = () => {}
  const seen = (procedure: string, batch: readonly ItemArgs[]) => {
    batches.push({ procedure, keys: batch.map(({ key }) => key) })
    return hook(procedure)
  }
  const columns = (batch: readonly ItemArgs[]) => sql`unnest(${sql.param(batch.map(({ key }) => key))}::text[],
    ${sql.param(batch.map(({ value }) => value ?? null))}::text[]) with ordinality as given (key, value, place)`
  db.define<ItemArgs>('put', {
    locks: ({ key, locks }) => locks ?? [{ name: `item:${key}`, shared: false }],
    oneStatement: true,
    async run(tx, batch) {
      await seen('put', batch)
      const rows = await tx.execute<{ key: string }>(
        sql`insert into item (key, value) select key, value from ${columns(batch)} order by place on conflict do nothing returning key`,
      )
      const added = new Set(rows.map(({ key }) => key))
      return batch.map(({ key }) => (added.has(key) ? { result: `put ${key}` } : { refused: { held: key } }))
    },
  })
  db.define<ItemArgs>('append', {
    locks: ({ locks }) => locks ?? [],
    async run(tx, batch) {
      await seen('append', batch)
      await tx.execute(sql`insert into entry (key, value) select key, value from ${columns(batch)} order by place`)
      return batch.map(({ key }) => ({ result: `appended ${key}` }))
    },
  })
  db.define<ItemArgs>('refuse', {
    locks: () => [],
    async run(_tx, batch) {
      await seen('refuse', batch)
      return batch.map(({ key }) => ({ refused: key }))
    },
  })
  return {
    db,
    client,
    batches,
    before(next) {
      hook = next
    },
    async keys(table = 'item') {
      const rows = await db.query<{ key: string }>(sql.raw(`select key from ${table} order by n`))
      return rows.map(({ key }) => key)
    },
    async close() {
      await db.close()
      await client.end({ timeout: 1 })
    },
  }
}

/** Commits the writes in one unit. */
export function commit(db: PostgresDatabase, ...writes: readonly Write[]): Promise<string> {
  const unit = db.unit()
  for (const write of writes) unit.add(write)
  return unit.commit()
}

/** The code that a promise rejects with. */
export function code(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'no error',
    (error: { code?: string; message: string }) => error.code ?? error.message,
  )
}
