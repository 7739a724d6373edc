import { newRunId } from './run-id.ts'
import type { Outcome, RunInput, RunRecord, StepRecord } from './run-record.ts'
import type { CheckpointStore, Claim, Claimed, Ending, Held, Kept, Pulse, Statement } from './store.ts'
import { refusalOf, type Write } from './unit.ts'

/** A fresh, empty store, and what the suite must know of it. */
export interface StoreUnderTest {
  readonly store: CheckpointStore
  /** Called after the test. */
  close?(): Promise<void>
  /** Lets the store's clock go on; waits unless given. */
  elapse?(ms: number): Promise<void>
  /** A table of the user's own, for a transactional store. */
  readonly ledger?: {
    /** A statement that inserts one row, where `keep` carries statements. */
    readonly statement?: (id: string) => Statement
    /** A statement that fails. */
    readonly broken?: () => Statement
    /** Inserts one row in a transaction that `transact` gave. */
    readonly within?: (transaction: unknown, id: string) => Promise<void>
    count(id: string): Promise<number>
  }
}

/** The part of a test runner that the suite needs. */
export type TestFunction = (name: string, body: () => Promise<void>) => unknown

/** Registers one test for each law of `CheckpointStore` with `test`. `make` is called once a test. */
export function testCheckpointStore(test: TestFunction, make: () => Promise<StoreUnderTest>): void {
  for (const [name, law] of laws) {
    test(name, async () => {
      const subject = await make()
      try {
        await subject.store.open()
        await law(subject.store, subject)
      } finally {
        await subject.close?.()
      }
    })
  }
}

type Law = (store: CheckpointStore, subject: StoreUnderTest) => Promise<void>

const bytes = Uint8Array.from({ length: 256 }, (_, i) => i)
const alice = 'alice/1'
const bob = 'bob/1'
const long = 600_000

