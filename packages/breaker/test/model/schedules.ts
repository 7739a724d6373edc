import fc from 'fast-check'
import type { CircuitBreaker as Breaker, CircuitBreakerOptions, Permit } from '../../src/index.ts'
import { type Configuration, type ModelCall, Reference, type Verdict } from './reference.ts'

/** The machine under test: the package's source, or a copy of it with a bug planted. */
export interface Machine {
  readonly CircuitBreaker: new (options: CircuitBreakerOptions) => Breaker
  loadCockatiel(): Promise<unknown>
}

type Way = 'run' | 'signal' | 'permit'
type Result = 'ok' | 'failure' | 'neutral' | 'unexpected' | 'aborted'
type Command =
  | { readonly do: 'start'; readonly way: Way }
  | { readonly do: 'settle'; readonly which: number; readonly result: Result }
  | { readonly do: 'settle all'; readonly results: readonly ('ok' | 'failure')[] }
  | { readonly do: 'at once'; readonly way: Way; readonly result: 'ok' | 'failure' | 'neutral' }
  | { readonly do: 'advance'; readonly ms: number }
  | { readonly do: 'step the wall clock'; readonly ms: number }
  | { readonly do: 'operator'; readonly act: 'reset' | 'open' | 'closed' | 'disabled' | 'trip' }

const windowMs = 1_000
const way = fc.constantFrom<Way>('run', 'signal', 'permit')
const advance = fc.constantFrom(1, 9, 50, 100, 199, 200, 201, 299, 300, 499, 500, 501, 700, 999, 1_000, 1_001, 3_000)
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('start' as const), way }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      which: fc.nat({ max: 7 }),
      result: fc.constantFrom<Result>('ok', 'failure', 'failure', 'neutral', 'unexpected', 'aborted'),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('settle all' as const),
      results: fc.array(fc.constantFrom('ok' as const, 'failure' as const), { minLength: 1, maxLength: 5 }),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('at once' as const),
      way,
      result: fc.constantFrom(
        'ok' as const,
        'failure' as const,
        'failure' as const,
        'failure' as const,
        'neutral' as const,
      ),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('advance' as const), ms: advance }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('step the wall clock' as const),
      ms: fc.constantFrom(3_600_000, -3_600_000, 1_000, -1_000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('operator' as const),
      act: fc.constantFrom(
        'reset' as const,
        'reset' as const,
        'open' as const,
        'closed' as const,
        'disabled' as const,
        'trip' as const,
      ),
    }),
  },
)

const configuration: fc.Arbitrary<Configuration> = fc.record({
  failureThreshold: fc.integer({ min: 1, max: 4 }),
  rollingWindowMs: fc.constant(windowMs),
  openMs: fc.constantFrom(200, 500),
  halfOpenMaxCalls: fc.integer({ min: 1, max: 3 }),
  maxHalfOpenMs: fc.constantFrom(300, 3_000),
  consecutive: fc.boolean(),
  failureRatio: fc.constantFrom(undefined, undefined, 0.5, 1),
  minimumCalls: fc.constantFrom(2, 4),
})

/** How often the schedules came by what matters: a model that never gets there proves nothing. */
export interface Coverage {
  schedules: number
  commands: number
  opened: number
  trials: number
  closed: number
  hung: number
  late: number
  neutral: number
  rejected: number
  suppressed: number
}

interface Running {
  readonly call: ModelCall
  readonly way: Way
  /** Ends the call, and waits until the breaker has drawn its conclusion. */
  end(result: Result): Promise<void>
}

const failure = Object.assign(new Error('down'), { code: 'EDOWN' })
const neutral = Object.assign(new Error('says nothing'), { code: 'ENEUTRAL' })
const unexpected = Object.assign(new Error('another'), { code: 'EOTHER' })
const verdicts: Readonly<Record<Result, Verdict>> = {
  ok: 'ok',
  failure: 'failure',
  neutral: 'neutral',
  unexpected: 'ok',
  aborted: 'neutral',
}
const operator = { actor: 'model' }

/** Runs `runs` schedules of commands and throws at the first that the machine and the reference see differently. */
export async function checkSchedules(machine: Machine, runs: number, seed?: number): Promise<Coverage> {
  await machine.loadCockatiel()
  const coverage: Coverage = {
    schedules: 0,
    commands: 0,
    opened: 0,
    trials: 0,
    closed: 0,
    hung: 0,
    late: 0,
    neutral: 0,
    rejected: 0,
    suppressed: 0,
  }
  await fc.assert(
    fc.asyncProperty(
      configuration,
      fc.array(command, { minLength: 12, maxLength: 60, size: 'max' }),
      (settings, commands) => schedule(machine, settings, commands, coverage),
    ),
    { numRuns: runs, ...(seed === undefined ? {} : { seed }) },
  )
  return coverage
}

