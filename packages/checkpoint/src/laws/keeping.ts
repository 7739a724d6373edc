import type { RunInput } from '../run-record.ts'
import type { Kept } from '../store.ts'
import { refusalOf } from '../unit.ts'
import {
  accepted,
  bytes,
  commit,
  ending,
  equal,
  heldOf,
  input,
  type Laws,
  outcome,
  put,
  record,
  refused,
  rejects,
  step,
} from './subject.ts'

/** The laws of what is kept. */
export const keepingLaws: Laws = [
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
        [stored?.status, stored?.owner, stored?.expiresAt, stored?.progress],
        [winner === 0 ? 'completed' : 'failed', undefined, 1_000, winner === 0 ? 1 : undefined],
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
]
