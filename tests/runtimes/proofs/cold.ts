import { memoryCheckpointStore } from '@gw/checkpoint/memory'
import type { ColdStore } from '@gw/checkpoint/s3'
import { testCheckpointStore } from '@gw/checkpoint/testing'
import { tieredCheckpointStore } from '@gw/checkpoint/tiered'
import { same, type Test } from '../proof.ts'

export const bytes: Uint8Array = Uint8Array.from({ length: 70_000 }, (_, i) => i * 7)

/** The laws of a cold store that need no fault. `fresh` makes one on an empty folder. */
export function coldLaws(test: Test, fresh: () => ColdStore): void {
  test('law 1: an object is put once; the same bytes again are stored, others are refused and change nothing', async () => {
    const cold = fresh()
    same(await cold.put('runs/1', bytes), 'stored')
    same(await cold.put('runs/1', bytes), 'stored')
    same(await cold.put('runs/1', bytes.slice(1)), 'exists')
    same([...(await cold.get('runs/1'))!], [...bytes])
    same(await cold.put('runs/empty', new Uint8Array()), 'stored')
    same((await cold.get('runs/empty'))?.length, 0)
  })
  test('law 1: of many writers at once on one name the bytes of one stay, and only it is told so', async () => {
    const cold = fresh()
    const answers = await Promise.all(Array.from({ length: 16 }, (_, i) => cold.put('x', Uint8Array.of(i))))
    const winners = answers.flatMap((answer, i) => (answer === 'stored' ? [i] : []))
    same(winners.length, 1)
    same([...(await cold.get('x'))!], winners)
  })
  test('law 3, law 5: what was never put, or was removed, is not there, and removing it again is no error', async () => {
    const cold = fresh()
    same(await cold.get('runs/none'), undefined)
    await cold.put('runs/x', bytes)
    await cold.remove('runs/x')
    await cold.remove('runs/x')
    same([await cold.get('runs/x'), await cold.list('')], [undefined, []])
  })
  test('law 4: a listing of more than one page is whole and in order, below the prefix only, from any name on', async () => {
    const cold = fresh()
    const names = Array.from({ length: 1_203 }, (_, i) => `runs/${String(i * 7).padStart(5, '0')}`)
    for (let at = 0; at < names.length; at += 100)
      await Promise.all(names.slice(at, at + 100).map((name) => cold.put(name, Uint8Array.of(1))))
    await cold.put('backup/1', Uint8Array.of(1))
    same(await cold.list('runs/'), names)
    same(await cold.list(''), ['backup/1', ...names])
    same(await cold.list('runs/', { after: names[1_000]! }), names.slice(1_001))
    same(await cold.list('runs/', { after: 'runs/00006', limit: 3 }), names.slice(1, 4))
  })
  test('the probe passes', async () => {
    await fresh().probe()
  })
}

/** The suite of stores on memory in front of a cold store. */
export function tieredLaws(test: Test, fresh: () => ColdStore): void {
  testCheckpointStore(test, async () => {
    let elapsed = 0
    const primary = memoryCheckpointStore({ shared: true, now: () => elapsed })
    return {
      store: tieredCheckpointStore({ primary, cold: fresh(), coldAfterMs: 60_000, backupIntervalMs: 60_000 }),
      elapse: async (ms) => {
        elapsed += ms
      },
    }
  })
}
