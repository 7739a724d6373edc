import type { LoadHookSync } from 'node:module'
import type { DatabaseBug } from './world.ts'

/** A change to a package's code as it is loaded; `from` must be there exactly once. */
export interface Patch {
  /** How the file's path ends. */
  readonly file: string
  readonly from: string
  readonly to: string
}

/** A planted bug, by its number in the list of the specification. */
export interface Mutant {
  readonly number: number
  readonly bug: string
  readonly patch?: readonly Patch[]
  readonly database?: DatabaseBug
}

export const mutants: readonly Mutant[] = []

/** A load hook that plants a bug; it refuses to go on where the code that it changes is no longer there. */
export function planted(patches: readonly Patch[]): LoadHookSync {
  return (url, context, next) => {
    const loaded = next(url, context)
    const path = url.split('?')[0]!
    const here = patches.filter(({ file }) => path.endsWith(file))
    if (here.length === 0) return loaded
    let source = String(loaded.source)
    for (const { file, from, to } of here) {
      if (source.split(from).length !== 2) throw new Error(`${file} does not have this exactly once: ${from}`)
      source = source.replace(from, () => to)
    }
    return { ...loaded, source }
  }
}
