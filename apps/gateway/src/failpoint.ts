import type { Failpoint } from './options.ts'

/**
 * For fault tests: kills this process, as `kill -9` would, at the n-th passage of a point named as `outcome.before:3`.
 * `undefined` where the text is absent.
 */
export function failpointOf(text: string | undefined): ((name: Failpoint) => void) | undefined {
  if (text === undefined || text === '') return undefined
  const [, point, nth] = /^((?:accept|step|outcome)\.(?:before|after)):(\d+)$/.exec(text) ?? []
  if (point === undefined) throw new RangeError('Expected `GW_FAILPOINT` to be like outcome.before:3')
  let left = Number(nth)
  return (name) => {
    if (name === point && --left === 0) process.kill(process.pid, 'SIGKILL')
  }
}
