import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sqliteCheckpointStore } from '@gw/checkpoint/sqlite'
import { testCheckpointStore } from '@gw/checkpoint/testing'
import { sqliteDedupStore } from '@gw/dedup/sqlite'
import { testDedupStore } from '@gw/dedup/testing'
import { sqliteEventStore } from '@gw/events/sqlite'
import { testEventLog } from '@gw/events/testing'
import { type Database, openDatabase } from '@gw/sqlite'
import { type Proof, proof, same } from '../proof.ts'

async function fresh(): Promise<{ readonly db: Database; close(): Promise<void> }> {
  const directory = mkdtempSync(join(tmpdir(), 'gw-runtimes-'))
  const db = await openDatabase({ directory: join(directory, 'data') })
  return {
    db,
    async close() {
      await db.close()
      rmSync(directory, { recursive: true })
    },
  }
}

export const checkpoint: Proof = proof((test) =>
  testCheckpointStore(test, async () => {
    const { db, close } = await fresh()
    await db.migrate('user', ['CREATE TABLE ledger (id TEXT)'])
    return {
      store: sqliteCheckpointStore({ db }),
      close,
      ledger: {
        statement: (id) => ['INSERT INTO ledger VALUES (?)', [id]],
        broken: () => ['INSERT INTO absent VALUES (1)'],
        count: async (id) => db.reader.get<{ n: number }>('SELECT count(*) AS n FROM ledger WHERE id = ?', id)?.n ?? 0,
      },
    }
  }),
)

export const dedup: Proof = proof((test) =>
  testDedupStore(test, async () => {
    let ms = 1
    const { db, close } = await fresh()
    const options = { db, now: () => ms, monotonic: () => ms }
    const [store, second] = [sqliteDedupStore(options), sqliteDedupStore(options)]
    await Promise.all([store.open(), second.open()])
    return {
      store,
      second,
      async advance(by) {
        ms += by
      },
      close,
    }
  }),
)

export const events: Proof = proof((test) =>
  testEventLog({
    test,
    create: async () => {
      const { db, close } = await fresh()
      const store = sqliteEventStore({ db })
      await store.open()
      return { store, close }
    },
  }),
)

export const database: Proof = proof((test) => {
  test('a unit that ends the transaction of all is refused, and its neighbours are kept', async () => {
    const { db, close } = await fresh()
    await db.migrate('test', [
      'CREATE TABLE item (key TEXT PRIMARY KEY, value TEXT)',
      "CREATE TRIGGER stop BEFORE INSERT ON item WHEN new.key = 'stop' BEGIN SELECT RAISE(ROLLBACK, 'stopped'); END",
    ])
    const procedure = new URL('./item.ts#put', import.meta.url).href
    const answers = await Promise.allSettled(
      ['a', 'b', 'stop', 'c'].map((key) => db.write({ procedure, args: { key, value: 'v' } })),
    )
    same(
      answers.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'rejected', 'fulfilled'],
    )
    same(
      db.reader.get<{ keys: string }>('SELECT group_concat(key) AS keys FROM (SELECT key FROM item ORDER BY key)')
        ?.keys,
      'a,b,c',
    )
    await close()
  })
  test('a write that was acknowledged is there after the database was closed and opened again', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'gw-runtimes-'))
    const [first, procedure] = [
      await openDatabase({ directory: join(directory, 'data') }),
      new URL('./item.ts#put', import.meta.url).href,
    ]
    await first.migrate('test', ['CREATE TABLE item (key TEXT PRIMARY KEY, value TEXT)'])
    await Promise.all(
      Array.from({ length: 50 }, (_, i) => first.write({ procedure, args: { key: `k${i}`, value: 'v' } })),
    )
    await first.close()
    const second = await openDatabase({ directory: join(directory, 'data') })
    same(second.reader.get<{ n: number }>('SELECT count(*) AS n FROM item')?.n, 50)
    await second.close()
    rmSync(directory, { recursive: true })
  })
})
