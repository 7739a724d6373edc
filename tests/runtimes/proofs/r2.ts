import { memoryCheckpointStore } from '@gw/checkpoint/memory'
import { type R2Bucket, r2CheckpointStore } from '@gw/checkpoint/r2'
import { testCheckpointStore } from '@gw/checkpoint/testing'
import { tieredCheckpointStore } from '@gw/checkpoint/tiered'
import { type Proof, proof, same } from '../proof.ts'

const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => i * 7)

/** What an error is called, or what came instead. */
async function codeOf(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    (value) => ({ value }),
    (error: { code?: unknown }) => error.code,
  )
}

/** The laws of a cold store on a bucket of R2, and the suite of stores on what lies in front of one. */
export function r2Proofs(bucket: R2Bucket): Record<string, Proof> {
  const folder = () => crypto.randomUUID()
  const fresh = () => r2CheckpointStore({ bucket, prefix: folder() })
  /** A bucket with some calls of its own. */
  const faulty = (calls: Partial<R2Bucket>): R2Bucket => ({
    get: (key) => bucket.get(key),
    put: (key, value, options) => bucket.put(key, value, options),
    list: (options) => bucket.list(options),
    delete: (key) => bucket.delete(key),
    ...calls,
  })
  return {
    cold: proof((test) => {
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
      test('law 2: a put whose answer is lost is resolved by reading back, and one that cannot be is unknown', async () => {
        const prefix = folder()
        const lost = faulty({
          async put(...args) {
            await bucket.put(...args)
            throw new Error('the answer was lost')
          },
        })
        same(await r2CheckpointStore({ bucket: lost, prefix }).put('a', bytes), 'stored')
        same(await r2CheckpointStore({ bucket: lost, prefix }).put('a', bytes.slice(1)), 'exists')
        const down = faulty({ put: () => Promise.reject(new Error('down')) })
        same(await codeOf(r2CheckpointStore({ bucket: down, prefix, deadlineMs: 200 }).put('b', bytes)), 'cold_unknown')
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
      test('law 6: a bucket that never answers is unavailable within the deadline', async () => {
        const silent = faulty({ get: () => new Promise(() => {}), list: () => new Promise(() => {}) })
        const cold = r2CheckpointStore({ bucket: silent, deadlineMs: 200 })
        const began = Date.now()
        same([await codeOf(cold.get('a')), await codeOf(cold.list(''))], ['cold_unavailable', 'cold_unavailable'])
        same(Date.now() - began < 5_000, true)
      })
      test('the probe passes, and refuses a bucket that ignores the condition', async () => {
        await fresh().probe()
        const careless = faulty({ put: (key, value) => bucket.put(key, value, { onlyIf: new Headers() }) })
        same(await codeOf(r2CheckpointStore({ bucket: careless }).probe()), 'condition_ignored')
      })
    }),
    tiered: proof((test) =>
      testCheckpointStore(test, async () => {
        let elapsed = 0
        const primary = memoryCheckpointStore({ shared: true, now: () => elapsed })
        return {
          store: tieredCheckpointStore({ primary, cold: fresh(), coldAfterMs: 60_000, backupIntervalMs: 60_000 }),
          elapse: async (ms) => {
            elapsed += ms
          },
        }
      }),
    ),
  }
}
