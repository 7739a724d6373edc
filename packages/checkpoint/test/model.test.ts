import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { queuedRun } from '../src/queued-run.ts'
import { newRunId } from '../src/run-id.ts'
import type { RunRecord, StepRecord } from '../src/run-record.ts'
import type { CheckpointStore, Claimed, Held, Requeue } from '../src/store.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import type { Write } from '../src/unit.ts'

const runs = Number(process.env['GW_MODEL_RUNS'] ?? 20_000)
const leaseMs = 1_000

/** What one of those who work on the run does next. */
type Act =
  | {
      readonly do: 'claim' | 'keep' | 'patch' | 'finish' | 'fail' | 'park' | 'wait' | 'beat' | 'leave'
      readonly who: 0 | 1
    }
  | { readonly do: 'cancel' | 'signal' | 'requeue' | 'lapse' | 'collect' }

const acts: fc.Arbitrary<readonly Act[]> = fc.array(
  fc.oneof(
    fc.record({
      do: fc.constantFrom(
        'claim',
        'claim',
        'keep',
        'keep',
        'patch',
        'finish',
        'finish',
        'fail',
        'park',
        'wait',
        'beat',
        'leave',
      ),
      who: fc.constantFrom(0 as const, 1 as const),
    }),
    fc.record({ do: fc.constantFrom('cancel', 'signal', 'requeue', 'requeue', 'lapse', 'lapse', 'collect') }),
  ) as fc.Arbitrary<Act>,
  { minLength: 3, maxLength: 10 },
)

const finished = new Set(['completed', 'failed', 'cancelled', 'dead'])

/** What the rules say of one write, by what was there before it: whether it may be applied, and what it then leaves. */
interface Rule {
  readonly may: boolean
  readonly leaves: Partial<RunRecord>
}

/** The reference: the rules of the specification in the fewest words, and none of the code that keeps them. */
function ruleOf(act: Act, before: RunRecord | undefined, held: Held, requeue: Requeue | undefined): Rule {
  if (act.do === 'collect') return { may: true, leaves: {} }
  if (before === undefined) return { may: false, leaves: {} }
  const mine = before.status === 'running' && before.fence === held.fence
  const open = !finished.has(before.status)
  switch (act.do) {
    case 'keep':
      return { may: mine, leaves: { revision: before.revision } }
    case 'patch':
      return { may: mine, leaves: { status: 'running', fence: before.fence } }
    case 'finish':
      return { may: mine && !before.cancelRequested, leaves: { status: 'completed', owner: undefined } }
    case 'fail':
      return { may: mine, leaves: { status: 'failed', owner: undefined } }
    case 'park':
    case 'wait': {
      const status = act.do === 'park' ? 'parked' : 'waiting'
      return { may: mine, leaves: { status: before.cancelRequested ? 'queued' : status, owner: undefined } }
    }
    case 'cancel':
      return {
        may: open,
        leaves: { cancelRequested: true, status: before.status === 'running' ? 'running' : 'queued' },
      }
    case 'signal':
      return { may: open, leaves: { status: before.status === 'waiting' ? 'queued' : before.status } }
    case 'requeue':
      return {
        may:
          requeue?.revision === before.revision &&
          before.status !== 'queued' &&
          before.status !== 'running' &&
          before.status !== 'completed',
        leaves: { status: 'queued', cancelRequested: false, fence: before.fence },
      }
    default:
      return { may: true, leaves: {} }
  }
}

/** How the store is broken on purpose. */
type Mutant = (store: CheckpointStore) => Partial<CheckpointStore>

