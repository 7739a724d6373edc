/** One request of the tester: a key and what it asks for. */
export interface Asked {
  readonly key: string
  readonly kind: 'payment' | 'job'
  readonly customer: string
  readonly items: number
}

/** One answer that the tester really received. */
export interface Received {
  readonly key: string
  readonly status: number
  readonly body: string
  readonly run: string
}

/** What the server holds in the end. */
export interface Found {
  /** Ledger rows by customer; each payment has a customer of its own. */
  readonly ledger: ReadonlyMap<string, number>
  /** Items of each run, one entry a row. */
  readonly work: ReadonlyMap<string, readonly number[]>
  /** Executions of each run's items, from the effect log. */
  readonly effects: ReadonlyMap<string, readonly number[]>
}

/** What the history came to. All but the first two and `repeatedExecutions` must be 0. */
export interface Report {
  readonly asked: number
  readonly acknowledged: number
  readonly lost: number
  readonly duplicatedRows: number
  readonly repeatedExecutions: number
  readonly differentAnswers: number
  readonly unfinished: number
}

/** Holds what was received against what is there. */
export function check(asked: readonly Asked[], received: readonly Received[], found: Found): Report {
  const answers = new Map<string, Received>()
  let differentAnswers = 0
  for (const answer of received) {
    const first = answers.get(answer.key)
    if (first === undefined) answers.set(answer.key, answer)
    else if (first.status !== answer.status || first.body !== answer.body || first.run !== answer.run)
      differentAnswers++
  }
  let lost = 0
  let duplicatedRows = 0
  let repeatedExecutions = 0
  let unfinished = 0
  for (const { key, kind, customer, items } of asked) {
    const answer = answers.get(key)
    if (answer === undefined) unfinished++
    if (kind === 'payment') {
      const rows = found.ledger.get(customer) ?? 0
      if (answer !== undefined && rows === 0) lost++
      duplicatedRows += Math.max(0, rows - 1)
    } else if (answer !== undefined) {
      const rows = found.work.get(answer.run) ?? []
      const distinct = new Set(rows).size
      if (distinct < items) lost++
      duplicatedRows += rows.length - distinct
      const executed = found.effects.get(answer.run) ?? []
      repeatedExecutions += executed.length - new Set(executed).size
    }
  }
  return {
    asked: asked.length,
    acknowledged: answers.size,
    lost,
    duplicatedRows,
    repeatedExecutions,
    differentAnswers,
    unfinished,
  }
}
