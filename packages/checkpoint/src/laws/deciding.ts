import { newRunId } from '../run-id.ts'
import type { RunRecord } from '../run-record.ts'
import type { Pulse } from '../store.ts'
import {
  accepted,
  alice,
  bob,
  bytes,
  claim,
  ending,
  equal,
  heldOf,
  type Laws,
  long,
  put,
  refused,
  step,
} from './subject.ts'

/** The laws of what people decide about runs. */
export const decidingLaws: Laws = [
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
]
