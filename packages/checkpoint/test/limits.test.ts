import { expect, test, vi } from 'vitest'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { sqliteCheckpointStore } from '../src/stores/sqlite.ts'
import { runtimeTimers, type Timers } from '../src/timers.ts'
import { gate, processOn, sqlite } from './fixture.ts'
import { commit, inputOf, recordOf } from './fixture-runs.ts'

test('checkpoint W1: a period that no timer can hold is waited for, not over at once', () => {
  vi.useFakeTimers()
  const over: number[] = []
  for (const ms of [2 ** 31, Number.POSITIVE_INFINITY]) runtimeTimers.setTimeout(() => over.push(ms), ms)
  vi.advanceTimersByTime(86_400_000)
  vi.useRealTimers()
  expect(over).toEqual([])
})

test('checkpoint W1: `runTimeoutMs` ends a run that was queued, or resumed, too', async () => {
  const store = memoryCheckpointStore()
  const { send, outcome } = processOn(
    store,
    (run) => new Promise((_, reject) => run.signal.addEventListener('abort', () => reject(run.signal.reason))),
    { runTimeoutMs: 20 },
  )
  expect(await outcome(await send())).toContain('409')
})

for (const [name, make] of [
  ['memory', async () => memoryCheckpointStore()],
  ['SQLite', async () => sqliteCheckpointStore({ db: await sqlite() })],
] as const) {
  test(`checkpoint R2: a run that is due and that nobody here can run does not keep the sweep going (${name})`, async () => {
    const store = await make()
    await store.open()
    for (const wakeAt of [1, Date.now() + 86_400_000]) {
      const run = recordOf({ operation: 'gone' })
      const suspension = { status: 'waiting', reason: '', wakeAt, attempt: 1, updatedAt: 1 } as const
      await commit(store, store.accept(run, inputOf('x')), store.suspend(run, suspension))
    }
    const delays: number[] = []
    const timers: Timers = {
      ...runtimeTimers,
      setTimeout(work, afterMs) {
        delays.push(afterMs)
        return runtimeTimers.setTimeout(work, afterMs)
      },
    }
    const { checkpoints } = processOn(store, () => 1, { timers })
    await checkpoints.start()
    expect(Math.min(...delays)).toBeGreaterThan(500)
  })
}

test('checkpoint P9: any run that ends makes room for one that is queued', async () => {
  const gates = [gate(), gate(), gate()]
  let entered = 0
  const { checkpoints, post, send, outcome } = processOn(
    memoryCheckpointStore(),
    async () => {
      await gates[entered++]!.passed
      return 1
    },
    { maxConcurrentRuns: 2, leaseMs: 3_600_000 },
  )
  const first = post()
  await expect.poll(() => entered).toBe(1)
  const second = post()
  await expect.poll(() => entered).toBe(2)
  const id = await send()
  await checkpoints.sweep()
  gates[0]!.open()
  gates[2]!.open()
  expect((await first).status).toBe(201)
  expect(await outcome(id)).toContain('201')
  gates[1]!.open()
  expect((await second).status).toBe(201)
})

test('checkpoint P9: requests that come at once are not more than may run at once', async () => {
  const go = gate()
  let [running, most] = [0, 0]
  const { checkpoints, post } = processOn(
    memoryCheckpointStore(),
    async () => {
      most = Math.max(most, ++running)
      await go.passed
      running--
    },
    { maxConcurrentRuns: 2 },
  )
  await checkpoints.start()
  const answers = Array.from({ length: 10 }, () => post())
  await expect.poll(async () => (await checkpoints.counts()).queued).toBe(8)
  go.open()
  for (const answer of answers) expect((await answer).status).toBe(201)
  expect(most).toBe(2)
})
