import { afterAll, describe, test } from 'vitest'
import { memoryEventStore } from '../src/stores/memory.ts'
import { postgresEventStore } from '../src/stores/postgres.ts'
import { sqliteEventStore } from '../src/stores/sqlite.ts'
import { testEventLog } from '../src/testing.ts'
import { closeDatabases, openTestDatabase } from './test-database.ts'
import { openTestPostgres } from './test-postgres.ts'

afterAll(closeDatabases)

describe('memory', () => {
  testEventLog({
    test,
    create: async () => {
      const store = memoryEventStore()
      await store.open()
      return { store, close: async () => {} }
    },
  })
})

describe('sqlite', () => {
  testEventLog({
    test,
    create: async () => {
      const db = await openTestDatabase()
      const store = sqliteEventStore({ db })
      await store.open()
      return { store, close: () => db.close() }
    },
  })
})

for (const mode of ['strict', 'concurrent'] as const) {
  describe(`postgres, ${mode}`, () => {
    testEventLog({
      test,
      create: async () => {
        const first = await openTestPostgres()
        const second = await openTestPostgres(first.url)
        const store = postgresEventStore({ db: first.db, mode })
        const other = postgresEventStore({ db: second.db, mode })
        await store.open()
        await other.open()
        return {
          store,
          other,
          close: async () => {
            await Promise.all([first.close(), second.close()])
          },
        }
      },
    })
  })
}
