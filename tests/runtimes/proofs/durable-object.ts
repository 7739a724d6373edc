import { sqliteCheckpointStore } from '@gw/checkpoint/sqlite'
import { testCheckpointStore } from '@gw/checkpoint/testing'
import { sqliteDedupStore } from '@gw/dedup/sqlite'
import { testDedupStore } from '@gw/dedup/testing'
import { sqliteEventStore } from '@gw/events/sqlite'
import { testEventLog } from '@gw/events/testing'
import type { StoreDatabase } from '@gw/sqlite'
import { type DurableObjectStorage, durableObjectDatabase } from '@gw/sqlite/durable-object'
import { type Proof, proof, same } from '../proof.ts'

/** A Durable Object's storage, with the means to empty it. */
export interface EmptiableStorage extends DurableObjectStorage {
  deleteAll(): Promise<void>
}

/** The stores' suites on the storage of one Durable Object, which each test finds empty. */
export function durableObjectProofs(storage: EmptiableStorage): Record<string, Proof> {
  const fresh = async (): Promise<StoreDatabase> => {
    await storage.deleteAll()
    return durableObjectDatabase(storage)
  }
  return {
    dedup: proof((test) =>
      testDedupStore(test, async () => {
        let ms = 1
        const db = await fresh()
        const options = { db, now: () => ms, monotonic: () => ms }
        const [store, second] = [sqliteDedupStore(options), sqliteDedupStore(options)]
        await Promise.all([store.open(), second.open()])
        return {
          store,
          second,
          async advance(by) {
            ms += by
          },
          async close() {},
        }
      }),
    ),
    events: proof((test) =>
      testEventLog({
        test,
        create: async () => {
          const store = sqliteEventStore({ db: await fresh() })
          await store.open()
          return { store, close: async () => {} }
        },
      }),
    ),
    checkpoint: proof((test) =>
      testCheckpointStore(test, async () => {
        const db = await fresh()
        await db.migrate('user', ['CREATE TABLE ledger (id TEXT)'])
        return {
          store: sqliteCheckpointStore({ db }),
          close: async () => {},
          ledger: {
            statement: (id) => ['INSERT INTO ledger VALUES (?)', [id]],
            broken: () => ['INSERT INTO absent VALUES (1)'],
            count: async (id) =>
              db.reader.get<{ n: number }>('SELECT count(*) AS n FROM ledger WHERE id = ?', id)?.n ?? 0,
          },
        }
      }),
    ),
    database: proof((test) => {
      const procedures = {
        put: (connection: { run(sql: string, key: string): number }, key: string) =>
          connection.run('INSERT INTO item VALUES (?)', key),
      }
      const put = (key: string) => ({ procedure: '#test.put', args: key })
      test('a unit is all or nothing, and says that more than one machine has it', async () => {
        const db = await fresh()
        await db.migrate('test', ['CREATE TABLE item (key TEXT PRIMARY KEY)'], procedures)
        const good = db.unit()
        good.add(put('a'))
        good.add(put('b'))
        same(await good.commit(), 'replicated')
        const bad = db.unit()
        bad.add(put('c'))
        bad.add(put('a'))
        same(await bad.commit().catch(({ code }: { code: string }) => code), 'constraint')
        same(db.reader.all('SELECT key FROM item ORDER BY key'), [{ key: 'a' }, { key: 'b' }])
      })
      test('a schema of newer code is refused', async () => {
        const db = await fresh()
        await db.migrate('test', ['CREATE TABLE a (n INTEGER)', 'CREATE TABLE b (n INTEGER)'])
        same(
          await db.migrate('test', ['CREATE TABLE a (n INTEGER)']).catch(({ code }: { code: string }) => code),
          'schema_too_new',
        )
      })
    }),
  }
}
