import { expect, test } from 'vitest'
import { ParkError } from '../src/index.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { sqliteCheckpointStore } from '../src/stores/sqlite.ts'
import { type Handler, processOn, sqlite } from './fixture.ts'

/** Handlers that end in a way that leaves little to classify. */
const ends: readonly (readonly [name: string, handler: Handler])[] = [
  [
    'an answer whose body breaks off',
    () => new Response(new ReadableStream({ pull: (c) => c.error(new Error('broken')) })),
  ],
  [
    'an answer whose body breaks off without a reason',
    () => new Response(new ReadableStream({ pull: (c) => c.error() })),
  ],
  [
    'an answer whose body was read',
    async () => {
      const response = new Response('read')
      await response.text()
      return response
    },
  ],
  ['a rejection without a reason', () => new Promise((_, reject) => void setTimeout(reject, 0))],
]

for (const [name, handler] of ends) {
  test(`checkpoint O3: ${name} fails the run, once and for all`, async () => {
    let entries = 0
    const { checkpoints, post } = processOn(memoryCheckpointStore(), (run, body) => {
      entries++
      return handler(run, body)
    })
    const response = await post()
    const run = await checkpoints.get(response.headers.get('gw-run')!)
    expect([response.status, run?.status, entries]).toEqual([500, 'failed', 1])
  })
}

test('checkpoint O3: an answer whose body breaks off with a retryable error is tried again', async () => {
  let entries = 0
  const { post } = processOn(
    memoryCheckpointStore(),
    () => {
      if (++entries > 1) return 'whole'
      const broken = Object.assign(new Error('broken'), { retryable: true })
      return new Response(new ReadableStream({ pull: (c) => c.error(broken) }))
    },
    {},
    { retry: { initialMs: 1 } },
  )
  const response = await post()
  expect([response.status, await response.json()]).toEqual([201, { result: 'whole' }])
})

test('checkpoint O3: a classification that throws itself fails the run with what the handler threw', async () => {
  const errors: unknown[] = []
  const throws = (): never => {
    throw new TypeError('Cannot read properties of undefined')
  }
  const fails = () => {
    throw new Error('the reason')
  }
  for (const [options, route] of [
    [{ translateError: throws }, {}],
    [{ translateError: () => undefined }, {}],
    [{}, { retry: { retryable: throws } }],
  ] as const) {
    const onError = (error: unknown) => void errors.push(error)
    const { checkpoints, post } = processOn(memoryCheckpointStore(), fails, { ...options, onError }, route)
    const id = (await post()).headers.get('gw-run')!
    expect(await checkpoints.get(id)).toMatchObject({ status: 'failed', reason: 'the reason' })
  }
})

test('checkpoint O3: a time that is none does not become the time at which a run goes on', async () => {
  const store = sqliteCheckpointStore({ db: await sqlite() })
  const thrown = [
    Object.assign(new Error('later'), { retryable: true, retryAfterMs: Number('Wed, 21 Oct') }),
    Object.assign(new Error('later'), { retryable: true, retryAfterMs: Number.POSITIVE_INFINITY }),
    new ParkError('away', Number.NaN),
    new ParkError('away', 1_700_000_000_000.5),
  ]
  let next = 0
  const { checkpoints, send, outcome } = processOn(
    store,
    () => {
      const error = thrown[next++]
      if (error !== undefined) throw error
      return 'done'
    },
    {},
    { retry: { initialMs: 1, maxAttempts: 9 } },
  )
  const answers: string[] = []
  while (next < thrown.length) {
    const before = next
    answers.push((await outcome(await send())).slice(0, 3))
    expect(next).toBeGreaterThan(before)
  }
  expect(answers).toEqual(['500', '201'])
  expect(await checkpoints.counts()).toMatchObject({ waiting: 0 })
})
