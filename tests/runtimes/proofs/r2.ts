import { type R2Bucket, r2CheckpointStore } from '@gw/checkpoint/r2'
import { type Proof, proof, same } from '../proof.ts'
import { bytes, coldLaws, tieredLaws } from './cold.ts'

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
      coldLaws(test, fresh)
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
      test('law 6: a bucket that never answers is unavailable within the deadline', async () => {
        const silent = faulty({ get: () => new Promise(() => {}), list: () => new Promise(() => {}) })
        const cold = r2CheckpointStore({ bucket: silent, deadlineMs: 200 })
        const began = Date.now()
        same([await codeOf(cold.get('a')), await codeOf(cold.list(''))], ['cold_unavailable', 'cold_unavailable'])
        same(Date.now() - began < 5_000, true)
      })
      test('the probe refuses a bucket that ignores the condition', async () => {
        const careless = faulty({ put: (key, value) => bucket.put(key, value, { onlyIf: new Headers() }) })
        same(await codeOf(r2CheckpointStore({ bucket: careless }).probe()), 'condition_ignored')
      })
    }),
    tiered: proof((test) => tieredLaws(test, fresh)),
  }
}
