import { ParkError, type Run, type StepContext } from '@gw/checkpoint'
import type { Appetite } from './appetite.ts'
import type { Chance } from './chance.ts'
import type { Journal } from './journal.ts'
import type { Host } from './loop.ts'

/** What `call` steps call, behind a breaker that is open while it is away. */
export interface Dependency {
  awayForMs(): number
}

/** What a durable handler does: its request's body says it. */
export type Instruction =
  | {
      readonly do: 'step' | 'undoable' | 'verified' | 'guarded' | 'call' | 'row'
      readonly name: string
      readonly ms: number
    }
  | { readonly do: 'both'; readonly names: readonly [string, string]; readonly ms: number }
  | { readonly do: 'sleep' | 'beside'; readonly name: string; readonly ms: number }
  | { readonly do: 'wait'; readonly name: string; readonly ms: number | undefined }
  | { readonly do: 'update' | 'pause'; readonly ms: number }
  | { readonly do: 'flaky'; readonly times: number }
  | { readonly do: 'fail' }

/** How long things take. */
export interface Pace {
  readonly leaseMs: number
  readonly longRatio: number
  /** How many leases what takes long takes at most. */
  readonly longestLeases: number
}

const usual = {
  step: 40,
  both: 10,
  row: 12,
  beside: 3,
  sleep: 5,
  wait: 6,
  update: 6,
  pause: 4,
  undoable: 6,
  verified: 4,
  guarded: 3,
  call: 4,
  flaky: 2,
  fail: 2,
} as const

/** Draws a program. */
export function drawProgram(chance: Chance, appetite: Appetite, pace: Pace): Instruction[] {
  const { leaseMs, longRatio, longestLeases } = pace
  const ms = (long = longRatio) =>
    chance.odds(long) ? chance.between(0.3, longestLeases) * leaseMs : chance.between(0, 200)
  const draw = (): Instruction | Instruction[] => {
    const name = chance.pick(['a', 'b', 'c'])
    const instruction = appetite.pick(chance, usual)
    switch (instruction) {
      case 'step':
        return { do: 'step', name, ms: ms() }
      case 'both':
        return { do: 'both', names: [name, chance.pick(['a', 'b', 'd'])], ms: ms() }
      case 'row':
        return { do: 'row', name: `row-${name}`, ms: ms() }
      case 'beside':
        return { do: 'beside', name, ms: chance.between(10, 2 * leaseMs) }
      case 'sleep':
        return { do: 'sleep', name: 'nap', ms: chance.between(10, 2 * leaseMs) }
      case 'wait':
        return { do: 'wait', name: 'go', ms: chance.odds(0.5) ? undefined : chance.between(50, 2 * leaseMs) }
      case 'update':
        return { do: 'update', ms: ms() }
      case 'pause':
        return { do: 'pause', ms: ms(0.4) }
      case 'undoable':
        return { do: 'undoable', name: `undo-${name}`, ms: ms() }
      case 'verified':
        return { do: 'verified', name: `sure-${name}`, ms: ms() }
      case 'guarded':
        // Of two in a row one may be kept while the other is under way.
        return [
          { do: 'guarded', name: `once-${name}`, ms: ms() },
          { do: 'guarded', name: `once-${chance.pick(['a', 'b'])}`, ms: ms(0.5) },
        ]
      case 'call':
        return { do: 'call', name: `call-${name}`, ms: ms() }
      case 'flaky':
        return { do: 'flaky', times: 1 + chance.below(2) }
      case 'fail':
        return { do: 'fail' }
    }
  }
  return Array.from({ length: 1 + chance.below(4) }, draw).flat()
}

/** Which steps give the values of a program's answer, in order; `undefined` for what is no step's. */
export function stepsOf(program: readonly Instruction[]): (string | undefined)[] {
  const nameOf = namer()
  return program.flatMap((instruction): (string | undefined)[] => {
    if (instruction.do === 'both') return instruction.names.map(nameOf)
    if (instruction.do === 'wait') return [undefined]
    if (instruction.do === 'row') {
      nameOf(instruction.name)
      return [undefined]
    }
    const isStep = 'name' in instruction && instruction.do !== 'sleep'
    const step = isStep ? nameOf(instruction.name) : undefined
    return step === undefined || instruction.do === 'beside' ? [] : [step]
  })
}

function namer(): (name: string) => string {
  const uses = new Map<string, number>()
  return (name) => {
    const use = (uses.get(name) ?? 0) + 1
    uses.set(name, use)
    return `${name}#${use}`
  }
}

/** Carries a program out as the handler of a run; resolves to the values of its steps. */
export async function carryOut(
  run: Run,
  program: readonly Instruction[],
  host: Host,
  journal: Journal,
  dependency: Dependency,
): Promise<unknown[]> {
  const values: unknown[] = []
  const nameOf = namer()
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
      case 'guarded': {
        const step = nameOf(instruction.name)
        values.push(await run.step(instruction.name, act(step, instruction.ms), { onCrash: 'park' }))
        heard(step)
        break
      }
      case 'call': {
        const step = nameOf(instruction.name)
        const call = (context: StepContext) => {
          const waitMs = dependency.awayForMs()
          if (waitMs > 0) throw new ParkError('breaker_open: the dependency is away', Math.ceil(host.now() + waitMs))
          return act(step, instruction.ms)(context)
        }
        values.push(await run.step(instruction.name, call))
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
        if (host.alive && journal.failuresOf(run.id) < instruction.times) {
          journal.threw(run.id)
          throw Object.assign(new Error('try again'), { retryable: true })
        }
        break
      case 'fail':
        throw Object.assign(new Error('it cannot be done'), { code: 'cannot_be_done' })
    }
  }
  return values
}
