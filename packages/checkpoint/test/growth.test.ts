import { expect, test } from 'vitest'
import type { RunRecord } from '../src/index.ts'
import { newRunId } from '../src/run-id.ts'
import { sqliteCheckpointStore } from '../src/stores/sqlite.ts'
import { processOn, sqlite } from './fixture.ts'

const runs = process.env['GW_TEST_LONG'] === '1' ? 100_000 : 10_000

test('G1, L1: many finished runs slow neither the start nor the newest page, and their deletion stalls no request', async () => {
  const db = await sqlite()
  const store = sqliteCheckpointStore({ db })
  await store.open()
  const maker = processOn(store)
  const template = maker.checkpoints.newRecord(false, {
    requestId: undefined,
    operation: 'job',
    version: '1',
    method: 'POST',
    route: '/jobs/:kind',
    principal: undefined,
    subject: undefined,
  })
  const finished: RunRecord = { ...template, status: 'completed', owner: undefined, settled: true, expiresAt: 1 }
  const input = { url: 'http://h/', headers: [], variables: '{}', body: new Uint8Array(100) }
  for (let i = 0; i < runs; i += 1_000) {
    const unit = store.unit()
    for (let j = 0; j < 1_000; j++) unit.add(store.accept({ ...finished, id: newRunId(1_000 + i + j) }, input))
    await unit.commit()
  }
  const next = processOn(store)
  let at = performance.now()
  await next.checkpoints.start()
  expect(performance.now() - at).toBeLessThan(1_000)
  at = performance.now()
  expect((await next.checkpoints.list()).runs).toHaveLength(50)
  expect(performance.now() - at).toBeLessThan(200)
  expect((await next.checkpoints.counts()).completed).toBe(runs)
  const collecting = next.checkpoints.collect()
  let slowestMs = 0
  let served = 0
  let over = false
  void collecting.then(() => {
    over = true
  })
  while (!over) {
    at = performance.now()
    expect((await next.post()).status).toBe(201)
    served++
    slowestMs = Math.max(slowestMs, performance.now() - at)
  }
  expect(await collecting).toBe(runs)
  expect(slowestMs).toBeLessThan(1_000)
  expect((await next.checkpoints.counts()).completed).toBe(served)
}, 120_000)
