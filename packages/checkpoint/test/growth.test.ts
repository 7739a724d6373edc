import { connectPostgres, postgresDatabase } from '@gw/postgres'
import { freshDatabase } from '@gw/services'
import type { Connection, SqlValue } from '@gw/sqlite'
import { type SQL, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import { expect, test } from 'vitest'
import type { CheckpointStore, RunRecord, RunStatus } from '../src/index.ts'
import { newRunId } from '../src/run-id.ts'
import { finished, unfinished } from '../src/run-record.ts'
import { postgresCheckpointStore } from '../src/stores/postgres.ts'
import { sqliteCheckpointStore } from '../src/stores/sqlite.ts'
import { procedures } from '../src/stores/sqlite-procedures.ts'
import { atEnd, processOn, sqlite } from './fixture.ts'

const runs = 100_000
const claim = { owner: 'n/1', operations: ['job'], orphans: [], alone: true, limit: 100, now: 0 }

/** Fills a store with finished runs, the newest of them the last. */
async function fill(store: CheckpointStore): Promise<void> {
  await store.open()
  const template = processOn(store).checkpoints.newRecord(false, {
    requestId: undefined,
    operation: 'job',
    version: '1',
    method: 'POST',
    route: '/jobs/:kind',
    principal: undefined,
    subject: undefined,
  })
  const over: RunRecord = { ...template, status: 'completed', owner: undefined, settled: true, expiresAt: 1 }
  const input = { url: 'http://h/', headers: [], variables: '{}', body: new Uint8Array(100) }
  for (let i = 0; i < runs; i += 1_000) {
    const unit = store.unit()
    for (let j = 0; j < 1_000; j++) unit.add(store.accept({ ...over, id: newRunId(1_000 + i + j) }, input))
    await unit.commit()
  }
}

/** What each look of start-up, listing and collection asks of the store. */
async function look(store: CheckpointStore): Promise<void> {
  await store.list({ limit: 50 })
  await store.list({ limit: 50, before: newRunId(50_000) })
  for (const status of [...unfinished, ...finished] as RunStatus[]) await store.list({ status, limit: 50 })
  await store.list({ operation: 'job', limit: 50 })
  await store.list({ principal: 'me', limit: 50 })
  await store.list({ requestId: 'r', limit: 50 })
  await store.held('n/1')
  await store.unsettled(100)
}

function median(times: readonly number[]): number {
  return [...times].sort((a, b) => a - b)[times.length >> 1]!
}

async function timesOf(reads: number, read: () => Promise<unknown>): Promise<number[]> {
  const times: number[] = []
  for (let i = 0; i < reads; i++) {
    const began = performance.now()
    await read()
    times.push(performance.now() - began)
  }
  return times
}

function said(figures: Readonly<Record<string, number>>): void {
  const texts = Object.entries(figures).map(([what, ms]) => `${what} ${ms.toFixed(1)} ms`)
  console.log(`${runs} finished runs: ${texts.join(', ')}`)
}

test('checkpoint G1, L1: 100,000 finished runs on SQLite slow neither the start nor the newest page, and their deletion stalls no request', async () => {
  const db = await sqlite()
  const store = sqliteCheckpointStore({ db })
  await fill(store)
  const next = processOn(store)
  const [startMs] = await timesOf(1, () => next.checkpoints.start())
  expect((await next.checkpoints.list()).runs).toHaveLength(50)
  const pageMs = median(await timesOf(21, () => next.checkpoints.list()))
  expect((await next.checkpoints.counts()).completed).toBe(runs)
  const collecting = next.checkpoints.collect()
  let over = false
  void collecting.then(() => {
    over = true
  })
  const answers: number[] = []
  while (!over) {
    answers.push(...(await timesOf(1, async () => expect((await next.post()).status).toBe(201))))
    // Each answer comes between two batches, not after all of them.
    if (answers.length === 1) expect((await next.checkpoints.counts()).completed).toBeGreaterThan(runs / 2)
  }
  expect(await collecting).toBeGreaterThan(0)
  expect((await next.checkpoints.counts()).completed).toBe(answers.length)
  said({
    'start-up': startMs!,
    'newest page': pageMs,
    'a request during collection (median)': median(answers),
    '(slowest)': Math.max(...answers),
  })
  // Wide enough for a busy machine; going over all runs would take longer still than that.
  expect(startMs).toBeLessThan(1_000)
  expect(pageMs).toBeLessThan(50)
}, 300_000)

test('checkpoint G1, L1: on SQLite no look at start-up, listing or collection goes over all runs or sorts them', async () => {
  const db = await sqlite()
  await sqliteCheckpointStore({ db }).open()
  const asked: (readonly [sql: string, params: readonly SqlValue[]])[] = []
  const read = (text: string, params: readonly SqlValue[]) => {
    asked.push([text, params])
    return db.reader.all<never>(text, ...params)
  }
  const reader: typeof db.reader = {
    ...db.reader,
    get: (text, ...params) => read(text, params)[0],
    all: (text, ...params) => read(text, params),
  }
  await look(sqliteCheckpointStore({ db: { ...db, reader, unit: () => db.unit() } }))
  const writer = { ...reader, run: () => 0, refuse: (reason: string) => expect.fail(reason) } as unknown as Connection
  procedures['claim']!(writer, { claim } as never)
  procedures['collect']!(writer, { now: 9, limit: 100 } as never)
  expect(asked.length).toBeGreaterThan(15)
  const plans = asked.map(([text, params]) => {
    const plan = db.reader.all<{ detail: string }>(`EXPLAIN QUERY PLAN ${text}`, ...params)
    return [text, plan.map(({ detail }) => detail).join('; ')] as const
  })
  const newest = plans[0]![0]
  for (const [text, plan] of plans) {
    // The newest page walks the table from its end, until it is full; a sort would read it whole.
    const walks = text === newest || text.includes("status = 'completed' ORDER BY id")
    if (!walks) expect.soft(plan, text).not.toMatch(/SCAN (?:gw_run\b(?! USING)|gw_run_payload)/)
    // Those that run at once, or have one request id, are few enough to sort.
    if (!/request_id = \?|status = 'running'/.test(text)) expect.soft(plan, text).not.toContain('TEMP B-TREE')
  }
})

test('checkpoint G1, L1: 100,000 finished runs on PostgreSQL are listed, claimed and collected by index', async () => {
  const client = connectPostgres(await freshDatabase())
  const db = postgresDatabase(drizzle(client))
  atEnd(async () => {
    await db.close()
    await client.end()
  })
  const store = postgresCheckpointStore({ db })
  await fill(store)
  await db.query(sql`ANALYZE gw_run`)
  const asked: SQL[] = []
  await look(
    postgresCheckpointStore({
      db: {
        define: () => {},
        query(text: SQL) {
          asked.push(text)
          return db.query(text)
        },
      } as unknown as typeof db,
    }),
  )
  for (const text of asked) {
    const rows = await db.query<{ 'QUERY PLAN': string }>(sql`EXPLAIN ${text}`)
    const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
    expect.soft(plan).not.toContain('Seq Scan on gw_run ')
    expect.soft(plan).toMatch(/Index|Bitmap/)
    const status = /status = '(?!completed)(\w+)'/.exec(plan)?.[1]
    if (status !== undefined) expect.soft(plan).not.toContain('gw_run_pkey')
  }
  expect(asked.length).toBeGreaterThan(12)
  const next = processOn(store)
  const [startMs] = await timesOf(1, () => next.checkpoints.start())
  const pageMs = median(await timesOf(21, () => next.checkpoints.list()))
  const batch = store.unit()
  let collected: unknown
  batch.add(store.collect(2, 100), (n) => {
    collected = n
  })
  const [batchMs] = await timesOf(1, () => batch.commit())
  expect(collected).toBe(100)
  expect((await next.checkpoints.counts()).completed).toBe(runs - 100)
  said({ 'start-up': startMs!, 'newest page': pageMs, 'a batch of 100 collected': batchMs! })
}, 300_000)
