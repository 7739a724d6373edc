import { type Group, planGroups } from './batch.ts'
import type { Answer, Procedure } from './database.ts'
import type { Line } from './line.ts'
import type { PendingUnit } from './pending-unit.ts'
import { type DrizzleParts, openScope, type Scope } from './transaction.ts'

type Batch = Group<PendingUnit>

interface Running {
  readonly group: Batch
  readonly answers: Promise<readonly Answer[]>
}

/** What procedures came to. */
export interface Ran {
  /** The units that were refused, by the first procedure that refused any: what the later ones found may come from their own writes. */
  readonly refused: ReadonlyMap<PendingUnit, unknown>
  /** To what procedures sent; the last of them may be on their way. */
  readonly answers: readonly Promise<unknown>[]
}

/**
 * Runs the procedures of all units.
 *
 * Each store's procedures run in their order. Those of different stores touch different tables, so their statements go side by
 * side on the one connection, and a commit waits for the longest of them instead of for their sum.
 */
export async function runProcedures(
  line: Line,
  units: readonly PendingUnit[],
  drizzle: DrizzleParts,
  procedureOf: (name: string) => Procedure<unknown> | undefined,
): Promise<Ran> {
  const groups = planGroups(units)
  const procedures = new Map<Batch, Procedure<unknown>>()
  const stores = new Map<string, Batch[]>()
  for (const group of groups) {
    const procedure = procedureOf(group.procedure)
    if (procedure === undefined) throw new Error(`No procedure \`${group.procedure}\` is defined`)
    procedures.set(group, procedure)
    const store = group.procedure.slice(0, Math.max(0, group.procedure.indexOf('.')))
    const ofStore = stores.get(store)
    if (ofStore === undefined) stores.set(store, [group])
    else ofStore.push(group)
  }
  const answered = new Map<Batch, readonly Answer[]>()
  const scopes: Scope[] = []

  /** Sends the one statement of a procedure; resolves when it is on its way. */
  async function sent(group: Batch): Promise<Running> {
    let onItsWay = () => {}
    const sending = new Promise<void>((resolve) => {
      onItsWay = resolve
    })
    const scope = openScope(line, drizzle, { prepare: true, onlyStatement: onItsWay })
    scopes.push(scope)
    const answers = procedures.get(group)!.run(scope.tx, group.batch, scope.send)
    answers.then(onItsWay, onItsWay)
    await sending
    return { group, answers }
  }

  /** Whether nobody was refused. */
  async function all(running: readonly Running[]): Promise<boolean> {
    let granted = true
    for (const { group, answers } of running) {
      answered.set(group, await answers)
      granted &&= !answered.get(group)!.some((answer) => 'refused' in answer)
    }
    return granted
  }

  /** `under` is called when the last of its procedures has begun. */
  async function runStore(ofStore: readonly Batch[], under: () => void): Promise<void> {
    let running: Running[] = []
    for (const group of ofStore) {
      const procedure = procedures.get(group)!
      const last = group === ofStore.at(-1)
      if (procedure.oneStatement === true) {
        running.push(await sent(group))
        if (last) under()
        continue
      }
      if (!(await all(running))) return
      running = []
      const scope = openScope(line, drizzle, { prepare: true })
      scopes.push(scope)
      const answers = procedure.run(scope.tx, group.batch, scope.send)
      if (last) under()
      if (!(await all([{ group, answers }]))) return
      scope.shut()
    }
    await all(running)
  }

  try {
    // Transactions of all processes take their locks in one order, store by store, so that no two wait for each other. What takes
    // one statement goes first: nothing waits for it.
    const inOrder = [...stores].sort(([a, x], [b, y]) => placeOf(x) - placeOf(y) || (a < b ? -1 : 1))
    const runs: Promise<void>[] = []
    for (const [, ofStore] of inOrder) {
      await new Promise<void>((under) => {
        const run = runStore(ofStore, under)
        runs.push(run)
        run.then(under, under)
      })
    }
    await Promise.all(runs)
    const refused = new Map<PendingUnit, unknown>()
    for (const group of groups) {
      read(group, answered.get(group)!, refused)
      if (refused.size > 0) break
    }
    return { refused, answers: scopes.flatMap((scope) => scope.answers) }
  } finally {
    for (const scope of scopes) scope.shut()
  }

  function placeOf(ofStore: readonly Batch[]): number {
    const all = ofStore.map((group) => procedures.get(group)!)
    if (all.some(({ afterOthers }) => afterOthers === true)) return 2
    return all.every(({ oneStatement }) => oneStatement === true) ? 0 : 1
  }
}

/** Sorts the answers of one group into results and refusals. */
function read(
  { procedure, batch, units, steps }: Batch,
  answers: readonly Answer[],
  refused: Map<PendingUnit, unknown>,
): void {
  if (answers.length !== batch.length) {
    throw new Error(`\`${procedure}\` gave ${answers.length} answers to ${batch.length} writes`)
  }
  for (let i = 0; i < answers.length; i++) {
    const answer = answers[i]!
    if ('refused' in answer) refused.set(units[i]!, answer.refused)
    else units[i]!.results[steps[i]!] = answer.result
  }
}