/** Two owners and a person work on one run; each call to the store goes and comes when the scheduler likes, or its answer is lost. */
async function play(
  scheduler: fc.Scheduler,
  plan: readonly Act[],
  lost: readonly number[],
  mutant: Mutant = () => ({}),
): Promise<void> {
  const clock = { ms: 0 }
  const memory = memoryCheckpointStore({ shared: true, now: () => clock.ms })
  const store = { ...memory, ...mutant(memory) }
  const id = newRunId(0)
  const table = (memory.database as { runs: ReadonlyMap<string, RunRecord> }).runs
  const leases = new Map<string, number>()
  const owners = ['a/1', 'b/1'].map((name) => ({ name, held: { id, fence: 0 } }))
  const violations: string[] = []
  let calls = 0
  let step = 0
  let outcomes = 0
  let keptBefore: readonly StepRecord[] = []

  /** Sends one write; `judge` is told what was there before and after it, at the moment at which it is applied. */
  async function call(
    write: Write,
    judge: (applied: boolean, before: RunRecord | undefined, after: RunRecord | undefined) => void,
  ) {
    const n = calls++
    await scheduler.schedule(Promise.resolve(), 'goes')
    const before = table.get(id)
    let result: unknown
    const unit = store.unit()
    unit.add(write, (value) => {
      result = value
    })
    const applied = await unit.commit().then(
      () => true,
      () => false,
    )
    const after = table.get(id)
    if (!applied && after !== before) violations.push('a refused write left something')
    if (after !== undefined && before !== undefined && after !== before && after.revision <= before.revision)
      violations.push('P5: a revision that does not grow')
    if (after !== undefined && before !== undefined && after.fence < before.fence)
      violations.push('P3: a fence that shrinks')
    judge(applied, before, after)
    const kept = await memory.steps(id)
    if (after !== undefined && after.status !== 'queued' && keptBefore.some((each, i) => kept[i] !== each))
      violations.push('S1: a kept step is gone')
    keptBefore = kept
    await scheduler.schedule(Promise.resolve(), 'comes')
    return lost.includes(n) ? undefined : { applied, result }
  }

  const request = { operation: 'job', version: '1', method: 'POST', route: '/', requestId: undefined } as const
  const run = { ...queuedRun({ ...request, principal: undefined, subject: undefined }, 0), id, settled: true }
  const accepting = memory.unit()
  accepting.add(memory.accept(run, { url: '', headers: [], variables: '{}', body: new Uint8Array() }))
  await accepting.commit()

  async function claim(owner: (typeof owners)[number]): Promise<void> {
    await call(store.beat(owner.name, leaseMs), () => leases.set(owner.name, clock.ms + leaseMs))
    const mine = (await store.held(owner.name)).filter(({ fence }) => fence !== owner.held.fence)
    const asked = { owner: owner.name, operations: ['job'], orphans: mine, alone: false, limit: 9, now: clock.ms }
    const claimed = await call(store.claim(asked), (_, before, after) => {
      if (after === before || before === undefined || after === undefined) return
      const over = before.owner === undefined || !((leases.get(before.owner) ?? -1) > clock.ms)
      const orphan = before.owner === owner.name && mine.some(({ fence }) => fence === before.fence)
      const due = before.status === 'waiting' && before.wakeAt !== undefined && before.wakeAt <= clock.ms
      const may =
        before.status === 'queued' ||
        due ||
        (before.status === 'running' && (orphan || (over && before.owner !== owner.name)))
      if (!may) violations.push(`R1: ${before.status} of ${before.owner} was taken`)
      if (after.fence !== before.fence + 1 || after.owner !== owner.name)
        violations.push('P3: a claim without its own fence')
    })
    for (const taken of (claimed?.result as Claimed | undefined)?.runs ?? []) owner.held = { id, fence: taken.fence }
  }

  async function act(each: Act): Promise<void> {
    const owner = owners['who' in each ? each.who : 0]!
    const held = owner.held
    const seen = each.do === 'requeue' ? table.get(id) : undefined
    if (seen !== undefined) await scheduler.schedule(Promise.resolve(), 'a person thinks')
    const requeue = seen === undefined ? undefined : { id, revision: seen.revision, drop: [], keep: [], updatedAt: 0 }
    const write = writeOf(store, each, held, requeue, ++step, clock.ms)
    if (write === undefined) return
    await call(write, (applied, before, after) => {
      const { may, leaves } = ruleOf(each, before, held, requeue)
      if (applied !== may)
        violations.push(`${each.do} was ${applied ? '' : 'not '}applied to ${before?.status} under ${held.fence}`)
      if (before !== undefined && after === undefined && !finished.has(before.status))
        violations.push(`G1: a run that was ${before.status} is gone`)
      if (!applied || after === undefined) return
      for (const [name, value] of Object.entries(leaves))
        if (after[name as keyof RunRecord] !== value)
          violations.push(`${each.do} left ${name} ${String(after[name as keyof RunRecord])}`)
      if (each.do === 'finish' || each.do === 'fail') outcomes++
      if (each.do === 'requeue') outcomes = 0
      if (outcomes > 1) violations.push('O2: two outcomes')
    })
  }

  const lanes = [0, 1, 2].map(async (lane) => {
    for (const each of plan) {
      if (('who' in each ? each.who : 2) !== lane) continue
      await scheduler.schedule(Promise.resolve(), `lane ${lane} goes on`)
      if (each.do === 'lapse') clock.ms += leaseMs + 1
      else if (each.do === 'claim') await claim(owners[lane]!)
      else if (each.do === 'leave') {
        const { name } = owners[lane]!
        await call(store.leave(name), () => leases.delete(name))
      } else if (each.do === 'beat') {
        const { name } = owners[lane]!
        await call(store.beat(name, leaseMs), () => leases.set(name, clock.ms + leaseMs))
      } else await act(each)
    }
  })
  let over = false
  void Promise.all(lanes).then(() => {
    over = true
  })
  while (!over) {
    if (scheduler.count() > 0) await scheduler.waitNext(1)
    else await Promise.resolve()
  }
  expect(violations).toEqual([])
  expect((await memory.counts())[table.get(id)?.status ?? 'queued']).toBe(table.has(id) ? 1 : 0)
}

