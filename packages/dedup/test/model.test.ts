import fc from 'fast-check'
import { Hono } from 'hono'
import { describe, expect, test } from 'vitest'
import {
  type DedupOptions,
  type DedupStore,
  dedup,
  type KeyLink,
  RequestDeduplicator,
  type Write,
} from '../src/index.ts'
import { nodeCrypto } from '../src/node/crypto.ts'
import { memoryDedupStore } from '../src/stores/memory.ts'

const runs = Number(process.env['GW_MODEL_RUNS'] ?? 20_000)

/** How one request of a plan goes. */
interface Step {
  readonly node: 0 | 1
  readonly body: 'a' | 'b'
  /** What its handler does, if it is the one that runs. */
  readonly handler: 'answer' | 'fail' | 'refuse' | 'throw'
  /** How long it is on its way. */
  readonly arrives: number
  /** How long its handler takes. */
  readonly turns: number
  /** Whether its owner dies while the handler runs, or only outlives its lease. */
  readonly fate: 'lives' | 'dies' | 'is late'
}

const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.record({
    node: fc.constantFrom(0 as const, 1 as const),
    body: fc.oneof(
      { arbitrary: fc.constant('a' as const), weight: 5 },
      { arbitrary: fc.constant('b' as const), weight: 1 },
    ),
    handler: fc.constantFrom('answer', 'answer', 'answer', 'fail', 'refuse', 'throw') as fc.Arbitrary<Step['handler']>,
    arrives: fc.constantFrom(0, 1, 2, 4, 8, 12, 16),
    turns: fc.integer({ min: 1, max: 4 }),
    fate: fc.constantFrom('lives', 'lives', 'dies', 'is late', 'is late') as fc.Arbitrary<Step['fate']>,
  }),
  { minLength: 2, maxLength: 5 },
)

/** A store whose calls go and come in any order that the scheduler likes. */
function scheduled(store: DedupStore, scheduler: fc.Scheduler): DedupStore {
  const later = async <Result>(call: string, run: () => Promise<Result>): Promise<Result> => {
    await scheduler.schedule(Promise.resolve(), `${call} goes`)
    const result = await run().then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    )
    await scheduler.schedule(Promise.resolve(), `${call} comes`)
    if ('error' in result) throw result.error
    return result.value
  }
  return {
    ...store,
    tryClaim: (claim) => later('claim', () => store.tryClaim(claim)),
    get: (key, options) => later('get', () => store.get(key, options)),
    unit() {
      const unit = store.unit()
      return {
        add: (write, onCommitted) => unit.add(write, onCommitted),
        commit: () => later('commit', () => unit.commit()),
      }
    },
  }
}

interface Execution {
  readonly body: string
  readonly fence: number
  live: boolean
}

/** How the code under test is broken on purpose. */
interface Mutant {
  store?(store: DedupStore): DedupStore
  readonly options?: Partial<DedupOptions>
}

async function play(scheduler: fc.Scheduler, plan: readonly Step[], mutant: Mutant = {}): Promise<void> {
  const clock = { ms: 0 }
  const leaseMs = 1_000
  const memory = scheduled(memoryDedupStore({ monotonic: () => clock.ms }), scheduler)
  const store = mutant.store?.(memory) ?? memory
  const executions: Execution[] = []
  const violations: string[] = []
  const stepOf = new Map<string, Step>()
  const nodes = [0, 1].map(() => {
    const deduplicator = new RequestDeduplicator({
      store,
      leaseMs,
      crypto: nodeCrypto,
      encryption: false,
      monotonic: () => clock.ms,
      now: () => clock.ms,
    })
    const app = new Hono()
    app.post('/', dedup({ deduplicator, scope: 'global', onUnknown: 'execute', ...mutant.options }), async (c) => {
      const step = stepOf.get(c.req.header('x-step') ?? '')!
      const { fence } = c.get('idempotency')!
      const execution: Execution = { body: step.body, fence, live: true }
      // What is thrown here would be an answer.
      if (executions.some(({ live }) => live)) violations.push('two owners are live')
      if (executions.some(({ fence: earlier }) => earlier >= fence)) violations.push('a fence that does not grow')
      executions.push(execution)
      for (let i = 0; i < step.turns; i++) await scheduler.schedule(Promise.resolve(), 'the handler runs')
      execution.live = false
      if (step.fate !== 'lives') clock.ms += leaseMs + 1
      if (step.fate === 'dies') await new Promise(() => {})
      if (step.fate === 'is late') {
        for (let i = 0; i < 3 * step.turns; i++) await scheduler.schedule(Promise.resolve(), 'the late handler runs on')
      }
      if (step.handler === 'throw') throw new Error('thrown')
      if (step.handler === 'fail') return c.text('failed', 500)
      if (step.handler === 'refuse') return c.text('later', 429)
      return c.text(`answer of ${fence}`, 201)
    })
    app.onError((_, c) => c.text('error', 500))
    return { app, deduplicator }
  })
  await Promise.all(nodes.map(({ deduplicator }) => deduplicator.start()))
  const answers: {
    readonly step: Step
    readonly status: number
    readonly text: string
    readonly superseded: boolean
  }[] = []
  const sent = plan.map(async (step, i) => {
    stepOf.set(String(i), step)
    for (let turn = 0; turn <= step.arrives; turn++)
      await scheduler.schedule(Promise.resolve(), `request ${i} is on its way`)
    const response = await nodes[step.node]!.app.request('/', {
      method: 'POST',
      body: step.body,
      headers: { 'idempotency-key': 'k', 'x-step': String(i) },
    })
    const superseded = response.headers.get('idempotency-status') === 'superseded'
    answers.push({ step, status: response.status, text: await response.text(), superseded })
  })
  await Promise.race([Promise.all(sent), untilIdle(scheduler)])
  for (const { deduplicator } of nodes) await deduplicator.stop()

  expect(violations).toEqual([])
  // One answer a key, whoever got it and however often (P2); only the client of a late owner is told that it has another one.
  const kept = answers.filter(({ status, superseded }) => status === 201 && !superseded)
  expect(new Set(kept.map(({ text }) => text)).size).toBeLessThanOrEqual(1)
  for (const { step, text, status } of answers) {
    expect([201, 409, 422, 429, 500]).toContain(status)
    const by = executions.find(({ fence }) => text === `answer of ${fence}`)
    // Nobody gets the answer to another request.
    if (by !== undefined) expect(by.body).toBe(step.body)
  }
}

