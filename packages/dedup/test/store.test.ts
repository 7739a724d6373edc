import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openDatabase } from '@gw/sqlite'
import { describe, expect, test } from 'vitest'
import { memoryDedupStore } from '../src/stores/memory.ts'
import { sqliteDedupStore } from '../src/stores/sqlite.ts'
import { testDedupStore } from '../src/testing.ts'

describe('memory', () => {
  testDedupStore(test, async () => {
    let ms = 1
    return {
      store: memoryDedupStore({ monotonic: () => ms }),
      async advance(by) {
        ms += by
      },
      async close() {},
    }
  })
})

describe('SQLite', () => {
  testDedupStore(test, async () => {
    let ms = 1
    const db = await openDatabase({ directory: join(mkdtempSync(join(tmpdir(), 'gw-dedup-')), 'data') })
    const options = { db, now: () => ms, monotonic: () => ms }
    const [store, second] = [sqliteDedupStore(options), sqliteDedupStore(options)]
    await Promise.all([store.open(), second.open()])
    return {
      store,
      second,
      async advance(by) {
        ms += by
      },
      close: () => db.close(),
    }
  })

  test('X1: after a restart the leases of the process before have ended, and fences go on growing', async () => {
    const directory = join(mkdtempSync(join(tmpdir(), 'gw-dedup-')), 'data')
    const claim = {
      key: 'k',
      token: 't',
      fingerprint: 'f',
      principalHash: 'p',
      link: undefined,
      leaseMs: 60_000,
      windowMs: 60_000,
      replaces: undefined,
    }
    const before = await openDatabase({ directory })
    const store = sqliteDedupStore({ db: before })
    await store.open()
    const first = await store.tryClaim(claim)
    await before.close()
    const after = await openDatabase({ directory })
    const again = sqliteDedupStore({ db: after })
    await again.open()
    expect(await again.get('k')).toMatchObject({ state: 'in_flight', leaseRemainingMs: 0, token: 't' })
    const second = await again.tryClaim({ ...claim, token: 'u', replaces: 't' })
    if (first.kind !== 'claimed' || second.kind !== 'claimed') throw new Error('expected two claims')
    expect(second.fence).toBeGreaterThan(first.fence)
    await after.close()
  })
})
