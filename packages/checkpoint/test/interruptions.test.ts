import { Hono, type MiddlewareHandler } from 'hono'
import { expect, test } from 'vitest'
import type { CheckpointStore, Run, Unit } from '../src/index.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { gate, processOn } from './fixture.ts'

/** A store of which a test may change what a commit does. */
function interrupted(commit: (unit: Unit) => Promise<'memory'>): CheckpointStore {
  const store = memoryCheckpointStore()
  return {
    ...store,
    unit() {
      const unit = store.unit()
      return { add: unit.add.bind(unit), commit: () => commit(unit) }
    },
  }
}

const unknown = () => Object.assign(new Error('no answer within the deadline'), { code: 'unknown' })
const commitOf = (unit: Unit) => unit.commit() as Promise<'memory'>

test("checkpoint R4: a run whose store does not say what became of a step is answered 503 with its id, not with its handler's error", async () => {
  let lost = false
  const store = interrupted(async (unit) => {
    if (!lost) return commitOf(unit)
    lost = false
    throw unknown()
  })
  let entries = 0
  const handler = async (run: Run) => {
    lost = ++entries === 1
    try {
      return await run.step('charge', () => 'charged')
    } finally {
      // The error comes out of the handler a little later than the run is stopped.
      for (let i = 0; i < 50; i++) await undefined
    }
  }
  // Whatever stands around the route gives a late error the time to take the answer's place.
  const around: MiddlewareHandler = async (_, next) => {
    await next()
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  const { post, outcome } = processOn(store, handler, {}, { around })
  const response = await post()
  expect(response.status).toBe(503)
  expect(await response.json()).toMatchObject({ code: 'run_interrupted' })
  expect(response.headers.get('retry-after')).toBe('1')
  expect(await outcome(response.headers.get('gw-run')!)).toBe('201 {"result":"charged"}')
})

test('checkpoint C1: cancelling reaches a run that sleeps beside a step which is still under way', async () => {
  const step = gate()
  const begun = gate()
  const { checkpoints, send, outcome } = processOn(undefined, (run) =>
    Promise.all([
      run.sleep('nap', 60_000),
      run.step('long', () => {
        begun.open()
        return step.passed
      }),
    ]),
  )
  const id = await send()
  await begun.passed
  await expect.poll(() => checkpoints.steps(id)).toHaveLength(1)
  await checkpoints.cancel(id, { actor: 'test' })
  // The step ends, and with it all that is under way: nothing is left that could notice.
  step.open()
  expect(await outcome(id)).toContain('409')
})

test('checkpoint C1: cancelling reaches a run that is about to sleep and to wait for a signal', async () => {
  for (const wait of ['sleep', 'signal'] as const) {
    let cancel: (() => Promise<unknown>) | undefined
    const store = interrupted(async (unit) => {
      const cancelling = cancel
      cancel = undefined
      await cancelling?.()
      return commitOf(unit)
    })
    const { checkpoints, send, outcome } = processOn(store, async (run) => {
      // Cancelled by another process, while what says that it waits is on its way to the store.
      cancel = async () => {
        const elsewhere = store.unit()
        elsewhere.add(store.cancel(run.id, 0))
        await elsewhere.commit()
      }
      return wait === 'sleep' ? run.sleep('nap', 60_000) : run.waitFor('go')
    })
    const id = await send()
    expect(await outcome(id)).toContain('409')
    expect((await checkpoints.get(id))?.status).toBe('cancelled')
  }
})

test('checkpoint S3, C1: a run that is cancelled while it goes over what it kept takes all of that back', async () => {
  const undone: string[] = []
  const entered = gate()
  const slow = gate()
  const store = memoryCheckpointStore({ shared: true })
  const handler = async (run: Run, life: number) => {
    if (life === 2) {
      entered.open()
      await slow.passed
    }
    await run.step('charge', () => 1, { compensate: () => undone.push('charge') })
    return run.step('ship', () => (life === 1 ? new Promise(() => {}) : 2))
  }
  const first = processOn(store, (run) => handler(run, 1), { leaseMs: 300, nodeId: 'a' })
  const id = await first.send()
  await expect.poll(() => store.steps(id)).toHaveLength(1)
  await first.checkpoints.stop({ gracefulShutdownMs: 0 })
  let lives = 1
  const second = processOn(store, (run) => handler(run, ++lives), { leaseMs: 60_000, nodeId: 'b' })
  await second.checkpoints.start()
  await entered.passed
  await second.checkpoints.cancel(id, { actor: 'test' })
  slow.open()
  expect(await second.outcome(id)).toContain('409')
  expect(undone).toEqual(['charge'])
})

test('checkpoint S3: a cancellation that is told again does not cut compensations short', async () => {
  const undone: string[] = []
  const entered = gate()
  const slow = gate()
  let entries = 0
  const { checkpoints, send, outcome } = processOn(undefined, async (run) => {
    if (++entries === 2) {
      entered.open()
      await slow.passed
    }
    await run.step('charge', () => 1, { compensate: () => undone.push('charge') })
    await run.waitFor('go')
  })
  const id = await send()
  await expect.poll(async () => (await checkpoints.get(id))?.status).toBe('waiting')
  const cancelled = checkpoints.cancel(id, { actor: 'test' })
  await entered.passed
  await checkpoints.cancel(id, { actor: 'somebody else' })
  slow.open()
  await cancelled
  expect(await outcome(id)).toContain('409')
  expect(undone).toEqual(['charge'])
  expect(entries).toBe(2)
})

test('checkpoint R2: a run that takes its effects back goes on after a write whose fate is not known', async () => {
  let lose = 0
  const store = interrupted(async (unit) => {
    if (lose > 0 && --lose === 0) throw unknown()
    return commitOf(unit)
  })
  const undone: string[] = []
  const { checkpoints, send, outcome } = processOn(store, async (run) => {
    await run.step('charge', () => 1, {
      compensate: async () => {
        undone.push('charge')
        // The cancellation is told again, as with every heartbeat, and then the write that follows gets no answer.
        await checkpoints.cancel(run.id, { actor: 'somebody else' })
        if (undone.length === 1) lose = 1
      },
    })
    await run.waitFor('go')
  })
  const id = await send()
  await expect.poll(async () => (await checkpoints.get(id))?.status).toBe('waiting')
  await checkpoints.cancel(id, { actor: 'test' })
  expect(await outcome(id)).toContain('409')
  expect((await checkpoints.get(id))?.status).toBe('cancelled')
  expect(undone).toEqual(['charge', 'charge'])
})

test('checkpoint S3: a step whose fate was not known when its run was cancelled is taken back if it was kept', async () => {
  let reply: Promise<void> | undefined
  const store = interrupted(async (unit) => {
    const lost = reply
    reply = undefined
    await commitOf(unit)
    if (lost !== undefined) {
      await lost
      throw unknown()
    }
    return 'memory'
  })
  const undone: string[] = []
  const answered = gate()
  let entries = 0
  const { checkpoints, send, outcome } = processOn(store, async (run) => {
    const first = ++entries === 1
    const charge = () => {
      if (first) reply = answered.passed
      return 1
    }
    await run.step('charge', charge, { compensate: () => undone.push('charge') })
    await run.waitFor('go')
  })
  const id = await send()
  await expect.poll(() => checkpoints.steps(id)).toHaveLength(1)
  await checkpoints.cancel(id, { actor: 'test' })
  answered.open()
  expect(await outcome(id)).toContain('409')
  expect(undone).toEqual(['charge'])
})

test('checkpoint R1, R4: a run that comes back to its process while its life before goes on there is not taken again and again', async () => {
  const store = memoryCheckpointStore({ shared: true })
  const entered = [gate(), gate()]
  const go = [gate(), gate()]
  let lives = 0
  const { checkpoints, send, outcome } = processOn(store, async (run) => {
    const life = lives++
    entered[life]?.open()
    await run.step('work', () => go[life]?.passed)
    return run.fence
  })
  const id = await send()
  await entered[0]!.passed
  const elsewhere = store.unit()
  const claim = { owner: 'other/1', operations: ['job'], orphans: [], alone: true, limit: 1, now: 0 }
  elsewhere.add(store.claim(claim))
  await elsewhere.commit()
  // The other is dead at once: it never held a lease.
  await checkpoints.sweep()
  await entered[1]!.passed
  go[0]!.open()
  await new Promise((resolve) => setTimeout(resolve, 20))
  await checkpoints.sweep()
  expect([lives, (await checkpoints.get(id))?.fence]).toEqual([2, 3])
  go[1]!.open()
  expect(await outcome(id)).toBe('201 {"result":3}')
})

test('checkpoint R1, G1: a run that is ended elsewhere and collected while its taker reads it is let go of without an error', async () => {
  const memory = memoryCheckpointStore()
  const errors: unknown[] = []
  const left = processOn(memory, () => new Promise(() => {}))
  const id = await left.send()
  await expect.poll(() => left.checkpoints.live).toBe(1)
  let collected = false
  const store: CheckpointStore = {
    ...memory,
    async input(run) {
      const { fence } = (await memory.get(run))!
      const unit = memory.unit()
      const outcome = { status: 200, headers: [], body: new Uint8Array(), retained: true }
      const ending = {
        status: 'completed',
        reason: undefined,
        outcome,
        settled: true,
        expiresAt: 0,
        updatedAt: 0,
      } as const
      unit.add(memory.finish({ id: run, fence }, ending))
      unit.add(memory.collect(1, 9))
      await unit.commit()
      collected = true
      return memory.input(run)
    },
  }
  const taker = processOn(store, () => 'never', { onError: (error) => errors.push(error) })
  await taker.checkpoints.start()
  expect([collected, errors, await taker.checkpoints.get(id), taker.checkpoints.live]).toEqual([true, [], undefined, 0])
})

test('checkpoint O4: a run that was precluded is not accepted by a write that comes late, and nobody is attached to it', async () => {
  const store = memoryCheckpointStore()
  const { checkpoints, post, outcome } = processOn(store, () => 'ran')
  const late: (() => Promise<unknown>)[] = []
  const { unit } = store
  store.unit = () => {
    const made = unit()
    return {
      add: made.add.bind(made),
      // It is on its way for longer than anybody waits.
      commit: () => {
        late.push(() => made.commit())
        return Promise.reject(Object.assign(new Error('no answer'), { code: 'unknown' }))
      },
    }
  }
  await checkpoints.start()
  const response = await post()
  store.unit = unit
  const id = response.headers.get('gw-run')!
  expect([response.status, await checkpoints.get(id)]).toEqual([503, undefined])
  expect([await checkpoints.preclude(id), await checkpoints.preclude(id)]).toEqual([true, true])
  await expect(late.at(-1)!()).rejects.toMatchObject({ reason: 'exists' })
  const app = new Hono().get('/', async (c) => (await checkpoints.attach(c, id)) ?? c.text('not attached'))
  expect(await (await app.request('/')).text()).toBe('not attached')
  expect(await checkpoints.get(id)).toMatchObject({ status: 'cancelled', settled: true })
  await expect(checkpoints.retry(id, { actor: 'me' })).rejects.toMatchObject({ code: 'not_resumable' })
  await expect(checkpoints.fork(id, { actor: 'me' })).rejects.toMatchObject({ code: 'not_resumable' })
  const accepted = (await post()).headers.get('gw-run')!
  expect([await checkpoints.preclude(accepted), await outcome(accepted)]).toEqual([false, '201 {"result":"ran"}'])
})