const laws: readonly (readonly [name: string, law: Law])[] = [
  [
    'law 1: an accepted run is there with its input and its past, and a second of its id is refused',
    async (store) => {
      const run = record({
        requestId: 'r"1',
        principal: 'ann ünïcode \u{1f600}',
        subject: 's',
        stage: 'a',
        progress: 0.1,
        data: '{"x":"\\u0000"}',
        links: { key: { a: [1, null] } },
        idempotencySeed: 'seed',
      })
      const input: RunInput = {
        url: 'http://h/a?b',
        headers: [
          ['a', 'b'],
          ['a', 'c'],
        ],
        variables: '{"v":1}',
        body: bytes,
      }
      const past = [step('one'), step('two', { value: bytes, occurrence: 2 })]
      await put(store, store.accept(run, input, { steps: past }))
      equal(await store.get(run.id), run)
      equal(await store.input(run.id), input)
      equal(await store.steps(run.id), past)
      equal(await store.outcome(run.id), undefined)
      equal(await refused(store, store.accept({ ...run, operation: 'other' }, input)), 'exists')
      equal(await store.get(run.id), run)
      const over = record({ status: 'completed', owner: undefined, expiresAt: 5, settled: true })
      await put(store, store.accept(over, input, { steps: past, outcome: outcome(201) }))
      equal(await store.outcome(over.id), outcome(201))
      equal(await store.get('absent'), undefined)
      equal(await store.input('absent'), undefined)
      equal(await store.steps('absent'), [])
    },
  ],
  [
    'law 2: only the owner with the present fence may write, and only while the run is running',
    async (store) => {
      const run = await accepted(store)
      const [taken] = (await claim(store, { owner: bob, alone: true })).runs
      equal(taken?.fence, run.fence + 1)
      for (const held of [heldOf(run), { id: run.id, fence: run.fence + 2 }]) {
        for (const write of writesOf(store, held)) equal(await refused(store, write), 'lease_lost')
      }
      for (const write of writesOf(store, { id: newRunId(0), fence: 1 }))
        equal(await refused(store, write), 'not_found')
      equal(await store.get(run.id), taken)
      equal(await store.steps(run.id), [])
      equal(await store.outcome(run.id), undefined)
      await put(
        store,
        store.suspend(heldOf(taken!), { status: 'parked', reason: 'r', wakeAt: undefined, attempt: 1, updatedAt: 9 }),
      )
      for (const write of writesOf(store, heldOf(taken!))) equal(await refused(store, write), 'lease_lost')
      const other = await accepted(store)
      await put(store, store.finish(heldOf(other), ending('failed')))
      for (const write of writesOf(store, heldOf(other))) equal(await refused(store, write), 'already_finished')
    },
  ],
  [
    'law 3: of any number of claims at once, each run goes to one, with a fence one higher',
    async (store) => {
      const runs = await Promise.all(
        Array.from({ length: 20 }, () => accepted(store, { status: 'queued', owner: undefined, fence: 0 })),
      )
      const owners = Array.from({ length: 12 }, (_, i) => `node-${i}/1`)
      await Promise.all(owners.map((owner) => put(store, store.beat(owner, long))))
      const claims = await Promise.all(owners.map((owner) => claim(store, { owner, limit: 7 })))
      const taken = claims.flatMap((each) => each.runs)
      equal(taken.map(({ id }) => id).sort(), runs.map(({ id }) => id).sort())
      equal(new Set(taken.map(({ fence }) => fence)), new Set([1]))
      for (const run of taken) equal(await store.get(run.id), run)
    },
  ],
  [
    'law 3: what a claim took whose answer was lost is held, and is taken again as an orphan, once',
    async (store) => {
      const run = await accepted(store, { status: 'queued', owner: undefined, fence: 0 })
      await claim(store, { owner: alice })
      await put(store, store.beat(alice, long))
      equal(await store.held(alice), [{ id: run.id, fence: 1 }])
      equal((await claim(store, { owner: alice })).runs, [])
      const again = await Promise.all(
        [1, 2].map(() => claim(store, { owner: alice, orphans: [{ id: run.id, fence: 1 }] })),
      )
      equal(
        again.flatMap(({ runs }) => runs.map(({ fence, recoveries }) => [fence, recoveries])),
        [[2, 0]],
      )
      equal((await claim(store, { owner: alice, orphans: [{ id: run.id, fence: 1 }] })).runs, [])
    },
  ],
  [
    'law 4: a claim takes what is queued, due or orphaned, and nothing else, oldest first',
    async (store, subject) => {
      const idle = { owner: undefined, fence: 0 } as const
      const queued = await accepted(store, { ...idle, status: 'queued' })
      const due = await accepted(store, { ...idle, status: 'waiting', wakeAt: 1_000 })
      const later = await accepted(store, { ...idle, status: 'waiting', wakeAt: 1_001 })
      await accepted(store, { ...idle, status: 'waiting' })
      await accepted(store, { ...idle, status: 'parked' })
      await accepted(store, { ...idle, status: 'completed', settled: true, expiresAt: 9 })
      await accepted(store, { ...idle, status: 'queued', operation: 'unknown' })
      const unknown = await accepted(store, { ...idle, status: 'queued', operation: 'unknown', cancelRequested: true })
      await accepted(store, { owner: alice })
      const orphan = await accepted(store, { owner: bob, recoveries: 3 })
      const nobody = await accepted(store, { owner: 'nobody/1' })
      await put(store, store.beat(alice, long))
      await put(store, store.beat(bob, 20))
      await elapse(subject, 60)
      const expected = [queued, due, unknown, orphan, nobody]
      const ask = { owner: 'carol/1', now: 1_000 }
      const first = await claim(store, { ...ask, limit: 2 })
      equal(
        first.runs.map(({ id }) => id),
        expected.slice(0, 2).map(({ id }) => id),
      )
      const rest = await claim(store, ask)
      equal(
        rest.runs.map(({ id }) => id),
        expected.slice(2).map(({ id }) => id),
      )
      equal(rest.nextWakeAt, later.wakeAt)
      equal(
        rest.runs.map(({ recoveries }) => recoveries),
        [0, 4, 1],
      )
      equal((await store.get(due.id))?.wakeAt, undefined)
      equal((await store.get(due.id))?.owner, 'carol/1')
      equal((await claim(store, ask)).runs, [])
      const alone = await claim(store, { ...ask, owner: 'dave/1', alone: true })
      equal(alone.runs.length, 6)
    },
  ],
  [
    'law 5: a run finishes once, to the byte, and does not complete once cancellation was asked for',
    async (store) => {
      const run = await accepted(store)
      const answers = [outcome(200), { ...outcome(500), body: new Uint8Array() }]
      const ends = await Promise.all(
        answers.map((answer, i) =>
          commit(
            store,
            store.finish(heldOf(run), { ...ending(i === 0 ? 'completed' : 'failed'), outcome: answer }),
          ).then(
            () => i,
            (error: unknown) => refusalOf(error)?.reason,
          ),
        ),
      )
      const winner = ends.find((end) => typeof end === 'number') as number
      equal(ends.filter((end) => end === 'already_finished').length, 1)
      equal(await store.outcome(run.id), answers[winner])
      const stored = await store.get(run.id)
      equal(
        [stored?.status, stored?.owner, stored?.expiresAt],
        [winner === 0 ? 'completed' : 'failed', undefined, 1_000],
      )
      const unwanted = await accepted(store)
      await put(store, store.cancel(unwanted.id, 5))
      equal(await refused(store, store.finish(heldOf(unwanted), ending('completed'))), 'cancel_requested')
      equal(await store.outcome(unwanted.id), undefined)
      await put(store, store.finish(heldOf(unwanted), ending('cancelled')))
    },
  ],
  [
    'law 6: steps come back in the order they were kept, values to the character or byte',
    async (store) => {
      const run = await accepted(store)
      const kept = [
        step('b', { value: '"\\u0000 \u{1f600} \u2028"' }),
        step('a', { state: 'started', value: undefined }),
        step('a', { value: bytes }),
        step('a', { occurrence: 2, state: 'unwinding', attempt: 3, startedAt: 7, keptAt: 8 }),
      ]
      await put(store, store.keep(heldOf(run), kept.slice(0, 1)))
      const answer = (await put(store, store.keep(heldOf(run), kept.slice(1)))) as Kept
      equal(answer, { changed: [], cancelRequested: false })
      equal(await store.steps(run.id), kept)
    },
  ],
  [
    "law 6: the user's rows and the step are there together or not at all",
    async (store, { ledger }) => {
      if (!store.transactional) return
      const run = await accepted(store)
      if (ledger?.statement !== undefined && ledger.broken !== undefined) {
        const { statement, broken } = ledger
        equal(await put(store, store.keep(heldOf(run), [step('s')], [statement(run.id), statement(run.id)])), {
          changed: [1, 1],
          cancelRequested: false,
        })
        equal(
          (await store.steps(run.id)).map(({ value }) => value),
          ['[1,1]'],
        )
        await rejects(commit(store, store.keep(heldOf(run), [step('t')], [statement(run.id), broken()])))
        equal(
          await refused(store, store.keep({ id: run.id, fence: 9 }, [step('t')], [statement(run.id)])),
          'lease_lost',
        )
        equal([await ledger.count(run.id), (await store.steps(run.id)).length], [2, 1])
      } else if (ledger?.within !== undefined && store.transact !== undefined) {
        const { within } = ledger
        const work = async (transaction: unknown) => {
          await within(transaction, run.id)
          return step('s')
        }
        equal((await store.transact(heldOf(run), work)).cancelRequested, false)
        await rejects(store.transact({ id: run.id, fence: 9 }, work), 'lease_lost')
        await rejects(
          store.transact(heldOf(run), async (transaction) => {
            await within(transaction, run.id)
            throw new Error('no')
          }),
        )
        equal([await ledger.count(run.id), (await store.steps(run.id)).length], [1, 1])
      } else throw new Error('Expected a `ledger` for a transactional store')
    },
  ],
  [
    'law 7: cancelling queues what nobody runs, and the owner of a running run hears of it',
    async (store) => {
      const idle = { owner: undefined, fence: 0 } as const
      for (const status of ['queued', 'waiting', 'parked'] as const) {
        const run = await accepted(store, { ...idle, status, operation: 'unknown', wakeAt: 9_999 })
        const after = (await put(store, store.cancel(run.id, 5))) as RunRecord
        equal([after.status, after.cancelRequested, after.wakeAt], ['queued', true, undefined])
      }
      equal((await claim(store, { owner: bob })).runs.length, 3)
      const run = await accepted(store, { owner: alice })
      await put(store, store.cancel(run.id, 5))
      equal((await store.get(run.id))?.status, 'running')
      equal(((await put(store, store.beat(alice, long))) as Pulse).cancelRequested, [run.id])
      equal(((await put(store, store.beat('alice/2', long))) as Pulse).cancelRequested, [])
      equal(await put(store, store.keep(heldOf(run), [step('a')])), { changed: [], cancelRequested: true })
      equal((await store.steps(run.id)).length, 1)
      await put(store, store.finish(heldOf(run), ending('cancelled')))
      for (const status of ['waiting', 'parked'] as const) {
        const unaware = await accepted(store, { owner: alice })
        await put(store, store.cancel(unaware.id, 5))
        const aside = { status, reason: 'r', wakeAt: undefined, attempt: 1, updatedAt: 7 } as const
        equal(await put(store, store.suspend(heldOf(unaware), aside)), 'queued')
      }
      const aware = await accepted(store, { owner: alice })
      await put(store, store.cancel(aware.id, 5))
      const parked = { status: 'parked', reason: 'r', wakeAt: undefined, attempt: 1, cancelSeen: true } as const
      equal(await put(store, store.suspend(heldOf(aware), { ...parked, updatedAt: 7 })), 'parked')
      equal(await refused(store, store.cancel(run.id, 6)), 'already_finished')
      equal(await refused(store, store.cancel(newRunId(0), 6)), 'not_found')
    },
  ],
  [
    'law 8: signals are kept in order and wake a run that waits, also one that is about to',
    async (store) => {
      const waiting = await accepted(store, { status: 'waiting', owner: undefined, fence: 1 })
      const after = (await put(store, store.signal(waiting.id, 'go', '{"a":1}', 5))) as RunRecord
      equal([after.status, after.signals], ['queued', 1])
      await put(store, store.signal(waiting.id, 'go', bytes, 6))
      await put(store, store.signal(waiting.id, 'stop', '1', 6))
      equal(
        (await store.steps(waiting.id)).map(({ name, occurrence, state, value }) => [name, occurrence, state, value]),
        [
          ['go', 1, 'signal', '{"a":1}'],
          ['go', 2, 'signal', bytes],
          ['stop', 1, 'signal', '1'],
        ],
      )
      const run = await accepted(store)
      await put(store, store.signal(run.id, 'go', '1', 5))
      equal((await store.get(run.id))?.status, 'running')
      const wait = { status: 'waiting', reason: 'r', wakeAt: 99, attempt: 1, updatedAt: 7 } as const
      equal(await put(store, store.suspend(heldOf(run), { ...wait, signalsSeen: 0 })), 'queued')
      const seen = await accepted(store)
      await put(store, store.signal(seen.id, 'go', '1', 5))
      equal(await put(store, store.suspend(heldOf(seen), { ...wait, signalsSeen: 1 })), 'waiting')
      const over = await accepted(store)
      await put(store, store.finish(heldOf(over), ending('completed')))
      equal(await refused(store, store.signal(over.id, 'go', '1', 5)), 'already_finished')
    },
  ],
  [
    'law 9: a run is put back only from where it was seen, and without its outcome',
    async (store) => {
      const run = await accepted(store, { attempt: 3, recoveries: 4 })
      const requeue = { id: run.id, drop: [], keep: [], updatedAt: 9 }
      equal(await refused(store, store.requeue({ ...requeue, revision: run.revision })), 'not_resumable')
      await put(
        store,
        store.keep(heldOf(run), [step('a'), step('b', { state: 'started', value: undefined }), step('c')]),
      )
      await put(store, store.finish(heldOf(run), ending('failed')))
      const { revision } = (await store.get(run.id))!
      equal(await refused(store, store.requeue({ ...requeue, revision: revision - 1 })), 'stale')
      const drop = [{ name: 'b', occurrence: 1, state: 'started' as const }]
      await put(store, store.requeue({ ...requeue, revision, drop, keep: [step('b')] }))
      const queued = await store.get(run.id)
      equal(
        [queued?.status, queued?.attempt, queued?.recoveries, queued?.reason, queued?.expiresAt, queued?.fence],
        ['queued', 1, 0, undefined, undefined, run.fence],
      )
      equal(await store.outcome(run.id), undefined)
      equal(
        (await store.steps(run.id)).map(({ name, state }) => `${name} ${state}`),
        ['a kept', 'c kept', 'b kept'],
      )
      const done = await accepted(store)
      await put(store, store.finish(heldOf(done), ending('completed')))
      equal(
        await refused(store, store.requeue({ ...requeue, id: done.id, revision: done.revision + 1 })),
        'not_resumable',
      )
    },
  ],
  [
    'law 10: lists page without repeats or gaps, by every field, and counts are those of a full list',
    async (store) => {
      const statuses = ['queued', 'waiting', 'parked', 'completed', 'failed'] as const
      for (let i = 0; i < 23; i++) {
        await accepted(store, {
          id: newRunId(1_000 + i),
          status: statuses[i % statuses.length]!,
          owner: undefined,
          operation: `op-${i % 2}`,
          principal: `p-${i % 3}`,
          requestId: `r-${i}`,
          stage: i % 2 === 0 ? 'even' : undefined,
          createdAt: 1_000 + i,
          updatedAt: 2_000 + i,
        })
      }
      const all = await store.list({ limit: 100 })
      equal(
        all.map(({ id }) => id),
        [...all.map(({ id }) => id)].sort().reverse(),
      )
      const paged: string[] = []
      for (let before: string | undefined; ; ) {
        const page = await store.list({ limit: 5, ...(before === undefined ? {} : { before }) })
        paged.push(...page.map(({ id }) => id))
        before = page.at(-1)?.id
        if (page.length < 5) break
      }
      equal(
        paged,
        all.map(({ id }) => id),
      )
      const count = async (query: Partial<Parameters<typeof store.list>[0]>) =>
        (await store.list({ limit: 100, ...query })).length
      const by = (test: (run: RunRecord) => boolean) => all.filter(test).length
      equal(
        await count({ status: 'failed' }),
        by(({ status }) => status === 'failed'),
      )
      equal(
        await count({ status: ['failed', 'queued'] }),
        by(({ status }) => status === 'failed' || status === 'queued'),
      )
      equal(
        await count({ operation: 'op-1', principal: 'p-2' }),
        by((run) => run.operation === 'op-1' && run.principal === 'p-2'),
      )
      equal([await count({ requestId: 'r-7' }), await count({ stage: 'even' })], [1, 12])
      equal([await count({ createdFrom: 1_003, createdTo: 1_006 }), await count({ updatedFrom: 2_020 })], [3, 3])
      equal(await count({ updatedTo: 2_001 }), 1)
      const counts = await store.counts()
      for (const status of Object.keys(counts))
        equal(
          counts[status as never],
          by((run) => run.status === status),
        )
    },
  ],
  [
    'law 11: only finished, settled runs past their time are collected, at most as many as asked; a live run never',
    async (store) => {
      const old = { expiresAt: 1_000, settled: true, owner: undefined } as const
      const over = [
        await accepted(store, { ...old, status: 'completed' }),
        await accepted(store, { ...old, status: 'failed' }),
        await accepted(store, { ...old, status: 'dead' }),
      ]
      const kept = [
        await accepted(store, { ...old, status: 'completed', expiresAt: 1_001 }),
        await accepted(store, { ...old, status: 'completed', settled: false }),
        await accepted(store, { ...old, status: 'queued' }),
        await accepted(store, { ...old, status: 'parked' }),
        await accepted(store, { expiresAt: 1_000, settled: true }),
      ]
      equal([await put(store, store.collect(1_000, 2)), await put(store, store.collect(1_000, 2))], [2, 1])
      equal(await put(store, store.collect(1_000, 2)), 0)
      equal((await store.list({ limit: 100 })).map(({ id }) => id).sort(), kept.map(({ id }) => id).sort())
      for (const { id } of over) equal([await store.input(id), await store.steps(id)], [undefined, []])
      equal(await refused(store, store.remove([kept[0]!, kept[2]!])), 'stale')
      equal(await refused(store, store.remove([{ id: kept[0]!.id, revision: 99 }])), 'stale')
      await put(store, store.remove([kept[0]!]))
      equal(await store.get(kept[0]!.id), undefined)
      equal((await store.counts()).completed, 1)
    },
  ],
  [
    'law 11: a run that is removed and accepted again in one unit is there as it was accepted last, and counted once',
    async (store) => {
      const run = await accepted(store, { status: 'completed', owner: undefined, settled: true, expiresAt: 9 })
      const before = await store.counts()
      const other: RunInput = { ...input, url: 'http://h/other' }
      const unit = store.unit()
      unit.add(store.remove([run]))
      unit.add(store.accept(run, other))
      await unit.commit()
      equal([await store.get(run.id), await store.input(run.id)], [run, other])
      equal([await store.steps(run.id), await store.outcome(run.id)], [[], undefined])
      equal([await store.counts(), (await store.list({ limit: 10 })).length], [before, 1])
    },
  ],
  [
    'law 12: a refused unit leaves nothing of any of its writes',
    async (store) => {
      const run = await accepted(store)
      const before = await store.counts()
      const other = record()
      const unit = store.unit()
      unit.add(store.accept(other, input))
      unit.add(store.keep(heldOf(run), [step('a')]))
      unit.add(store.patch(heldOf(run), { stage: 's', updatedAt: 5 }))
      unit.add(store.finish({ id: run.id, fence: 99 }, ending('completed')))
      await rejects(unit.commit(), 'lease_lost')
      equal(await store.get(other.id), undefined)
      equal(await store.get(run.id), run)
      equal([await store.steps(run.id), await store.counts()], [[], before])
      const both = store.unit()
      const results: unknown[] = []
      both.add(store.keep(heldOf(run), [step('a')]), (result) => results.push(result))
      both.add(store.finish(heldOf(run), ending('completed')), (result) => results.push(result))
      await both.commit()
      equal([results.length, (await store.get(run.id))?.status], [2, 'completed'])
    },
  ],
  [
    'law 13: a revision grows with every change, and patches at once lose nothing',
    async (store) => {
      const run = await accepted(store, { data: '{"a":1,"b":1}' })
      const patches = [{ merge: '{"b":2}' }, { merge: '{"c":3}' }, { stage: 'x' }, { progress: 0.5 }]
      await Promise.all(patches.map((patch) => put(store, store.patch(heldOf(run), { ...patch, updatedAt: 7 }))))
      const after = (await store.get(run.id))!
      equal([after.stage, after.progress, after.revision], ['x', 0.5, run.revision + 4])
      equal(JSON.parse(after.data!), { a: 1, b: 2, c: 3 })
      await put(store, store.patch(heldOf(run), { data: '[1]', updatedAt: 8 }))
      equal((await store.get(run.id))?.data, '[1]')
    },
  ],
  [
    'law 14: what an outcome still drives elsewhere is found until it is settled',
    async (store) => {
      const run = await accepted(store)
      await put(store, store.finish(heldOf(run), { ...ending('completed'), settled: false }))
      equal(
        (await store.unsettled(10)).map(({ id }) => id),
        [run.id],
      )
      await put(store, store.settle(run.id))
      equal(await store.unsettled(10), [])
    },
  ],
  [
    'law 15: a lease runs from the last beat; a beat after it says that it had lapsed; leaving ends it at once',
    async (store, subject) => {
      const lives = async (owner: string) => {
        const lease = (await store.owners?.())?.find((each) => each.owner === owner)
        return lease === undefined ? undefined : lease.leaseRemainingMs > 0
      }
      const pulse = async (owner: string, leaseMs: number) =>
        ((await put(store, store.beat(owner, leaseMs))) as Pulse).lapsed
      const takes = async (owner: string) => {
        const run = await accepted(store, { owner })
        const { runs } = await claim(store, { owner: 'taker/1' })
        return runs.some(({ id }) => id === run.id)
      }
      equal([await pulse(alice, long), await pulse(alice, long)], [true, false])
      equal(await takes(alice), false)
      if (store.owners !== undefined) equal(await lives(alice), true)
      await put(store, store.leave(alice))
      equal(await lives(alice), undefined)
      equal(await takes(alice), true)
      equal(await pulse(bob, 20), true)
      await elapse(subject, 60)
      if (store.owners !== undefined) equal(await lives(bob), false)
      equal(await takes(bob), true)
      equal([await pulse(bob, long), await pulse(bob, long)], [true, false])
    },
  ],
]

