import { expect, test } from 'vitest'
import type { Run } from '../src/index.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { gate, processOn } from './fixture.ts'

const by = { actor: 'somebody' }

/** A handler that charges, which can be taken back, then sends, which cannot, and fails while it is told to. */
function saga() {
  const effects: string[] = []
  const state = { fails: true }
  const handler = async (run: Run) => {
    await run.step('charge', () => effects.push('charge'), { compensate: () => effects.push('refund') })
    await run.step('send', () => effects.push('send'))
    if (state.fails) throw Object.assign(new Error('no'), { code: 'no' })
    return 'done'
  }
  return { effects, state, handler }
}

test('checkpoint C2, D1: a retried run makes an effect again that was taken back, though what came after it was kept', async () => {
  const { effects, state, handler } = saga()
  const { checkpoints, send, outcome } = processOn(undefined, handler)
  const id = await send()
  expect(await outcome(id)).toContain('500')
  await checkpoints.retry(id, by)
  expect(await outcome(id)).toContain('500')
  state.fails = false
  await checkpoints.retry(id, by)
  expect(await outcome(id)).toBe('201 {"result":"done"}')
  expect(effects).toEqual(['charge', 'send', 'refund', 'charge', 'refund', 'charge'])
})

test('checkpoint C2: a fork of a failed run makes effects again that were taken back, and keeps the others', async () => {
  const { effects, state, handler } = saga()
  const forks: string[] = []
  const { checkpoints, send, outcome } = processOn(
    undefined,
    async (run) => {
      await handler(run)
      return run.step('last', () => effects.push('last'))
    },
    { onTransition: ({ type, run }) => type === 'checkpoint.forked' && forks.push(run.id) },
  )
  const failed = await send()
  expect(await outcome(failed)).toContain('500')
  state.fails = false
  const forked = await checkpoints.fork(failed, { ...by, fromStep: 'send' })
  expect(await outcome(forked)).toBe('201 {"result":6}')
  expect(effects).toEqual(['charge', 'send', 'refund', 'charge', 'send', 'last'])
  expect(forks).toEqual([forked])
})

test('checkpoint C1: a run that was cancelled while it was on its way to be parked is cancelled, and takes its effects back', async () => {
  // Nothing tells the process of the cancellation.
  const { listen: _, ...store } = memoryCheckpointStore()
  const undone: string[] = []
  const [entered, go] = [gate(), gate()]
  let entries = 0
  const { checkpoints, send, outcome } = processOn(store, async (run) => {
    await run.step('charge', () => 1, { compensate: () => undone.push('charge') })
    if (++entries > 1) return
    entered.open()
    await go.passed
    run.stop(Object.assign(new Error('somebody has to look'), { code: 'run_parked' }))
    await run.step('ship', () => 1)
  })
  const id = await send()
  await entered.passed
  const elsewhere = store.unit()
  elsewhere.add(store.cancel(id, 0))
  await elsewhere.commit()
  go.open()
  expect(await outcome(id)).toContain('409')
  expect([(await checkpoints.get(id))?.status, undone]).toEqual(['cancelled', ['charge']])
})

test('checkpoint C2: a step that has its value cannot be given another', async () => {
  const store = memoryCheckpointStore()
  const [one, two] = [
    { onCrash: 'park' as const, name: 'one' },
    { onCrash: 'park' as const, name: 'two' },
  ]
  const [entered, forever] = [gate(), gate<number>()]
  let entries = 0
  const handler = async (run: Run) => {
    const first = await run.step(one.name, () => 'own', one)
    const second = await run.step<string | number>(
      two.name,
      () => {
        if (++entries > 1) return 'again'
        entered.open()
        return forever.passed
      },
      two,
    )
    return [first, second]
  }
  const dead = processOn(store, handler)
  const id = await dead.send()
  await entered.passed
  const { checkpoints, outcome } = processOn(store, handler)
  await checkpoints.start()
  await expect.poll(async () => (await checkpoints.get(id))?.status).toBe('parked')
  const decide = (step: string) => checkpoints.resolve(id, { kind: 'done', step, value: 'told' }, by)
  await expect(decide('one')).rejects.toMatchObject({ code: 'not_found' })
  await decide('two')
  expect(await outcome(id)).toBe('201 {"result":["own","told"]}')
})

test('checkpoint C2: a run that is under way is not forked: its effects may be taken back at any moment', async () => {
  const go = gate()
  const { checkpoints, send, outcome } = processOn(undefined, () => go.passed)
  const id = await send()
  await expect.poll(() => checkpoints.live).toBe(1)
  await expect(checkpoints.fork(id, by)).rejects.toMatchObject({ code: 'not_resumable' })
  go.open()
  await outcome(id)
  expect(await checkpoints.fork(id, by)).not.toBe(id)
})

test('checkpoint C2, D1: a fork of a fork still knows what is to be made again, though the first never came to it', async () => {
  const effects: string[] = []
  const state = { fails: true, hangs: false }
  const { checkpoints, send, outcome } = processOn(undefined, async (run) => {
    if (state.hangs) {
      state.hangs = false
      await new Promise((_, reject) => run.signal.addEventListener('abort', () => reject(run.signal.reason)))
    }
    await run.step('charge', () => effects.push('charge'), { compensate: () => effects.push('refund') })
    for (const name of ['send', 'third', 'fourth']) await run.step(name, () => effects.push(name))
    if (state.fails) throw new Error('no')
  })
  const failed = await send()
  await outcome(failed)
  state.fails = false
  state.hangs = true
  const first = await checkpoints.fork(failed, { ...by, fromStep: 'fourth' })
  await expect.poll(() => checkpoints.live).toBe(1)
  await checkpoints.cancel(first, by)
  expect(await outcome(first)).toContain('409')
  const second = await checkpoints.fork(first, { ...by, fromStep: 'third' })
  expect(await outcome(second)).toContain('201')
  expect(effects).toEqual(['charge', 'send', 'third', 'fourth', 'refund', 'charge', 'third', 'fourth'])
})

test('checkpoint C2: forking a run that is collected meanwhile says that it is not there', async () => {
  const store = memoryCheckpointStore()
  const { checkpoints, post } = processOn({ ...store, input: async () => undefined, get })
  let looks = 0
  async function get(id: string) {
    return ++looks > 1 ? undefined : store.get(id)
  }
  const id = (await post()).headers.get('gw-run')!
  await expect(checkpoints.fork(id, by)).rejects.toMatchObject({ code: 'not_found' })
})

test('checkpoint S3: an effect that was made after a crash is taken back before those that were made before it', async () => {
  const store = memoryCheckpointStore()
  const undone: string[] = []
  const made = gate()
  const handler = (last: () => Promise<void>) => async (run: Run) => {
    for (const name of ['one', 'two']) await run.step(name, () => 1, { compensate: () => undone.push(name) })
    await last()
    await run.step('three', () => 1, { compensate: () => undone.push('three') })
    throw new Error('no')
  }
  const left = processOn(
    store,
    handler(() => {
      made.open()
      return new Promise(() => {})
    }),
  )
  const id = await left.send()
  await made.passed
  const { checkpoints, outcome } = processOn(
    store,
    handler(async () => {}),
  )
  await checkpoints.start()
  expect(await outcome(id)).toContain('500')
  expect(undone).toEqual(['three', 'two', 'one'])
})
