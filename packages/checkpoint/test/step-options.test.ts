import { expect, test } from 'vitest'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import type { Timers } from '../src/timers.ts'
import { gate, processOn } from './fixture.ts'

/** Timers that end at once and remember how long they were set for. */
function instantTimers(): Timers & { readonly waited: number[] } {
  const waited: number[] = []
  return {
    waited,
    setTimeout(work, afterMs) {
      waited.push(afterMs)
      const timer = { cancelled: false }
      if (afterMs < 60_000)
        setImmediate(() => {
          if (!timer.cancelled) work()
        })
      return timer
    },
    clearTimeout(timer) {
      if (timer !== undefined) (timer as { cancelled: boolean }).cancelled = true
    },
    monotonic: () => performance.now(),
  }
}

const settings = { inlineWaitMs: 60_000, requestTimeoutMs: 60_000, leaseMs: 200_000, gcIntervalMs: 60_000 } as const

test('checkpoint S3: a step is tried again with growing waits, only for errors that may be, and keeps what it came to', async () => {
  const timers = instantTimers()
  const attempts: number[] = []
  const { post } = processOn(
    undefined,
    async (run) => {
      const value = await run.step(
        'flaky',
        ({ attempt }) => {
          attempts.push(attempt)
          if (attempt < 4) throw new Error('not yet')
          return 'there'
        },
        { retry: { maxAttempts: 5, initialMs: 100, factor: 3, maxMs: 500 } },
      )
      const hopeless = {
        retry: { maxAttempts: 5, retryable: (error: unknown) => (error as Error).message !== 'never' },
      }
      await run
        .step(
          'hopeless',
          () => {
            attempts.push(0)
            throw new Error('never')
          },
          hopeless,
        )
        .catch(() => {})
      return value
    },
    { timers, ...settings },
  )
  expect(await (await post()).json()).toEqual({ result: 'there' })
  expect(attempts).toEqual([1, 2, 3, 4, 0])
  expect(timers.waited.filter((ms) => ms === 100 || ms === 300 || ms === 500)).toEqual([100, 300, 500])
})

test('checkpoint S3: a step that takes longer than `timeoutMs` has its signal aborted and fails with `step_timeout`', async () => {
  let reason: unknown
  const { post } = processOn(memoryCheckpointStore(), (run) =>
    run
      .step(
        'slow',
        ({ signal }) =>
          new Promise((_, reject) => {
            signal.addEventListener('abort', () => {
              reason = signal.reason
              reject(new Error('aborted'))
            })
          }),
        { timeoutMs: 10 },
      )
      .catch((error: { code?: string }) => error.code),
  )
  expect(await (await post()).json()).toEqual({ result: 'step_timeout' })
  expect(reason).toMatchObject({ code: 'step_timeout' })
})

test('checkpoint C1: a step that waits for its next try ends at once when its run is cancelled', async () => {
  const failed = gate()
  const { checkpoints, post } = processOn(memoryCheckpointStore(), (run) =>
    run.step(
      'work',
      () => {
        failed.open()
        throw new Error('no')
      },
      { retry: { initialMs: 3_600_000, maxMs: 3_600_000 } },
    ),
  )
  const answer = post()
  await failed.passed
  const [run] = (await checkpoints.list()).runs
  await checkpoints.cancel(run!.id, { actor: 'me' })
  expect((await answer).status).toBe(409)
})
