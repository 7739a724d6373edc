import { newRunId } from '../run-id.ts'
import type { RunInput, RunRecord } from '../run-record.ts'
import { accepted, ending, equal, heldOf, input, type Laws, put, refused } from './subject.ts'

/** The laws of how runs are found and removed. */
export const findingLaws: Laws = [
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
]
