// What stores of cold objects in a bucket share: names, folders, and the time that a call may take.
import { CheckpointError } from '../errors.ts'

/** A folder inside a bucket, as an option. */
export const coldPrefix = {
  expected: 'a path of letters, digits, `.`, `_` and `-` without empty or dotted parts',
  accepts: (value: unknown): boolean =>
    typeof value === 'string' && (value === '' || /^(?:(?!\.\.?\/)[\w.-]+\/)*(?!\.\.?$)[\w.-]+\/?$/.test(value)),
}

/** What keys begin with below `prefix`. */
export function folderOf(prefix = ''): string {
  return prefix === '' ? '' : `${prefix.replace(/\/$/, '')}/`
}

/** The name, where it is one of a cold object; nothing else reaches a bucket. */
export function checkedName(name: string): string {
  if (!/^[0-9a-z/-]*$/.test(name))
    throw new CheckpointError('invalid_option', `\`${name}\` is not the name of a cold object`)
  return name
}

/** The time that one call may take, and its pauses between repeats. */
export interface ColdDeadline {
  leftMs(): number
  /** Resolves to `false` where there is no time for another try. */
  pause(tries: number): Promise<boolean>
}

export function coldDeadline(deadlineMs: number, random: () => number): ColdDeadline {
  // A timer that is to hold longer would be over at once.
  const until = performance.now() + Math.min(deadlineMs, 2 ** 31 - 1)
  const leftMs = () => until - performance.now()
  return {
    leftMs,
    async pause(tries) {
      const pauseMs = random() * Math.min(2_000, 50 * 2 ** tries)
      if (leftMs() <= pauseMs) return false
      await new Promise((resolve) => setTimeout(resolve, pauseMs))
      return true
    },
  }
}
