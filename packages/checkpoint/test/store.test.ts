import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openDatabase } from '@gw/sqlite'
import { describe, test } from 'vitest'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { sqliteCheckpointStore } from '../src/stores/sqlite.ts'
import { testCheckpointStore } from '../src/testing.ts'

describe('memory', () => {
  testCheckpointStore(test, async () => {
    let elapsed = 0
    return {
      store: memoryCheckpointStore({ shared: true, now: () => elapsed }),
      elapse: async (ms) => {
        elapsed += ms
      },
    }
  })
})

describe('sqlite', () => {
  testCheckpointStore(test, async () => {
    const db = await openDatabase({ directory: join(mkdtempSync(join(tmpdir(), 'gw-store-')), 'data') })
    await db.migrate('user', ['CREATE TABLE ledger (id TEXT)'])
    return {
      store: sqliteCheckpointStore({ db }),
      close: () => db.close(),
      ledger: {
        statement: (id) => ['INSERT INTO ledger VALUES (?)', [id]],
        broken: () => ['INSERT INTO absent VALUES (1)'],
        count: async (id) => db.reader.get<{ n: number }>('SELECT count(*) AS n FROM ledger WHERE id = ?', id)!.n,
      },
    }
  })
})
