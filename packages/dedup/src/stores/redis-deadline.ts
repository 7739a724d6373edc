import { DedupError } from '../errors.ts'

interface Call {
  readonly at: number
  readonly reject: (error: DedupError) => void
  done: boolean
}

/** Bounds every call with one timer for all: calls have the same deadline, so they are over in the order they came. */
export class Deadlines {
  readonly #deadlineMs: number
  #calls: Call[] = []
  #first = 0
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(deadlineMs: number) {
    this.#deadlineMs = deadlineMs
  }

  /** The call's own end, or `unknown` at the deadline: it may still be carried out. */
  bound<Result>(call: Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      const pending: Call = { at: performance.now() + this.#deadlineMs, reject, done: false }
      this.#calls.push(pending)
      if (this.#timer === undefined) this.#arm(this.#deadlineMs)
      call.then(
        (result) => {
          pending.done = true
          resolve(result)
        },
        (error: unknown) => {
          pending.done = true
          reject(error)
        },
      )
    })
  }

  #arm(ms: number): void {
    this.#timer = setTimeout(() => this.#expire(), ms)
  }

  #expire(): void {
    const now = performance.now()
    for (; this.#first < this.#calls.length; this.#first++) {
      const call = this.#calls[this.#first]!
      if (call.done) continue
      if (call.at > now) break
      call.done = true
      call.reject(new DedupError('unknown', 'Redis did not answer within the deadline'))
    }
    if (this.#first > 0) {
      this.#calls.splice(0, this.#first)
      this.#first = 0
    }
    this.#timer = undefined
    const next = this.#calls[0]
    if (next !== undefined) this.#arm(Math.max(1, next.at - now))
  }
}
