import { expect, test } from 'vitest'
import { preferenceOf } from '../src/preferences.ts'
import type { CheckpointStore } from '../src/store.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { sqliteCheckpointStore } from '../src/stores/sqlite.ts'
import { runtimeTimers } from '../src/timers.ts'
import { retryAfterOf } from '../src/upstream.ts'
import { Waits } from '../src/waits.ts'
import { gate, processOn, sqlite } from './fixture.ts'
import { commit, inputOf, recordOf } from './fixture-runs.ts'

const me = { actor: 'me' }
const never = () => new Promise<never>(() => {})
const hanging = (entered: { open(): void }) => {
  entered.open()
  return never()
}
/** No sweep comes by itself within a test. */
const rarely = { leaseMs: 3_600_000 }

/** The store, whose next commit is applied and then waits for `answer`. */
function answering(store: CheckpointStore, answer: () => Promise<void>): CheckpointStore {
  let once = true
  return {
    ...store,
    unit() {
      const unit = store.unit()
      return {
        add: unit.add.bind(unit),
        async commit() {
          const durability = await unit.commit()
          if (once) {
            once = false
            await answer()
          }
          return durability
        },
      }
    },
  }
}

/** A process that has started, and a switch after which the next commit is answered by `answer`. */
async function startedOn(
  store: CheckpointStore,
  answer: () => Promise<void>,
  handler: Parameters<typeof processOn>[1],
) {
  let current = store
  const changing: CheckpointStore = { ...store, unit: () => current.unit() }
  const process = processOn(changing, handler, rarely)
  await process.checkpoints.start()
  return {
    ...process,
    arm: () => {
      current = answering(store, answer)
    },
  }
}

test('checkpoint R1: a sweep does not take a run of this process that is just being accepted', async () => {
  const [applied, answer] = [gate(), gate()]
  let entries = 0
  const process = await startedOn(
    memoryCheckpointStore(),
    async () => {
      applied.open()
      await answer.passed
    },
    () => ++entries,
  )
  process.arm()
  const response = process.post()
  await applied.passed
  await process.checkpoints.sweep()
  answer.open()
  expect([(await response).status, entries]).toEqual([201, 1])
})

test('checkpoint A1, R2: a request, or a step, of which nobody knows whether it was kept is looked for again soon', async () => {
  const unknown = () => Promise.reject(Object.assign(new Error('no answer'), { code: 'unknown' }))
  const accepted = await startedOn(memoryCheckpointStore(), unknown, () => 'done')
  accepted.arm()
  const id = (await accepted.post()).headers.get('gw-run')!
  const process = await startedOn(memoryCheckpointStore(), unknown, (run) =>
    run.step('work', () => {
      process.arm()
      return 'kept'
    }),
  )
  const other = (await process.post()).headers.get('gw-run')!
  expect([await accepted.outcome(id), await process.outcome(other)]).toEqual([
    '201 {"result":"done"}',
    '201 {"result":"kept"}',
  ])
})

test('checkpoint R2: a run is taken over `maxRecoveries` times, and is dead at the next', async () => {
  const store = memoryCheckpointStore()
  const entered = [gate(), gate(), gate()]
  let entries = 0
  const process = () =>
    processOn(
      store,
      () => {
        entered[entries++]!.open()
        return never()
      },
      { maxRecoveries: 1 },
    )
  const id = await process().send()
  await entered[0]!.passed
  await process().checkpoints.start()
  await entered[1]!.passed
  const last = process()
  await last.checkpoints.start()
  expect([await last.outcome(id), entries]).toEqual([expect.stringContaining('run_dead'), 2])
})

test('checkpoint F1: under a coarser frequency the mark of a step that must not run twice, and one that can be taken back, are durable at once', async () => {
  const store = memoryCheckpointStore()
  const reached = gate()
  const kept: number[] = []
  const { send } = processOn(
    store,
    async (run) => {
      await run.step('plain', () => 1)
      kept.push((await store.steps(run.id)).length)
      await run.step('charge', () => 1, { compensate: () => {} })
      kept.push((await store.steps(run.id)).length)
      await run.step('send', () => hanging(reached), { onCrash: 'park' })
    },
    {},
    { frequency: { everySteps: 10 } },
  )
  const id = await send()
  await reached.passed
  expect(kept).toEqual([0, 2])
  expect((await store.steps(id)).map(({ name, state }) => `${name} ${state}`)).toEqual([
    'plain kept',
    'charge kept',
    'send started',
  ])
})