async function schedule(
  { CircuitBreaker }: Machine,
  settings: Configuration,
  commands: readonly Command[],
  coverage: Coverage,
): Promise<void> {
  const model = new Reference(settings)
  let wallMs = 1_700_000_000_000
  const { failureRatio, ...rest } = settings
  const breaker = new CircuitBreaker({
    name: 'x',
    ...rest,
    ...(failureRatio === undefined ? {} : { failureRatio }),
    expectedErrors: ['EDOWN'],
    ignoreErrors: ['ENEUTRAL'],
    now: () => model.nowMs,
    wallNow: () => wallMs,
    onTransition: ({ type }) => {
      if (type === 'breaker.closed') coverage.closed++
    },
  })
  let running: Running[] = []
  const trialsOut = new Set<Running>()

  const start = async (kind: Way): Promise<Running | undefined> => {
    const call = model.start()
    const begun = await begin(breaker, kind)
    if ((call === undefined) !== (begun === undefined))
      throw new Error(
        `${call === undefined ? 'called' : 'refused'} a call that was to be ${call === undefined ? 'refused' : 'made'}`,
      )
    if (call === undefined || begun === undefined) return undefined
    return { call, way: kind, end: begun }
  }
  const end = async (one: Running, result: Result): Promise<void> => {
    trialsOut.delete(one)
    model.settle(one.call, verdicts[result])
    await one.end(result)
  }

  for (const each of commands) {
    coverage.commands++
    switch (each.do) {
      case 'start': {
        const one = await start(each.way)
        if (one !== undefined) running.push(one)
        break
      }
      case 'settle': {
        const [one] = running.splice(each.which % Math.max(1, running.length), 1)
        // Only a call that was given the signal can be aborted, and a permit is released instead.
        if (one !== undefined) await end(one, each.result === 'aborted' && one.way === 'run' ? 'neutral' : each.result)
        break
      }
      case 'settle all': {
        // Of one way, so that all take the same number of turns from their end to the breaker.
        const batch = running.filter((one) => one.way === running[0]?.way).slice(0, each.results.length)
        running = running.filter((one) => !batch.includes(one))
        await Promise.all(batch.map((one, index) => end(one, each.results[index]!)))
        break
      }
      case 'at once': {
        const one = await start(each.way)
        if (one !== undefined) await end(one, each.result)
        break
      }
      case 'advance':
        model.nowMs += each.ms
        wallMs += each.ms
        break
      case 'step the wall clock':
        wallMs += each.ms
        break
      case 'operator':
        if (each.act === 'reset') {
          model.reset()
          breaker.reset(operator)
        } else if (each.act === 'trip') {
          model.trip()
          breaker.trip()
        } else {
          model.force(each.act)
          if (each.act === 'open') breaker.forceOpen(operator)
          else if (each.act === 'closed') breaker.forceClose(operator)
          else breaker.disable(operator)
        }
    }
    compare(breaker, model, settings, wallMs)
  }
  const { opened, trials, hung, late, neutral: said, rejected, suppressed } = breaker.figures
  coverage.schedules++
  coverage.opened += opened
  coverage.trials += trials
  coverage.hung += hung
  coverage.late += late
  coverage.neutral += said
  coverage.rejected += rejected
  coverage.suppressed += suppressed
  await Promise.all(running.map((one) => one.end('neutral')))
}

/** Starts a call in its way; `undefined` when it was refused. */
async function begin(breaker: Breaker, kind: Way): Promise<((result: Result) => Promise<void>) | undefined> {
  if (kind === 'permit') {
    let permit: Permit
    try {
      permit = await breaker.permit()
    } catch (error) {
      return refused(error)
    }
    return async (result) => {
      if (result === 'ok') await permit.succeed()
      else if (result === 'failure') await permit.fail(failure)
      else if (result === 'unexpected') await permit.fail(unexpected)
      else await (result === 'neutral' ? permit.fail(neutral) : permit.release())
      // The second word of a permit is not heard.
      await permit.fail(failure)
    }
  }
  const controller = kind === 'signal' ? new AbortController() : undefined
  let resolve!: (value: string) => void
  let reject!: (error: unknown) => void
  let called = false
  const promise = breaker.run(
    () => {
      called = true
      return new Promise<string>((ok, no) => {
        resolve = ok
        reject = no
      })
    },
    ...(controller === undefined ? [] : [{ signal: controller.signal }]),
  )
  if (!called) return promise.then(() => undefined, refused)
  return async (result) => {
    let error: unknown
    if (result === 'ok') resolve('value')
    else if (result === 'aborted') {
      controller?.abort(neutral)
      error = failure
    } else error = result === 'failure' ? failure : result === 'neutral' ? neutral : unexpected
    if (error !== undefined) reject(error)
    const got = await promise.then(
      (value) => value,
      (thrown: unknown) => thrown,
    )
    if (got !== (error ?? 'value')) throw new Error(`the caller got ${String(got)}`)
  }
}

function refused(error: unknown): undefined {
  if ((error as { code?: unknown }).code !== 'breaker_open') throw error
  return undefined
}

function compare(breaker: Breaker, model: Reference, settings: Configuration, wallMs: number): void {
  model.look()
  const { figures } = breaker
  const seen = [
    breaker.state,
    breaker.forced,
    breaker.ready,
    breaker.failureCount,
    breaker.failureRate,
    breaker.nextAttemptTime?.getTime(),
    breaker.lastFailureTime?.getTime(),
    figures.successes,
    figures.failures,
    figures.neutral,
    figures.rejected,
    figures.late,
    figures.opened,
    figures.hung,
    figures.suppressed,
  ]
  const wanted = [
    model.state,
    model.forced,
    model.ready,
    model.failureCount,
    model.failureRate,
    model.state === 'OPEN' && model.forced === undefined ? wallMs + model.openUntil - model.nowMs : undefined,
    model.lastFailureAt === undefined ? undefined : wallMs + model.lastFailureAt - model.nowMs,
    model.successes,
    model.failures,
    model.neutral,
    model.rejected,
    model.late,
    model.opened,
    model.hung,
    model.suppressed,
  ]
  for (const [index, value] of wanted.entries())
    if (seen[index] !== value)
      throw new Error(`saw\n${JSON.stringify(seen)}, wanted\n${JSON.stringify(wanted)} (${index})`)
  if (model.state === 'HALF_OPEN' && model.trialsOut > settings.halfOpenMaxCalls)
    throw new Error(`${model.trialsOut} trials at once`)
}
