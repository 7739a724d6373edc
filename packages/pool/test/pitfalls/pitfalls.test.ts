import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { scenarios } from './scenarios.ts'

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

/** The rule that keeps it from the user, the row, what generic-pool does alone, and what this package does. */
const outcomes: readonly (readonly [rule: string, name: string, bare: unknown, ours: unknown])[] = [
  [
    'C5',
    'G1: a create that rejects at once spins, and the acquire timeout never comes',
    'hangs',
    'pool_factory_failed',
  ],
  ['C5', 'G2: a server that refuses is asked thousands of times a second', true, false],
  [
    'C2',
    'whoever waits is not told why no connection comes',
    ['TimeoutError', false],
    ['pool_factory_failed', 'ECONNREFUSED'],
  ],
  ['C3', 'G3: emptying a live pool hands out connections that are closed', true, false],
  ['C4', 'G4: a test that rejects loses its place for ever', ['test'], 'served'],
  ['C4', 'G4b: a test that never ends loses its place for ever', 'pending', 'served'],
  ['C10', 'G5: use with a function that is not async loses the connection', 1, [42, 0]],
  ['C3', 'G6: a minimum that could not be made is never made', 0, 3],
  ['C7', 'G7: idleness closes connections below the minimum, to make them again', true, false],
  ['C7', 'G8: nothing that idles is ever closed', 1, 0],
  ['C10', 'G9: giving a connection back twice ends the process', [expect.any(String)], []],
  ['C2', 'G10: a request that is given up takes the next one’s connection with it', 'pending', 'served'],
  [
    'C4',
    'G11: a create that throws at once throws out of acquire and leaves somebody waiting',
    ['threw', 1],
    ['rejected', 0],
  ],
  ['C4', 'G12: a destroy that throws at once during a sweep is an uncaught exception', [expect.any(String)], []],
  ['C11', 'G13: a drain waits for ever for a loan that does not come back', 'pending', ['drained', 1]],
  ['C7', 'G16: connections that nobody needs are kept busy in turn', true, false],
  ['C4', 'G19: a create that never ends takes its place for ever', 'TimeoutError', 'served'],
  ['C4', 'G21: a connection that dies while it idles cannot be taken out', ['Error', true], false],
  ['C2', 'G22: a lower priority waits until no higher one is there', 20, 0],
  ['C5', 'G25: a burst of short requests connects as often as there are requests', 50, true],
  ['C1', 'G26: being ready is waited for for ever', 'pending', 'pool_factory_failed'],
]

test('every scenario is told of', () => {
  expect(outcomes.map(([, name]) => name).toSorted()).toEqual(Object.keys(scenarios).toSorted())
})

test.concurrent.each(outcomes)('%s: generic-pool alone: %s', { timeout: 60_000 }, async (_rule, name, bare, ours) => {
  expect(await apart(name, 'ours', 30_000)).toEqual(ours)
  expect(await apart(name, 'bare', bare === 'hangs' ? 3_000 : 30_000)).toEqual(bare)
})