test('checkpoint S3: that a run takes its effects back is durable before the first of them is', async () => {
  const store = memoryCheckpointStore()
  const kept: string[][] = []
  const { post } = processOn(store, async (run) => {
    const compensate = async () => void kept.push((await store.steps(run.id)).map(({ state }) => state))
    await run.step('charge', () => 1, { compensate })
    throw new Error('no')
  })
  expect((await post()).status).toBe(500)
  expect(kept).toEqual([['kept', 'unwinding']])
})

test('checkpoint A3, O1: a body and an answer of exactly what is allowed are taken and kept, one byte more is not', async () => {
  const { app, checkpoints } = processOn(
    undefined,
    async (_, body) => new Response('x'.repeat(body as number)),
    { maxResponseBytes: 100 },
    { maxBodyBytes: 3 },
  )
  const statusOf = async (text: string, declared: boolean) => {
    const body = declared ? text : new Response(text).body
    const headers = declared ? { 'content-length': String(text.length) } : {}
    return app.request(new Request('http://h/jobs/a', { method: 'POST', body, headers, duplex: 'half' } as RequestInit))
  }
  for (const declared of [true, false]) {
    const whole = await statusOf('100', declared)
    const id = whole.headers.get('gw-run')!
    expect([whole.status, (await whole.text()).length]).toEqual([200, 100])
    expect(await checkpoints.outcome(id)).toMatchObject({ retained: true })
    const longer = await statusOf('101', declared)
    expect((await longer.text()).length).toBe(101)
    expect(await checkpoints.outcome(longer.headers.get('gw-run')!)).toMatchObject({ retained: false })
    expect((await statusOf('0100', declared)).status).toBe(413)
  }
})

test('checkpoint R4, R5: a process that stops does not put aside what another has taken from it meanwhile', async () => {
  const store = memoryCheckpointStore({ shared: true })
  const entered = gate()
  const { checkpoints, send } = processOn(store, () => hanging(entered), rarely)
  const id = await send()
  await entered.passed
  await commit(store, store.beat('other/1', 60_000))
  await commit(
    store,
    store.claim({ owner: 'other/1', operations: ['job'], orphans: [], alone: true, limit: 1, now: 0 }),
  )
  await checkpoints.stop({ gracefulShutdownMs: 0 })
  expect(await store.get(id)).toMatchObject({ status: 'running', owner: 'other/1', fence: 2 })
})

test('checkpoint C1: a cancelled run whose effect cannot be taken back waits for a person, and is not tried for ever', async () => {
  let tries = 0
  const { checkpoints, send } = processOn(undefined, async (run) => {
    const compensate = () => {
      tries++
      throw new Error('no')
    }
    await run.step('charge', () => 1, { compensate })
    await run.waitFor('go')
  })
  const id = await send()
  await expect.poll(async () => (await checkpoints.get(id))?.status).toBe('waiting')
  await checkpoints.cancel(id, me)
  await expect.poll(async () => (await checkpoints.get(id))?.status).toBe('parked')
  await checkpoints.sweep()
  expect([(await checkpoints.get(id))?.status, tries]).toEqual(['parked', 3])
})

test('checkpoint S6: a signal that the store alone knew of when the run was put aside is not lost', async () => {
  const { listen: _, ...deaf } = memoryCheckpointStore()
  const work = gate()
  const { checkpoints, send, outcome } = processOn(
    deaf,
    async (run) => (await Promise.all([run.waitFor('go'), run.step('work', () => work.passed)]))[0],
    rarely,
  )
  const id = await send()
  await expect.poll(async () => (await checkpoints.steps(id)).length).toBe(1)
  await commit(deaf, deaf.signal(id, 'go', '"went"', 1))
  work.open()
  expect(await outcome(id)).toBe('201 {"result":"went"}')
})

test('checkpoint S6: a signal that is told of twice is one', () => {
  const waits = new Waits(runtimeTimers)
  for (const _ of [1, 2]) waits.deliver('go', 1, '1')
  waits.deliver('go', 2, '2')
  expect([waits.signalsSeen, waits.signal('go', 1), waits.signal('go', 2)]).toEqual([2, '1', '2'])
})

test('checkpoint G1, O4: the row that keeps a run from being accepted goes at its time', async () => {
  let now = 1_000
  const { checkpoints } = processOn(undefined, () => 1, { now: () => now, retentionMs: 10 })
  expect(await checkpoints.preclude('0190a1b2-0000-7000-8000-000000000000')).toBe(true)
  expect(await checkpoints.collect()).toBe(0)
  now += 10
  expect(await checkpoints.collect()).toBe(1)
})

test('checkpoint C2: a fork of a run that changes while it is read is refused', async () => {
  const store = memoryCheckpointStore()
  const { checkpoints, post } = processOn(store, (run) => run.step('one', () => 1))
  const id = (await post()).headers.get('gw-run')!
  const { steps } = store
  store.steps = async (run) => {
    const kept = await steps(run)
    await commit(store, store.settle(run))
    return kept
  }
  await expect(checkpoints.fork(id, me)).rejects.toMatchObject({ code: 'stale' })
})