const input: RunInput = { url: 'http://h/', headers: [], variables: '{}', body: new Uint8Array([1, 2]) }

let accepts = 0

function record(changes: Partial<RunRecord> = {}): RunRecord {
  accepts++
  return {
    id: newRunId(1_700_000_000_000 + accepts),
    requestId: undefined,
    operation: 'job',
    version: '1',
    method: 'POST',
    route: '/jobs/:kind',
    principal: undefined,
    subject: undefined,
    status: 'running',
    owner: alice,
    fence: 1,
    revision: 1,
    attempt: 1,
    recoveries: 0,
    stage: undefined,
    progress: undefined,
    data: undefined,
    reason: undefined,
    wakeAt: undefined,
    cancelRequested: false,
    signals: 0,
    links: {},
    idempotencySeed: undefined,
    settled: false,
    expiresAt: undefined,
    createdAt: 1,
    updatedAt: 2,
    ...changes,
  }
}

function step(name: string, changes: Partial<StepRecord> = {}): StepRecord {
  return { name, occurrence: 1, state: 'kept', value: '"v"', attempt: 1, startedAt: 3, keptAt: 4, ...changes }
}

function outcome(status: number): Outcome {
  return {
    status,
    headers: [
      ['link', '<a>'],
      ['link', '<b>'],
    ],
    body: bytes,
    retained: true,
  }
}

