import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CircuitBreaker } from '@gw/breaker'
import { replaceFile } from './replace-file.ts'

/** Breakers as they were, and when, by the wall clock. */
interface Snapshots {
  readonly takenAt: number
  readonly breakers: Readonly<Record<string, unknown>>
}

/** Keeps the state of breakers over a restart: an open one stays open for what is left of its time, and an operator's decision stands. */
export interface BreakerSnapshots {
  /** Gives the breakers what an earlier life of this process left. Ages are those of the wall clock; one that went back counts as none. */
  restore(breakers: ReadonlyMap<string, CircuitBreaker>): void
  /** Writes what the breakers are now. */
  save(breakers: ReadonlyMap<string, CircuitBreaker>): void
}

/** Snapshots in a file of the directory. A file that cannot be read leaves every breaker closed. */
export function breakerSnapshots(directory: string, now: () => number = () => Date.now()): BreakerSnapshots {
  const file = join(directory, 'breakers.json')
  return {
    restore(breakers) {
      let kept: Snapshots
      try {
        kept = JSON.parse(readFileSync(file, 'utf8')) as Snapshots
      } catch {
        return
      }
      if (typeof kept?.takenAt !== 'number' || typeof kept.breakers !== 'object') return
      const elapsedMs = Math.max(0, now() - kept.takenAt)
      for (const [name, breaker] of breakers) {
        if (Object.hasOwn(kept.breakers, name)) breaker.hydrate(kept.breakers[name], { elapsedMs })
      }
    },
    save(breakers) {
      const kept: Snapshots = {
        takenAt: now(),
        breakers: Object.fromEntries([...breakers].map(([name, breaker]) => [name, breaker.snapshot()])),
      }
      replaceFile(file, JSON.stringify(kept))
    },
  }
}
