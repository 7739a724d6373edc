import { afterEach, expect, test } from 'vitest'
import { EventStore, stats } from '../src/index.ts'
import { sqliteEventStore } from '../src/stores/sqlite.ts'
import { closeDatabases, openTestDatabase } from './test-database.ts'

afterEach(closeDatabases)

test('V1: durability memory answers before the disk, says so, and is there after the interval or a stop', async () => {
  const db = await openTestDatabase()
  const events = new EventStore({ store: sqliteEventStore({ db }), flushIntervalMs: 60_000 })
  const appended = await events.append('a', {}, { durability: 'memory' })
  expect(appended).toMatchObject({ durability: 'memory', position: undefined })
  expect([events.buffered.events, (await events.query()).events.length]).toEqual([1, 0])
  expect(await stats(events)).toMatchObject({ buffered: 1, head: '0' })
  await events.stop()
  const again = new EventStore({ store: sqliteEventStore({ db }) })
  expect((await again.query()).events.map(({ id }) => id)).toEqual([appended.id])
  expect((await again.append('b', {}, { durability: 'os' })).durability).toBe('os')
  expect((await again.append('b', {})).durability).toBe('fsync')
})

test('V1: a store that takes nothing loses nothing and drops nothing: callers wait, and all is there when it works again', async () => {
  const db = await openTestDatabase()
  const store = sqliteEventStore({ db })
  let broken = true
  const flaky = {
    ...store,
    unit: () => (broken ? { add: () => {}, commit: () => Promise.reject(new Error('down')) } : store.unit()),
  }
  await new EventStore({ store }).start()
  const events = new EventStore({ store: flaky, flushIntervalMs: 5, maxPending: 10 })
  let answered = 0
  const appends = Array.from({ length: 30 }, async (_, i) => {
    await events.append('a', { i }, { durability: 'memory' })
    answered++
  })
  while (events.buffered.failure === undefined) await new Promise((resolve) => setTimeout(resolve, 1))
  expect([answered, events.buffered.events]).toEqual([10, 10])
  broken = false
  await Promise.all(appends)
  await events.stop()
  const { events: found } = await new EventStore({ store }).query()
  expect(found.map(({ data }) => (data as { i: number }).i).sort((a, b) => a - b)).toEqual(
    Array.from({ length: 30 }, (_, i) => i),
  )
})

test('V1: a refused disk rejects the append that waited for it, and the next one works', async () => {
  const db = await openTestDatabase()
  const store = sqliteEventStore({ db })
  let broken = false
  const flaky = {
    ...store,
    unit: () => (broken ? { add: () => {}, commit: () => Promise.reject(new Error('down')) } : store.unit()),
  }
  const events = new EventStore({ store: flaky })
  await events.append('a', {})
  broken = true
  await expect(events.append('b', {})).rejects.toThrow('down')
  broken = false
  await events.append('c', {})
  expect((await events.query()).events.map(({ type }) => type)).toEqual(['a', 'c'])
})

test('V1: events whose outcome was not known, and those that came since, are all there once', async () => {
  const store = sqliteEventStore({ db: await openTestDatabase() })
  let unknown = false
  const flaky = {
    ...store,
    unit: () => {
      const unit = store.unit()
      const commit = async () => {
        const reached = await unit.commit()
        if (unknown) throw new Error('the connection ended')
        return reached
      }
      return { add: unit.add.bind(unit), commit }
    },
  }
  const events = new EventStore({ store: flaky, flushIntervalMs: 1 })
  await events.start()
  unknown = true
  await events.append('a', 1, { durability: 'memory' })
  while (events.buffered.failure === undefined) await new Promise((resolve) => setImmediate(resolve))
  await events.append('a', 2, { durability: 'memory' })
  unknown = false
  await events.stop()
  expect((await new EventStore({ store }).query()).events.map(({ data }) => data)).toEqual([1, 2])
})

test('V2: a buffered repetition is stored once, and an id that another event has holds back nobody', async () => {
  const store = sqliteEventStore({ db: await openTestDatabase() })
  const events = new EventStore({ store, flushIntervalMs: 60_000 })
  await events.append('a', 'old', { id: 'taken' })
  for (const [data, id] of [
    [1, 'one'],
    [1, 'one'],
    ['other', 'taken'],
    [2, 'two'],
  ])
    await events.append('a', data, { id: id as string, durability: 'memory' })
  await events.stop()
  expect(events.buffered).toMatchObject({ events: 0, failure: { code: 'id_conflict' } })
  expect((await new EventStore({ store }).query()).events.map(({ data }) => data)).toEqual(['old', 1, 2])
})
