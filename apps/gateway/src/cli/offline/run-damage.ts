import { codeOf, messageOf } from '../failure.ts'
import type { StoreLook } from './store-look.ts'

/** A run of which something cannot be read. */
export interface DamagedRun {
  readonly id: string
  readonly part: 'row' | 'input' | 'steps' | 'outcome'
  readonly detail: string
}

const pageSize = 500
const atOnce = 8
const parts = { row: 'get', input: 'input', steps: 'steps', outcome: 'outcome' } as const

/** Reads every run with all that is kept of it, and names what does not fit its checksum. */
export async function damagedRuns(
  { runs, runIds }: StoreLook,
  onProgress: (read: number) => void,
): Promise<readonly DamagedRun[]> {
  if (runs === undefined) return []
  const damaged: DamagedRun[] = []
  const look = async (id: string) => {
    for (const [part, read] of Object.entries(parts) as [DamagedRun['part'], (typeof parts)[DamagedRun['part']]][]) {
      try {
        await runs[read](id)
      } catch (error) {
        if (codeOf(error) !== 'corrupt_record' && !(error instanceof SyntaxError)) throw error
        damaged.push({ id, part, detail: messageOf(error) })
      }
    }
  }
  let read = 0
  for (let after = ''; ; ) {
    const ids = await runIds(after, pageSize)
    for (let i = 0; i < ids.length; i += atOnce) {
      await Promise.all(ids.slice(i, i + atOnce).map(look))
      read += Math.min(atOnce, ids.length - i)
      onProgress(read)
    }
    if (ids.length < pageSize) return damaged
    after = ids.at(-1)!
  }
}
