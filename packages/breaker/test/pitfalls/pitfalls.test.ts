import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { scenarios } from './scenarios.ts'

const hangs = new Set([
  'a caller that waits for a hung trial waits for ever',
  'a caller that waits cannot be aborted',
  'an IBreaker that throws at the close leaves half-open full',
])

/** What comes of a scenario in a process of its own; `hangs` when nothing has come at the deadline. */
function apart(name: string, side: 'bare' | 'ours', deadlineMs: number): Promise<unknown> {
  const program = fileURLToPath(new URL('child.ts', import.meta.url))
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      ['--conditions=@gw/source', program, name, side],
      { timeout: deadlineMs, killSignal: 'SIGKILL' },
      (error, stdout, stderr) => {
        if (error?.killed === true) resolve('hangs')
        else if (error !== null) reject(new Error(stderr))
        else resolve(JSON.parse(stdout))
      },
    )
  })
}

const outcomes: readonly (readonly [letter: string, name: string, bare: unknown, ours: unknown])[] = [
  [
    'B3',
    'half-open queues callers and lets them loose at once',
    { trials: 3, afterwards: 7 },
    { trials: 3, afterwards: 3 },
  ],
  ['B4', 'a caller that waits for a hung trial waits for ever', 'hangs', ['breaker_open', 'third', 'CLOSED']],
  ['B4', 'a caller that waits cannot be aborted', 'hangs', 'breaker_open'],
  ['B10', 'an IBreaker that throws at the close leaves half-open full', 'hangs', ['trial', 'next']],
  ['B4', 'half-open lasts for ever when its trials do not come', 'HalfOpen', ['OPEN', true]],
  ['B5', 'an error that does not count closes half-open, also the abort of a caller', 'Closed', 'HALF_OPEN'],
  ['B2', 'the wall clock set back keeps it open', 'BrokenCircuitError', 'called'],
  ['B2', 'the wall clock set forward ends the wait', 'called', 'breaker_open'],
  ['B10', 'a throwing listener replaces the error of the caller', 'listener', 'down'],
  ['B6', 'late failures of the closed time open it out of half-open', 'Open', 'HALF_OPEN'],
  ['B9', 'state from outside overrides the configuration', 0, [false, 'CLOSED']],
  ['B9', 'an opening in the future is open for as long', 'BrokenCircuitError', [false, 'CLOSED']],
  ['B7', 'isolation that is restored can never be released', 'IsolatedCircuitError', ['open', 'called']],
  ['B7', 'there is no way to reset it and clear its window', ['Closed', false, 'Open'], ['CLOSED', 1]],
  ['B2', 'a refusal names nothing and does not say when', ['isBrokenCircuitError'], ['x', 1_000]],
  ['B1', 'its window of failures does not run while nobody calls', 'Open', ['CLOSED', 0]],
]

test('every scenario is told of', () => {
  expect(outcomes.map(([, name]) => name).toSorted()).toEqual(Object.keys(scenarios).toSorted())
})

test.concurrent.each(outcomes.filter(([, name]) => hangs.has(name)))(
  '%s: cockatiel alone: %s',
  async (_letter, name, bare, ours) => {
    expect(await apart(name, 'ours', 30_000)).toEqual(ours)
    expect(await apart(name, 'bare', 5_000)).toEqual(bare)
  },
  60_000,
)

test.each(outcomes.filter(([, name]) => !hangs.has(name)))(
  '%s: cockatiel alone: %s',
  async (_letter, name, bare, ours) => {
    const { [name]: scenario } = scenarios
    expect(await scenario!.bare()).toEqual(bare)
    expect(await scenario!.ours()).toEqual(ours)
  },
)
