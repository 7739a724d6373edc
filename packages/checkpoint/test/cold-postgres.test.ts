import { randomBytes } from 'node:crypto'
import { connectPostgres, type PostgresTransaction, postgresDatabase } from '@gw/postgres'
import { freshDatabase } from '@gw/services'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import { describe, expect, onTestFinished, test } from 'vitest'
import { postgresCheckpointStore } from '../src/stores/postgres.ts'
import { sealedCheckpointStore } from '../src/stores/sealed.ts'
import { restore, tieredCheckpointStore } from '../src/stores/tiered.ts'
import { testCheckpointStore } from '../src/testing.ts'
import { memoryKeyring } from './fixture-keyring.ts'
import { completedRun, freshCold, wholeOf } from './fixture-runs.ts'

const keys = { current: 'a', keys: new Map([['a', new Uint8Array(randomBytes(32))]]) }

async function database() {
  const client = connectPostgres(await freshDatabase())
  const db = postgresDatabase(drizzle(client))
  const close = async () => {
    await db.close()
    await client.end()
  }
  return { db, close, primary: postgresCheckpointStore({ db }) }
}

describe('T1, T3: sealed around tiered around PostgreSQL', () => {
  testCheckpointStore(test, async () => {
    const { db, close, primary } = await database()
    await db.migrate('user', ['CREATE TABLE ledger (id text)'])
    return {
      store: sealedCheckpointStore({ store: tieredCheckpointStore({ primary }), keys }),
      close,
      ledger: {
        async within(transaction, id) {
          await (transaction as PostgresTransaction).execute(sql`INSERT INTO ledger VALUES (${id})`)
        },
        count: async (id) =>
          Number((await db.query<{ n: string }>(sql`SELECT count(*) AS n FROM ledger WHERE id = ${id}`))[0]!.n),
      },
    }
  })
})

test('checkpoint T1, T2: runs on PostgreSQL move, are backed up, and come back into another database as they were', async () => {
  const [here, there] = [await database(), await database()]
  onTestFinished(async () => {
    await here.close()
    await there.close()
  })
  const { cold } = await freshCold()
  const keyring = memoryKeyring()
  const clock = { now: 1_700_000_000_000 + 86_400_000 }
  const tiers = tieredCheckpointStore({
    primary: here.primary,
    cold,
    coldAfterMs: 1_000,
    backupIntervalMs: 3_600_000,
    now: () => clock.now,
  })
  const store = sealedCheckpointStore({ store: tiers, keys, keyring })
  await here.primary.open()
  const runs = await Promise.all(
    Array.from({ length: 12 }, (_, i) =>
      completedRun(store, `run ${i}`, {
        subject: i % 2 === 0 ? 'ann' : undefined,
        ...(i < 6 ? {} : { updatedAt: clock.now, createdAt: clock.now }),
      }),
    ),
  )
  const before = await Promise.all(runs.map(({ id }) => wholeOf(store, id)))
  await tiers.moveCold()
  await tiers.backup()
  expect(tiers.tiers()).toMatchObject({ cold: { moved: 6, conflicts: 0 }, backup: { runs: 6 } })
  expect(await Promise.all(runs.map(({ id }) => wholeOf(store, id)))).toEqual(before)
  expect(await restore({ cold, into: there.primary, now: () => clock.now })).toMatchObject({ runs: 12, unfinished: 0 })
  const again = sealedCheckpointStore({ store: there.primary, keys, keyring })
  expect(await Promise.all(runs.map(({ id }) => wholeOf(again, id)))).toEqual(before)
  await keyring.erase('ann')
  const reasons = (await again.list({ limit: 20 })).map(({ subject, reason }) => `${subject} ${reason}`)
  expect(new Set(reasons)).toEqual(new Set(['ann payload_erased', 'undefined undefined']))
})
