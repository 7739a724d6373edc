import { afterAll, describe, test } from 'vitest'
import { memoryEventStore } from '../src/stores/memory.ts'
import { sqliteEventStore } from '../src/stores/sqlite.ts'
import { testEventLog } from '../src/testing.ts'
import { closeDatabases, openTestDatabase } from './test-database.ts'

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
