import { newRunId } from '../run-id.ts'
import type { Pulse } from '../store.ts'
import {
  accepted,
  alice,
  bob,
  claim,
  elapse,
  ending,
  equal,
  heldOf,
  type Laws,
  long,
  put,
  refused,
  writesOf,
} from './subject.ts'

/** The laws of who may write. */
export const owningLaws: Laws = [
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
      await accepted(store, { ...idle, status: 'waiting', operation: 'unknown', wakeAt: 900 })
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