function ending(status: Ending['status']): Ending {
  return { status, reason: undefined, outcome: outcome(200), settled: true, expiresAt: 1_000, updatedAt: 9 }
}

function heldOf({ id, fence }: RunRecord): Held {
  return { id, fence }
}

function writesOf(store: CheckpointStore, held: Held): Write[] {
  return [
    store.keep(held, [step('a')]),
    store.patch(held, { stage: 'never', updatedAt: 9 }),
    store.suspend(held, { status: 'waiting', reason: 'never', wakeAt: 9, attempt: 9, updatedAt: 9 }),
    store.finish(held, ending('completed')),
  ]
}

async function accepted(store: CheckpointStore, changes: Partial<RunRecord> = {}): Promise<RunRecord> {
  const run = record(changes)
  await put(store, store.accept(run, input))
  return run
}

function claim(store: CheckpointStore, changes: Partial<Claim> & { readonly owner: string }): Promise<Claimed> {
  const ask: Claim = { operations: ['job'], orphans: [], alone: false, limit: 100, now: 1_000, ...changes }
  return put(store, store.claim(ask)) as Promise<Claimed>
}

async function commit(store: CheckpointStore, write: Write): Promise<unknown> {
  const unit = store.unit()
  let result: unknown
  unit.add(write, (value) => {
    result = value
  })
  await unit.commit()
  return result
}

