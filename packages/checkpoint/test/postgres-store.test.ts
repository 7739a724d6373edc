import { connectPostgres, type PostgresTransaction, postgresDatabase } from '@gw/postgres'
import { freshDatabase } from '@gw/services'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import { describe, expect, test } from 'vitest'
import { type CheckpointStore, ParkError } from '../src/index.ts'
import { postgresCheckpointStore } from '../src/stores/postgres.ts'
import { testCheckpointStore } from '../src/testing.ts'
import { refusalOf, type Write } from '../src/unit.ts'
import { atEnd, processOn } from './fixture.ts'
import { commit, inputOf, recordOf } from './fixture-runs.ts'

describe('postgres', () => {
  testCheckpointStore(test, async () => {
    const client = connectPostgres(await freshDatabase())
    const db = postgresDatabase(drizzle(client))
    await db.migrate('user', ['CREATE TABLE ledger (id text)'])
    return {
      store: postgresCheckpointStore({ db }),
      async close() {
        await db.close()
        await client.end()
      },
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

test('checkpoint O2, C1: an outcome is judged by the row as it is, also where another process has changed it meanwhile', async () => {
  const url = await freshDatabase()
  const [owner, other] = [url, url].map((each) => {
    const client = connectPostgres(each)
    const db = postgresDatabase(drizzle(client))
    atEnd(async () => {
      await db.close()
      await client.end()
    })
    return postgresCheckpointStore({ db })
  }) as [CheckpointStore, CheckpointStore]
  await owner.open()
  const commit = async (store: CheckpointStore, write: Write) => {
    const unit = store.unit()
    unit.add(write)
    return unit.commit().then(
      () => 'committed',
      (error: unknown) => refusalOf(error)?.reason,
    )
  }
  const fields = {
    requestId: 'r',
    operation: 'job',
    version: '1',
    method: 'POST',
    route: '/',
    principal: 'ann',
  } as const
  const { checkpoints } = processOn(owner)
  const input = { url: '', headers: [], variables: '{}', body: new Uint8Array() }
  const outcome = { status: 200, headers: [], body: new TextEncoder().encode('answer'), retained: true }
  const ending = { reason: undefined, outcome, settled: true, expiresAt: 9, updatedAt: 8 }
  const accepted = async () => {
    const run = { ...checkpoints.newRecord(false, { ...fields, subject: undefined }), owner: 'a/1' }
    expect(await commit(owner, owner.accept(run, input))).toBe('committed')
    return { id: run.id, fence: run.fence }
  }

  const cancelled = await accepted()
  expect(await commit(other, other.cancel(cancelled.id, 5))).toBe('committed')
  expect(await commit(owner, owner.finish(cancelled, { ...ending, status: 'completed' }))).toBe('cancel_requested')
  expect(await commit(owner, owner.finish(cancelled, { ...ending, status: 'cancelled' }))).toBe('committed')
  expect(await other.get(cancelled.id)).toMatchObject({ status: 'cancelled', revision: 3, cancelRequested: true })

  const signalled = await accepted()
  expect(await commit(other, other.signal(signalled.id, 'go', '1', 5))).toBe('committed')
  expect(await commit(owner, owner.finish(signalled, { ...ending, status: 'completed' }))).toBe('committed')
  expect(await other.get(signalled.id)).toMatchObject({ status: 'completed', signals: 1, revision: 3 })

  const taken = await accepted()
  const claim = { owner: 'b/1', operations: ['job'], orphans: [], alone: true, limit: 9, now: 0 }
  expect(await commit(other, other.claim(claim))).toBe('committed')
  expect(await commit(owner, owner.finish(taken, { ...ending, status: 'completed' }))).toBe('lease_lost')
  expect(await other.outcome(taken.id)).toBeUndefined()

  const plain = await accepted()
  expect(await commit(owner, owner.finish(plain, { ...ending, status: 'completed' }))).toBe('committed')
  expect(await commit(owner, owner.finish(plain, { ...ending, status: 'failed' }))).toBe('already_finished')
  expect(await other.outcome(plain.id)).toEqual(outcome)
  expect(await other.counts()).toMatchObject({ running: 1, completed: 2, cancelled: 1 })
})

async function ownStore(): Promise<CheckpointStore> {
  const client = connectPostgres(await freshDatabase())
  const db = postgresDatabase(drizzle(client))
  atEnd(async () => {
    await db.close()
    await client.end()
  })
  return postgresCheckpointStore({ db })
}

test('checkpoint O3: a reason or a stage with characters that PostgreSQL does not hold ends the run like any other', async () => {
  const texts = ['nul \0 here', `${'x'.repeat(499)}😀`, 'lone \udc00 here']
  const { checkpoints, post } = processOn(await ownStore(), async (run, body) => {
    const text = texts[body as number]!
    if (text.length < 500) await run.update({ stage: text })
    throw new Error(text)
  })
  for (const [n] of texts.entries()) {
    const response = await post(n)
    const run = await checkpoints.get(response.headers.get('gw-run')!)
    expect([response.status, run?.status]).toEqual([500, 'failed'])
    expect(run!.reason!.slice(0, 4)).toBe(texts[n]!.slice(0, 4))
  }
})

test('checkpoint S5: what the function of a transaction throws fails the step, whatever its code looks like', async () => {
  const thrown = [
    Object.assign(new Error('no such file'), { code: 'ENOENT' }),
    new TypeError('fetch failed', { cause: Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }) }),
  ]
  const { post } = processOn(await ownStore(), (run, body) =>
    run
      .transaction('work', async () => {
        throw thrown[body as number]
      })
      .catch((error: Error) => `caught ${error.message}`),
  )
  for (const [n, error] of thrown.entries()) {
    const response = await post(n)
    expect([response.status, await response.json()]).toEqual([201, { result: `caught ${error.message}` }])
  }
})

test('checkpoint D2: a run of another version restarts on PostgreSQL too', async () => {
  const store = await ownStore()
  const first = processOn(store, async (run) => {
    await run.step('a', () => 1)
    throw new ParkError('deploy', 0)
  })
  await first.checkpoints.start()
  first.checkpoints.serve({ routes: [] })
  const id = await first.send()
  await expect.poll(async () => (await first.checkpoints.get(id))?.status).toBe('waiting')
  await first.checkpoints.stop()
  const second = processOn(store, (run) => run.step('a', () => 'new'), {}, { version: '2', onVersion: 'restart' })
  await second.checkpoints.start()
  expect(await second.outcome(id)).toBe('201 {"result":"new"}')
  expect(await store.get(id)).toMatchObject({ version: '2' })
})

test('checkpoint T5, R2: a damaged row on PostgreSQL does not keep other runs from being taken up', async () => {
  const store = await ownStore()
  await store.open()
  const damaged = recordOf({ status: 'queued', owner: undefined, principal: 42 as never })
  const run = recordOf({ status: 'queued', owner: undefined })
  for (const each of [damaged, run]) await commit(store, store.accept(each, inputOf('x', { body: Buffer.from('{}') })))
  await expect(store.get(damaged.id)).rejects.toMatchObject({ code: 'corrupt_record' })
  const { checkpoints, outcome } = processOn(store, () => 'done')
  await checkpoints.start()
  expect(await outcome(run.id)).toBe('201 {"result":"done"}')
})

test('checkpoint S5: a transaction that PostgreSQL gives up in a conflict is done again, and any other failure is not', async () => {
  const tries: Record<string, number> = {}
  const { post } = processOn(await ownStore(), (run, body) => {
    const state = body as string
    return run
      .transaction<PostgresTransaction, number>('work', async (tx) => {
        tries[state] = (tries[state] ?? 0) + 1
        if (tries[state] < 3)
          await tx.execute(sql.raw(`DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '${state}'; END $$`))
        return tries[state]
      })
      .catch(() => 'failed')
  })
  for (const [state, result] of Object.entries({ '40001': 3, '40P01': 3, '23505': 'failed' }))
    expect(await (await post(state)).json()).toEqual({ result })
  expect(tries).toEqual({ '40001': 3, '40P01': 3, '23505': 1 })
})
