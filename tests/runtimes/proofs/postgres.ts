import { postgresCheckpointStore } from '@gw/checkpoint/postgres'
import { testCheckpointStore } from '@gw/checkpoint/testing'
import { postgresDedupStore } from '@gw/dedup/postgres'
import { testDedupStore } from '@gw/dedup/testing'
import { postgresEventStore } from '@gw/events/postgres'
import { testEventLog } from '@gw/events/testing'
import { ConnectionPool } from '@gw/pool'
import { postgresFactory } from '@gw/pool/postgres'
import { connectPostgres, type PostgresDatabase, type PostgresTransaction, postgresDatabase } from '@gw/postgres'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import { type Proof, proof, same } from '../proof.ts'

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

interface Opened {
  readonly db: PostgresDatabase
  close(): Promise<void>
}

function open(url: string): Opened {
  const client = connectPostgres(url, { maxConnections: 4 })
  const db = postgresDatabase(drizzle(client))
  return {
    db,
    async close() {
      await db.close()
      await client.end()
    },
  }
}

/** The stores' suites, the pool and the database itself on a PostgreSQL server. */
export function postgresProofs(serverUrl: string): Record<string, Proof> {
  async function statement(url: string, text: string): Promise<void> {
    // Making a database may take its time on a busy disk.
    const client = connectPostgres(url, { maxConnections: 1, deadlineMs: 120_000 })
    await client.unsafe(text)
    await client.end()
  }

  async function made(): Promise<string> {
    const name = `gw_${crypto.randomUUID().replaceAll('-', '')}`
    await statement(serverUrl, `CREATE DATABASE ${name}`)
    const url = new URL(serverUrl)
    url.pathname = `/${name}`
    return url.href
  }
  let database: Promise<string> | undefined

  /** The database of this process, emptied, as so many processes see it. */
  async function fresh(processes: number): Promise<{ readonly views: readonly Opened[]; close(): Promise<void> }> {
    database ??= made()
    const url = await database
    await statement(url, 'DROP SCHEMA public CASCADE; CREATE SCHEMA public')
    const views = Array.from({ length: processes }, () => open(url))
    return {
      views,
      async close() {
        for (const { close } of views) await close()
      },
    }
  }

  const log = (mode: 'strict' | 'concurrent') =>
    proof((test) =>
      testEventLog({
        test,
        create: async () => {
          const { views, close } = await fresh(2)
          const [store, other] = views.map(({ db }) => postgresEventStore({ db, mode }))
          await store!.open()
          await other!.open()
          return { store: store!, other: other!, close }
        },
      }),
    )

  return {
    checkpoint: proof((test) =>
      testCheckpointStore(test, async () => {
        const { views, close } = await fresh(1)
        const { db } = views[0]!
        await db.migrate('user', ['CREATE TABLE ledger (id text)'])
        return {
          store: postgresCheckpointStore({ db }),
          close,
          ledger: {
            async within(transaction, id) {
              await (transaction as PostgresTransaction).execute(sql`INSERT INTO ledger VALUES (${id})`)
            },
            count: async (id) =>
              Number((await db.query<{ n: string }>(sql`SELECT count(*) AS n FROM ledger WHERE id = ${id}`))[0]!.n),
          },
        }
      }),
    ),
    // Keys are random, so that one database does for all.
    dedup: proof(
      (test) => {
        let shared: ReturnType<typeof fresh> | undefined
        testDedupStore(test, async () => {
          shared ??= fresh(2)
          const [store, second] = (await shared).views.map(({ db }) => postgresDedupStore({ db }))
          await Promise.all([store!.open(), second!.open()])
          return { store: store!, second: second!, leaseMs: 1_500, advance: sleep, async close() {} }
        })
      },
      { atOnce: true },
    ),
    strict: log('strict'),
    concurrent: log('concurrent'),
    database: proof((test) => {
      test('units of one turn share a transaction, one that breaks a constraint fails alone, and all are there for another process', async () => {
        const { views, close } = await fresh(2)
        try {
          const [{ db }, { db: other }] = views as [Opened, Opened]
          await db.migrate('test', ['CREATE TABLE item (key text PRIMARY KEY)'])
          db.define<{ readonly key: string }>('test.put', {
            locks: () => [],
            async run(transaction, batch) {
              for (const { key } of batch) await transaction.execute(sql`INSERT INTO item VALUES (${key})`)
              return batch.map(() => ({ result: undefined }))
            },
          })
          const put = async (key: string) => {
            const unit = db.unit()
            unit.add({ procedure: 'test.put', args: { key } })
            return unit.commit().then(
              () => 'committed',
              (error: { readonly code?: unknown }) => error.code,
            )
          }
          const ends = await Promise.all([...Array.from({ length: 20 }, (_, i) => put(`k${i}`)), put('k0')])
          same(ends.filter((end) => end === 'committed').length, 20)
          same(ends.filter((end) => end === 'constraint').length, 1)
          const [row] = await other.query<{ n: number }>(sql`SELECT count(*)::int AS n FROM item`)
          same(row?.n, 20)
        } finally {
          await close()
        }
      })
    }),
    pool: proof((test) => {
      test('twenty queries share two connections, and a drain closes both', async () => {
        const pool = new ConnectionPool({ name: 'main', min: 0, max: 2 })
        const database = pool.register('database', postgresFactory({ url: serverUrl }))
        const backends = await Promise.all(
          Array.from({ length: 20 }, () =>
            database.use(async (connection) => {
              const [row] = await connection<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`
              return row?.pid
            }),
          ),
        )
        same(new Set(backends).size <= 2 && backends.every((pid) => typeof pid === 'number'), true)
        same(await pool.drain(), { forced: 0 })
        same(pool.metrics().totalConnections, 0)
      })
    }),
  }
}