test('checkpoint W1, O3: what a client asks to wait, and an upstream to be waited for, has a bound', () => {
  expect(preferenceOf('wait=999999')).toEqual({ respondAsync: false, waitMs: 600_000 })
  expect(retryAfterOf(new Headers({ 'retry-after': '999999' }))).toBe(86_400_000)
})

test('checkpoint O3: a run waits no longer than `maxMs` between attempts', async () => {
  let entries = 0
  const handler = () => {
    if (++entries < 3) throw Object.assign(new Error('later'), { retryable: true })
    return entries
  }
  const { send, outcome } = processOn(undefined, handler, {}, { retry: { initialMs: 3_600_000, maxMs: 1 } })
  expect(await outcome(await send())).toBe('201 {"result":3}')
})

test('checkpoint W1, R5: who watches a run that this process does not run is let go when it stops, and after a retry sees the steps that come', async () => {
  const { checkpoints, send } = processOn(undefined, (run) => run.waitFor('go'))
  const id = await send()
  await expect.poll(async () => (await checkpoints.get(id))?.status).toBe('waiting')
  const seen: string[] = []
  // It saw nine steps before a retry forgot them.
  const watching = (async () => {
    for await (const event of checkpoints.watch(id, { after: '0.9' })) seen.push(event.type)
  })()
  await expect.poll(() => seen).toEqual(['status'])
  await checkpoints.stop()
  await watching
  const again = await (async () => {
    const types: string[] = []
    const { checkpoints: next } = processOn(checkpoints.store, (run) => run.waitFor('go'))
    const iterator = next.watch(id, { after: '0.9' })[Symbol.asyncIterator]()
    types.push((await iterator.next()).value!.type)
    await next.signal(id, 'go', 1, me)
    for (let { done, value } = await iterator.next(); !done; { done, value } = await iterator.next())
      types.push(value!.type)
    return types
  })()
  expect(again).toContain('step')
})

test('checkpoint M1, C1: a checkpoint that was cancelled elsewhere is not completed, and ends as cancelled', async () => {
  const { listen: _, ...deaf } = memoryCheckpointStore()
  const { checkpoints } = processOn(deaf, () => 1, rarely)
  const id = await checkpoints.create({ operation: 'by-hand' })
  await commit(deaf, deaf.cancel(id, 1))
  await expect(checkpoints.complete(id)).rejects.toMatchObject({ code: 'already_finished' })
  await checkpoints.sweep()
  expect((await checkpoints.get(id))?.status).toBe('cancelled')
})

test('checkpoint F1, R5: a run that is handed over takes along the finished steps that were to become durable later', async () => {
  const store = memoryCheckpointStore()
  const entered = gate()
  const { checkpoints, send } = processOn(
    store,
    async (run) => {
      await run.step('one', () => 1)
      await hanging(entered)
    },
    {},
    { frequency: { everySteps: 10 } },
  )
  const id = await send()
  await entered.passed
  await checkpoints.stop({ gracefulShutdownMs: 0 })
  expect([(await store.get(id))?.status, (await store.steps(id)).map(({ name }) => name)]).toEqual(['queued', ['one']])
})

test('checkpoint T5, R2: a damaged row is found by who reads it, and does not keep other runs from being taken up', async () => {
  const store = sqliteCheckpointStore({ db: await sqlite() })
  await store.open()
  // What a database gives back is not what the CRC was made of.
  const damaged = recordOf({ status: 'queued', owner: undefined, principal: 42 as never })
  const run = recordOf({ status: 'queued', owner: undefined })
  for (const each of [damaged, run]) await commit(store, store.accept(each, inputOf('x', { body: Buffer.from('{}') })))
  await expect(store.get(damaged.id)).rejects.toMatchObject({ code: 'corrupt_record' })
  const { checkpoints, outcome } = processOn(store, () => 'done')
  await checkpoints.start()
  expect(await outcome(run.id)).toBe('201 {"result":"done"}')
})

test('checkpoint C1: a cancellation is answered though effects are taken back for long, also where the clock is set back', async () => {
  let now = 1_000_000
  const { checkpoints, send } = processOn(
    undefined,
    async (run) => {
      const compensate = () => {
        now -= 3_600_000
        return never()
      }
      await run.step('charge', () => 1, { compensate })
      await run.waitFor('go')
    },
    { now: () => now, ...rarely },
  )
  const id = await send()
  await expect.poll(async () => (await checkpoints.get(id))?.status).toBe('waiting')
  expect(await checkpoints.cancel(id, me)).toBe('cancelling')
})
