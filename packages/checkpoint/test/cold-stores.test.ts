import { randomBytes } from 'node:crypto'
import { openDatabase } from '@gw/sqlite'
import { describe, test } from 'vitest'
import type { CheckpointStore } from '../src/store.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { sealedCheckpointStore } from '../src/stores/sealed.ts'
import { sqliteCheckpointStore } from '../src/stores/sqlite.ts'
import { tieredCheckpointStore } from '../src/stores/tiered.ts'
import { testCheckpointStore } from '../src/testing.ts'
import { memoryKeyring } from './fixture-keyring.ts'
import { freshCold, freshDirectory } from './fixture-runs.ts'

const keys = { current: 'a', keys: new Map([['a', randomBytes(32)]]) }

/** The suite on a store that is put around a memory store. */
function suiteAround(around: (store: CheckpointStore) => CheckpointStore | Promise<CheckpointStore>): void {
  testCheckpointStore(test, async () => {
    let elapsed = 0
    const primary = memoryCheckpointStore({ shared: true, now: () => elapsed })
    return {
      store: await around(primary),
      elapse: async (ms) => {
        elapsed += ms
      },
    }
  })
}

describe('T1: tiered around memory', () => {
  suiteAround(async (primary) => {
    const { cold } = await freshCold()
    return tieredCheckpointStore({ primary, cold, coldAfterMs: 60_000, backupIntervalMs: 60_000 })
  })
})

describe('T3: sealed around memory', () => {
  suiteAround((store) => sealedCheckpointStore({ store, keys, compressAboveBytes: 10 }))
})

describe('T5: sealed for subjects only', () => {
  suiteAround((store) => sealedCheckpointStore({ store, keyring: memoryKeyring(), subjectsOnly: true }))
})

describe('T1, T3: sealed around tiered around SQLite', () => {
  testCheckpointStore(test, async () => {
    const db = await openDatabase({ directory: freshDirectory() })
    await db.migrate('user', ['CREATE TABLE ledger (id TEXT)'])
    const store = tieredCheckpointStore({ primary: sqliteCheckpointStore({ db }) })
    return {
      store: sealedCheckpointStore({ store, keys }),
      close: async () => {
        await store.close()
        await db.close()
      },
      ledger: {
        statement: (id) => ['INSERT INTO ledger VALUES (?)', [id]],
        broken: () => ['INSERT INTO absent VALUES (1)'],
        count: async (id) => db.reader.get<{ n: number }>('SELECT count(*) AS n FROM ledger WHERE id = ?', id)!.n,
      },
    }
  })
})
