import { dedup, RequestDeduplicator } from '@gw/dedup'
import { memoryDedupStore } from '@gw/dedup/memory'
import { testDedupStore } from '@gw/dedup/testing'
import { Hono } from 'hono'
import { type Proof, proof, same } from '../proof.ts'

export const memory: Proof = proof((test) =>
  testDedupStore(test, async () => {
    let ms = 1
    return {
      store: memoryDedupStore({ monotonic: () => ms }),
      async advance(by) {
        ms += by
      },
      async close() {},
    }
  }),
)

const deduplicator = new RequestDeduplicator({ store: memoryDedupStore() })
const app = new Hono()
let executions = 0
app.post('/charge', dedup({ deduplicator, missing: 'required', scope: 'global' }), async (c) => {
  executions += 1
  return c.json({ charge: executions, of: await c.req.json() }, 201)
})

const charge = (body: string, key?: string): Response | Promise<Response> =>
  app.request('/charge', {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', ...(key === undefined ? {} : { 'idempotency-key': key }) },
  })

export const middleware: Proof = proof((test) => {
  test('twenty requests of one key at once execute once', async () => {
    const responses = await Promise.all(Array.from({ length: 20 }, () => charge('{"amount":1}', 'a')))
    const statuses = new Set(responses.map(({ status }) => status))
    same(
      [...statuses].filter((status) => status !== 201 && status !== 409),
      [],
    )
    same(executions, 1)
  })
  test('the answer is replayed to its key with the same bytes', async () => {
    const first = await charge('{"amount":2}', 'b')
    const second = await charge('{"amount":2}', 'b')
    same([second.status, second.headers.get('idempotent-replayed')], [201, 'true'])
    same(await second.text(), await first.text())
  })
  test('another body with the key is 422, and no key is 400, both with a code', async () => {
    for (const [response, status, code] of [
      [await charge('{"amount":3}', 'b'), 422, 'idempotency_key_reused'],
      [await charge('{"amount":3}'), 400, 'idempotency_key_missing'],
    ] as const)
      same([response.status, ((await response.json()) as { code: string }).code], [status, code])
  })
  test('it stops', async () => {
    await deduplicator.stop()
  })
})
