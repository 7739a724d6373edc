import type { Held } from '@gw/checkpoint'
import type { Host } from './loop.ts'

interface Life {
  readonly host: Host
  disturbed: boolean
  ended: boolean
}

/** The lives of runs: each is a handler that was entered under a fence, until it returns or something told it to end. */
export class Lives {
  readonly #lives = new Map<string, Life>()
  readonly #byRun = new Map<string, Life[]>()
  /** How often a run came back to a process in which a life of it still went on. */
  returned = 0

  /** A handler begins; what is given back ends it. */
  begin(host: Host, { id, fence }: Held): () => void {
    const life: Life = { host, disturbed: false, ended: false }
    const all = this.#byRun.get(id) ?? []
    this.#byRun.set(id, all)
    if (all.some((before) => goesOn(before) && before.host === host)) this.returned++
    all.push(life)
    this.#lives.set(`${id} ${fence}`, life)
    return () => {
      life.ended = true
    }
  }

  /** The run was put aside or ended under this fence: what is left of its handler is waited for by nobody. */
  over({ id, fence }: Held): void {
    const life = this.#lives.get(`${id} ${fence}`)
    if (life !== undefined) life.ended = true
  }

  /** The store did not answer a write of this life, or refused it: its process may look for the run again. */
  disturb({ id, fence }: Held): void {
    const life = this.#lives.get(`${id} ${fence}`)
    if (life !== undefined) life.disturbed = true
  }

  /** Whether a handler is at it under this fence, and nothing has told it to stop. */
  goesOn({ id, fence }: Held): boolean {
    const life = this.#lives.get(`${id} ${fence}`)
    return life !== undefined && goesOn(life)
  }
}

function goesOn({ host, disturbed, ended }: Life): boolean {
  return host.alive && !disturbed && !ended
}
