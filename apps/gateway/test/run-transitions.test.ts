import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type EventLog, EventStore } from '@gw/events'
import { sqliteEventStore } from '@gw/events/sqlite'
import { openDatabase } from '@gw/sqlite'
import { expect, onTestFinished, test } from 'vitest'
import { transitionNotes } from '../src/run-transitions.ts'

const run = { id: 'r', owner: 'node/1', attempt: 1, recoveries: 0, reason: 'sleeps in nap#1', wakeAt: 5 }

test('gateway G10: transitions of runs reach the trail in order; beyond 5,000 that wait for it, what comes is counted and dropped', async () => {
  const db = await openDatabase({ directory: join(mkdtempSync(join(tmpdir(), 'gw-notes-')), 'data') })
  onTestFinished(() => db.close())
  const log = sqliteEventStore({ db })
  let open = () => {}
  let gate = Promise.resolve()
  const slow: EventLog = {
    ...log,
    database: log.database,
    unit(options) {
      const unit = log.unit(options)
      return { add: (write, onCommitted) => unit.add(write, onCommitted), commit: () => gate.then(() => unit.commit()) }
    },
  }
  const events = new EventStore({ store: slow, flushIntervalMs: 60_000 })
  let dropped = 0
  const errors: unknown[] = []
  const note = transitionNotes(events, { onDropped: () => dropped++, onError: (error) => errors.push(error) })
  await events.start()
  gate = new Promise((resolve) => {
    open = resolve
  })
  for (let i = 0; i < 5_600; i++) {
    note({ type: 'checkpoint.waiting', run: { ...run, attempt: i } as never })
    // The buffer takes an event within a turn.
    if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  note({ type: 'checkpoint.finished', run: run as never })
  expect(dropped).toBeGreaterThanOrEqual(500)
  open()
  await events.stop()
  const kept = await events.store.count({ after: 0n, asOf: 10_000n, limit: 10_000 })
  expect([kept + dropped, errors]).toEqual([5_600, []])
  const attempts = (await events.store.read({ after: 0n, asOf: 10_000n, limit: 10_000 })).map(
    ({ data }) => JSON.parse(data).attempt,
  )
  expect(attempts).toEqual(Array.from({ length: kept }, (_, i) => i))
})