/** What dies never answers: all is over when nothing is left to schedule. */
async function untilIdle(scheduler: fc.Scheduler): Promise<void> {
  for (let idle = 0; idle < 3; idle++) {
    while (scheduler.count() > 0) {
      await scheduler.waitNext(1)
      idle = 0
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
}

const check = (parameters: fc.Parameters<unknown>, mutant?: Mutant) =>
  fc.check(
    fc.asyncProperty(fc.scheduler(), steps, async (scheduler, plan) => play(scheduler, plan, mutant)),
    parameters,
  )

test('D3: under any interleaving of two nodes one answer is kept a key, no two owners are live, and fences grow', {
  timeout: 600_000,
}, async () => {
  const { failed, counterexample, errorInstance } = await check({ numRuns: runs })
  expect([failed, errorInstance, counterexample]).toEqual([false, null, null])
})

// One in some thousand plans meets the rarest of them: from this seed each is met within 400, from any other perhaps not in 20,000.
describe('M2: the model finds what is broken on purpose', () => {
  const mutants: Readonly<Record<string, Mutant>> = {
    'a claim that looks first and writes then': {
      store: (store) => ({
        ...store,
        async tryClaim(claim) {
          const record = await store.get(claim.key)
          if (record !== undefined && record.token !== claim.replaces) return { kind: 'held', record }
          if (record !== undefined) await written(store, store.release(record))
          const answer = await store.tryClaim(claim)
          return answer.kind === 'claimed' ? answer : { kind: 'claimed', fence: answer.record.fence }
        },
      }),
    },
    'an answer that is kept whoever holds the key': {
      store: (store) => unfenced(store, 'complete'),
    },
    'a key that is freed whoever holds it': {
      store: (store) => unfenced(store, 'release'),
    },
    'a sweep that deletes what is under way': {
      store: (store) => ({
        ...store,
        async tryClaim(claim) {
          const record = await store.get(claim.key)
          if (record?.state === 'in_flight') await written(store, store.release(record))
          return store.tryClaim(claim)
        },
      }),
    },
    'a fingerprint without the body': { options: { compare: () => new Uint8Array() } },
  }
  for (const [name, mutant] of Object.entries(mutants)) {
    test(name, async () => {
      expect((await check({ numRuns: 20_000, seed: 8 }, mutant)).failed).toBe(true)
    })
  }
})

async function written(store: DedupStore, write: Write): Promise<void> {
  const unit = store.unit()
  unit.add(write)
  await unit.commit()
}

/** A write that acts for whoever has the key now. */
function unfenced(store: DedupStore, name: 'complete' | 'release'): DedupStore {
  const holders = new Map<string, string>()
  return {
    ...store,
    async tryClaim(claim) {
      const answer = await store.tryClaim(claim)
      if (answer.kind === 'claimed') holders.set(claim.key, claim.token)
      return answer
    },
    [name](link: KeyLink, ...rest: never[]) {
      const token = holders.get(link.key) ?? link.token
      return (store[name] as (link: KeyLink, ...rest: never[]) => Write)({ key: link.key, token }, ...rest)
    },
  }
}
