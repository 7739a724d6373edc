import { type Group, planGroups } from './batch.ts'
import type { Answer, Procedure } from './database.ts'
import type { Line } from './line.ts'
import type { PendingUnit } from './pending-unit.ts'
import { type DrizzleParts, openScope, type Scope } from './transaction.ts'

/**
 * Runs the procedures of all units and gives those that were refused, by the first procedure that refused any: what the later
 * ones found may come from the refused units' own writes.
 */
export async function runProcedures(
  line: Line,
  units: readonly PendingUnit[],
  drizzle: DrizzleParts,
  procedureOf: (name: string) => Procedure<unknown> | undefined,
): Promise<ReadonlyMap<PendingUnit, unknown>> {
  const refused = new Map<PendingUnit, unknown>()
  const running: { readonly group: Group<PendingUnit>; readonly answers: Promise<readonly Answer[]> }[] = []
  const scopes: Scope[] = []
  try {
    for (const group of planGroups(units)) {
      const procedure = procedureOf(group.procedure)
      if (procedure === undefined) throw new Error(`No procedure \`${group.procedure}\` is defined`)
      if (procedure.oneStatement === true) {
        await new Promise<void>((sent) => {
          const scope = openScope(line, drizzle, { prepare: true, onlyStatement: sent })
          scopes.push(scope)
          const answers = procedure.run(scope.tx, group.batch)
          answers.then(
            () => sent(),
            () => sent(),
          )
          running.push({ group, answers })
        })
        continue
      }
      for (const { group, answers } of running.splice(0)) {
        read(group, await answers, refused)
        if (refused.size > 0) return refused
      }
      const scope = openScope(line, drizzle, { prepare: true })
      scopes.push(scope)
      read(group, await procedure.run(scope.tx, group.batch), refused)
      scope.shut()
      if (refused.size > 0) return refused
    }
    for (const { group, answers } of running) {
      read(group, await answers, refused)
      if (refused.size > 0) return refused
    }
    return refused
  } finally {
    for (const scope of scopes) scope.shut()
  }
}

/** Sorts the answers of one group into results and refusals. */
function read(
  { procedure, batch, units, steps }: Group<PendingUnit>,
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