async function put(store: CheckpointStore, write: Write): Promise<unknown> {
  return commit(store, write)
}

async function refused(store: CheckpointStore, write: Write): Promise<unknown> {
  try {
    await commit(store, write)
  } catch (error) {
    const refusal = refusalOf(error)
    if (refusal === undefined) throw error
    return refusal.reason
  }
  throw new Error('Expected the write to be refused')
}

async function rejects(work: Promise<unknown>, reason?: string): Promise<void> {
  try {
    await work
  } catch (error) {
    if (reason !== undefined) equal(refusalOf(error)?.reason, reason)
    return
  }
  throw new Error('Expected a rejection')
}

function elapse(subject: StoreUnderTest, ms: number): Promise<void> {
  return subject.elapse?.(ms) ?? new Promise((resolve) => setTimeout(resolve, ms))
}

function equal(actual: unknown, expected: unknown): void {
  const [a, b] = [shown(actual), shown(expected)]
  if (a !== b) throw new Error(`Expected ${b}\n     got ${a}`)
}

/** A text that equal values share, whatever the order of their fields. */
function shown(value: unknown): string {
  if (value instanceof Uint8Array) return `bytes(${[...value].join(' ')})`
  if (value instanceof Set) return `set(${[...value].map(shown).sort().join(', ')})`
  if (Array.isArray(value)) return `[${value.map(shown).join(', ')}]`
  if (typeof value !== 'object' || value === null)
    return typeof value === 'string' ? JSON.stringify(value) : String(value)
  const fields = Object.entries(value).filter(([, each]) => each !== undefined)
  return `{${fields
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, each]) => `${name}: ${shown(each)}`)
    .join(', ')}}`
}
