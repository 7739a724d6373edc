import { expect, test } from 'vitest'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { sqliteCheckpointStore } from '../src/stores/sqlite.ts'
import { runtimeTimers } from '../src/timers.ts'
import { gate, processOn, sqlite } from './fixture.ts'

const months = 90 * 86_400_000

test('checkpoint W1: periods that no timer can hold are waited for, not over at once', async () => {
  const store = memoryCheckpointStore({ shared: true })
  let beats = 0
  const { beat } = store
  store.beat = (...args) => {
    beats++
    return beat(...args)
  }
  const hold = gate()
  const { checkpoints, post } = processOn(
    store,
    async (run) => {
      await run.step('work', () => hold.passed, { timeoutMs: Number.POSITIVE_INFINITY })
      return 'done'
    },
    { runTimeoutMs: months, requestTimeoutMs: months, leaseMs: 3 * months, settleMs: months },
  )
  const answer = post()
  await expect.poll(() => checkpoints.live).toBe(1)
  const stopped = checkpoints.stop({ gracefulShutdownMs: Number.POSITIVE_INFINITY })
  const marked = gate()
  runtimeTimers.setTimeout(marked.open, 50)
  await marked.passed
  hold.open()
  expect((await answer).status).toBe(201)
  await stopped
  expect(beats).toBe(1)
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
    const left = processOn(store, (run) => run.sleep('nap', 20))
    const id = await left.send()
    await expect.poll(async () => (await left.checkpoints.get(id))?.status).toBe('waiting')
    await left.checkpoints.stop()
    const due = (await store.get(id))!.wakeAt!
    await expect.poll(() => Date.now()).toBeGreaterThan(due)
    let claims = 0
    const { claim } = store
    store.claim = (claimed) => {
      claims++
      return claim(claimed)
    }
    const { checkpoints } = processOn(store, () => 1, {}, { operation: 'another' })
    await checkpoints.start()
    const marked = gate()
    setTimeout(marked.open, 100)
    await marked.passed
    expect(claims).toBe(1)
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