function writeOf(
  store: CheckpointStore,
  { do: what }: Act,
  held: Held,
  requeue: Requeue | undefined,
  step: number,
  now: number,
): Write | undefined {
  const outcome = { status: 200, headers: [], body: new Uint8Array(), retained: true }
  const ending = { reason: undefined, outcome, settled: true, expiresAt: 0, updatedAt: now }
  const aside = { reason: 'r', wakeAt: what === 'wait' ? now + 500 : undefined, attempt: 1, updatedAt: now }
  switch (what) {
    case 'keep':
      return store.keep(held, [
        { name: `s${step}`, occurrence: 1, state: 'kept', value: '1', attempt: 1, startedAt: 0, keptAt: 0 },
      ])
    case 'patch':
      return store.patch(held, { stage: `s${step}`, updatedAt: now })
    case 'finish':
      return store.finish(held, { ...ending, status: 'completed' })
    case 'fail':
      return store.finish(held, { ...ending, status: 'failed' })
    case 'park':
      return store.suspend(held, { ...aside, status: 'parked' })
    case 'wait':
      return store.suspend(held, { ...aside, status: 'waiting' })
    case 'cancel':
      return store.cancel(held.id, now)
    case 'signal':
      return store.signal(held.id, 'go', '1', now)
    case 'requeue':
      return requeue === undefined ? undefined : store.requeue(requeue)
    case 'collect':
      return store.collect(now, 9)
    default:
      return undefined
  }
}

const check = (parameters: fc.Parameters<unknown>, mutant?: Mutant) =>
  fc.check(
    fc.asyncProperty(fc.scheduler(), acts, fc.uniqueArray(fc.nat(30), { maxLength: 3 }), (scheduler, plan, lost) =>
      play(scheduler, plan, lost, mutant),
    ),
    parameters,
  )

test('reliability D3: under any interleaving of owners, people and lost answers each write is applied as the rules say', {
  timeout: 600_000,
}, async () => {
  const { failed, counterexample, errorInstance } = await check({ numRuns: runs })
  expect([failed, errorInstance, counterexample]).toEqual([false, null, null])
})

describe('M2: the model finds what is broken on purpose', () => {
  const rowOf = (store: CheckpointStore, id: string) =>
    (store.database as { runs: ReadonlyMap<string, RunRecord> }).runs.get(id)
  /** The write of `name` with the fence that the run has when it is applied. */
  const unfenced =
    (store: CheckpointStore, write: (held: Held) => Write): ((held: Held) => Write) =>
    (held) => ({
      procedure: 'memory',
      args: () => (write({ ...held, fence: rowOf(store, held.id)?.fence ?? 0 }).args as () => unknown)(),
    })
  const mutants: Readonly<Record<string, Mutant>> = {
    'a step that is kept whoever owns the run': (store) => ({
      keep: (held, steps) => unfenced(store, (now) => store.keep(now, steps))(held),
    }),
    'an outcome that is kept whoever owns the run': (store) => ({
      finish: (held, ending) => unfenced(store, (now) => store.finish(now, ending))(held),
    }),
    'a decision on a run that has changed since': (store) => ({
      requeue: (requeue) => ({
        procedure: 'memory',
        args: () =>
          (store.requeue({ ...requeue, revision: rowOf(store, requeue.id)?.revision ?? 0 }).args as () => unknown)(),
      }),
    }),
    'a claim that thinks itself alone': (store) => ({ claim: (claim) => store.claim({ ...claim, alone: true }) }),
    'a completion in spite of a cancellation': (store) => ({
      cancel: (id, now) => ({
        procedure: 'memory',
        args: () =>
          rowOf(store, id)?.status === 'running' ? undefined : (store.cancel(id, now).args as () => unknown)(),
      }),
    }),
    'a cancellation that a run which is put aside does not hear of': (store) => ({
      suspend: (held, suspension) => store.suspend(held, { ...suspension, cancelSeen: true }),
    }),
  }
  for (const [name, mutant] of Object.entries(mutants)) {
    test(`reliability M2: ${name}`, { timeout: 120_000 }, async () => {
      expect((await check({ numRuns: 5_000, seed: 1 }, mutant)).failed).toBe(true)
    })
  }
})
