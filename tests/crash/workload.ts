import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { Asked, Found, Received } from './checker.ts'

/** Chance that can be had again: the same seed gives the same numbers (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** Keyed payments and jobs, and a journal of every answer that really came. */
export class Workload {
  readonly asked: Asked[] = []
  readonly received: Received[] = []
  /** The last answer to each key that has no final one. */
  readonly unsettled = new Map<string, string>()
  sent = 0
  answered = 0
  readonly #random: () => number
  readonly #journal: number

  constructor(random: () => number, journal: string) {
    this.#random = random
    this.#journal = openSync(journal, 'a')
  }

  /** Sends requests one after the other until `gone`, each third time a key that was asked before. */
  async client(gone: () => boolean, urlOf: () => string, pauseMs = 0): Promise<void> {
    for (let i = 0; !gone() && i < 2_000; i++) {
      const again = this.asked.length > 0 && this.#random() < 0.3
      const each = again ? this.asked[Math.floor(this.#random() * this.asked.length)]! : this.#fresh()
      await this.ask(urlOf(), each).catch(() => {})
      if (pauseMs > 0) await delay(pauseMs)
    }
  }

  get counts(): { readonly sent: number; readonly answered: number } {
    return { sent: this.sent, answered: this.answered }
  }

  /** A payment, the same once more, and a job. */
  oneOfEach(): readonly Asked[] {
    const payment: Asked = { key: 'key-0', kind: 'payment', customer: 'customer-0', items: 0 }
    const job: Asked = { key: 'key-1', kind: 'job', customer: 'customer-1', items: 2 }
    this.asked.push(payment, job)
    return [payment, payment, job]
  }

  /** Sends one request. `true` when its final answer came, which is then in the journal. */
  async ask(url: string, { key, kind, customer, items }: Asked): Promise<boolean> {
    this.sent++
    const [path, body] =
      kind === 'payment'
        ? ['/api/payment', { amount: 10, currency: 'EUR', payment_method: 'card', customer_id: customer }]
        : ['/api/long-running-process', { type: 'report', user_id: customer, items, item_ms: 2 }]
    const response = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': key },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(20_000),
    })
    const text = await response.text()
    this.answered++
    if (response.status !== 200 && response.status !== 201) {
      this.unsettled.set(key, `${response.status} ${response.headers.get('gw-run') ?? ''} ${text}`)
      if ([202, 409, 503].includes(response.status)) return false
      throw new Error(`${key} was answered ${response.status} ${text}`)
    }
    const answer = { key, status: response.status, body: text, run: response.headers.get('gw-run') ?? '' }
    writeSync(this.#journal, `${JSON.stringify(answer)}\n`)
    fsyncSync(this.#journal)
    this.received.push(answer)
    this.unsettled.delete(key)
    return true
  }

  /** Sends every key again until it has its answer, for at most `withinMs`. */
  async finish(urlOf: () => string, withinMs: number): Promise<void> {
    const deadline = performance.now() + withinMs
    const waiting = [...this.asked]
    const sender = async () => {
      for (let each = waiting.pop(); each !== undefined; each = waiting.pop()) {
        while (performance.now() < deadline) {
          if (await this.ask(urlOf(), each).catch(() => false)) break
          await delay(100)
        }
      }
    }
    await Promise.all(Array.from({ length: 32 }, sender))
  }

  /** What the server says of the requests that have no final answer. */
  async explain(url: string): Promise<string[]> {
    const some = [...this.unsettled].filter(([key]) => !this.received.some((answer) => answer.key === key)).slice(0, 5)
    return Promise.all(
      some.map(async ([key, answer]) => {
        const [status, run = ''] = answer.split(' ')
        const { reason, attempt, recoveries, ...about } = await (await fetch(`${url}/requests/${run}`)).json()
        return `${key} was last answered ${status}; its request is ${about.status}, attempt ${attempt}, recoveries ${recoveries}: ${reason}`
      }),
    )
  }

  /** What the server and the effect logs hold. */
  async found(url: string, effectLogs: readonly string[]): Promise<Found> {
    const get = async <Answer>(path: string) => (await (await fetch(`${url}${path}`)).json()) as Answer
    const ledger = new Map<string, number>()
    const work = new Map<string, number[]>()
    for (const { key, kind, customer } of this.asked) {
      if (kind === 'payment') {
        const { payments } = await get<{ payments: unknown[] }>(`/api/payments?customer_id=${customer}`)
        ledger.set(customer, payments.length)
        continue
      }
      const run = this.received.find((answer) => answer.key === key)?.run
      if (run === undefined) continue
      const { rows } = await get<{ rows: { item: number }[] }>(`/api/work/${run}`)
      work.set(
        run,
        rows.map(({ item }) => item),
      )
    }
    return { ledger, work, effects: effectsOf(effectLogs) }
  }

  close(): void {
    closeSync(this.#journal)
  }

  #fresh(): Asked {
    const n = this.asked.length
    const job = this.#random() < 0.15
    const each: Asked = {
      key: `key-${n}`,
      kind: job ? 'job' : 'payment',
      customer: `customer-${n}`,
      items: job ? 5 + Math.floor(this.#random() * 20) : 0,
    }
    this.asked.push(each)
    return each
  }
}

function effectsOf(logs: readonly string[]): Map<string, number[]> {
  const effects = new Map<string, number[]>()
  for (const log of logs) {
    if (!existsSync(log)) continue
    for (const line of readFileSync(log, 'utf8').split('\n')) {
      // A killed process may leave half a line.
      if (!line.endsWith('}')) continue
      const { run, item } = JSON.parse(line) as { run: string; item: number }
      effects.set(run, [...(effects.get(run) ?? []), item])
    }
  }
  return effects
}

/** A percentile of times, in whole milliseconds. */
export function percentile(times: readonly number[], at: number): number {
  const sorted = [...times].sort((a, b) => a - b)
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * at))] ?? 0)
}
