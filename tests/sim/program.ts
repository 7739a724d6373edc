import type { Run, StepContext } from '@gw/checkpoint'
import type { Chance } from './chance.ts'
import type { Journal } from './journal.ts'
import type { Host } from './loop.ts'

/** What a durable handler does: its request's body says it. */
export type Instruction =
  | { readonly do: 'step' | 'undoable' | 'verified' | 'row'; readonly name: string; readonly ms: number }
  | { readonly do: 'both'; readonly names: readonly [string, string]; readonly ms: number }
  | { readonly do: 'sleep' | 'beside'; readonly name: string; readonly ms: number }
  | { readonly do: 'wait'; readonly name: string; readonly ms: number | undefined }
  | { readonly do: 'update' | 'pause'; readonly ms: number }
  | { readonly do: 'flaky'; readonly times: number }
  | { readonly do: 'fail' }

/** Draws a program. */
export function drawProgram(chance: Chance, leaseMs: number): Instruction[] {
  const program: Instruction[] = []
  const length = 1 + chance.below(4)
  const ms = (long = 0.1) => (chance.odds(long) ? chance.between(0.3, 1.5) * leaseMs : chance.between(0, 200))
  for (let i = 0; i < length; i++) {
    const name = chance.pick(['a', 'b', 'c'])
    const drawn = chance.below(100)
    if (drawn < 40) program.push({ do: 'step', name, ms: ms() })
    else if (drawn < 50) program.push({ do: 'both', names: [name, chance.pick(['a', 'b', 'd'])], ms: ms() })
    else if (drawn < 62) program.push({ do: 'row', name: `row-${name}`, ms: ms() })
    else if (drawn < 65) program.push({ do: 'beside', name, ms: chance.between(10, 2 * leaseMs) })
    else if (drawn < 70) program.push({ do: 'sleep', name: 'nap', ms: chance.between(10, 2 * leaseMs) })
    else if (drawn < 76) {
      const timeoutMs = chance.odds(0.5) ? undefined : chance.between(50, 2 * leaseMs)
      program.push({ do: 'wait', name: 'go', ms: timeoutMs })
    } else if (drawn < 82) program.push({ do: 'update', ms: ms() })
    else if (drawn < 86) program.push({ do: 'pause', ms: ms(0.4) })
    else if (drawn < 92) program.push({ do: 'undoable', name: `undo-${name}`, ms: ms() })
    else if (drawn < 96) program.push({ do: 'verified', name: `sure-${name}`, ms: ms() })
    else if (drawn < 98) program.push({ do: 'flaky', times: 1 + chance.below(2) })
    else program.push({ do: 'fail' })
  }
  return program
}

/** Carries a program out as the handler of a run; resolves to the values of its steps. */
export async function carryOut(
  run: Run,
  program: readonly Instruction[],
  host: Host,
  journal: Journal,
): Promise<unknown[]> {
  const values: unknown[] = []
  const uses = new Map<string, number>()
  const nameOf = (name: string) => {
    const use = (uses.get(name) ?? 0) + 1
    uses.set(name, use)
    return `${name}#${use}`
  }
  const act = (step: string, ms: number) => async (context: StepContext) => {
    if (ms > 100) await host.work(ms)
    if (!host.alive) return undefined
    journal.effect(run.id, step, context.fence, context.idempotencyKey)
    if (ms > 0) await host.work(ms / 10)
    return { step, fence: context.fence }
  }
  const heard = (step: string) => {
    if (host.alive) journal.acknowledged(run.id, step, run.fence)
  }
  for (const instruction of program) {
    switch (instruction.do) {
      case 'step': {
        const step = nameOf(instruction.name)
        values.push(await run.step(instruction.name, act(step, instruction.ms)))
        heard(step)
        break
      }
      case 'undoable': {
        const step = nameOf(instruction.name)
        const compensate = () => journal.effect(run.id, `undo ${step}`, run.fence, '')
        values.push(await run.step(instruction.name, act(step, instruction.ms), { compensate }))
        heard(step)
        break
      }
      case 'verified': {
        const step = nameOf(instruction.name)
        const onCrash = () =>
          journal.effects.has(`${run.id} ${step}`)
            ? { done: true as const, value: { step, found: true } as never }
            : { done: false as const }
        values.push(await run.step(instruction.name, act(step, instruction.ms), { onCrash }))
        heard(step)
        break
      }
      case 'row': {
        const step = nameOf(instruction.name)
        values.push(await run.transaction(instruction.name, [['insert', [`${run.id} ${step}`]]]))
        heard(step)
        break
      }
      case 'both': {
        const steps = instruction.names.map((name) => [name, nameOf(name)] as const)
        values.push(
          ...(await Promise.all(
            steps.map(async ([name, step], i) => {
              const value = await run.step(name, act(step, instruction.ms * (1 + i)))
              heard(step)
              return value
            }),
          )),
        )
        break
      }
      case 'beside': {
        const step = nameOf(instruction.name)
        const beside = run.step(instruction.name, act(step, instruction.ms / 2)).then(() => heard(step))
        await Promise.all([run.sleep('beside', instruction.ms), beside])
        break
      }
      case 'sleep':
        await run.sleep(instruction.name, instruction.ms)
        break
      case 'wait':
        values.push(
          await run.waitFor(instruction.name, instruction.ms === undefined ? {} : { timeoutMs: instruction.ms }),
        )
        break
      case 'update':
        await run.update({ stage: 'on', progress: 0.5 })
        break
      case 'pause':
        await host.work(instruction.ms)
        break
      case 'flaky':
        if (host.alive && journal.failuresOf(run.id) < instruction.times)
          throw Object.assign(new Error('try again'), { retryable: true })
        break
      case 'fail':
        throw Object.assign(new Error('it cannot be done'), { code: 'cannot_be_done' })
    }
  }
  return values
}
