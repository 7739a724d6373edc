import { CheckpointManager, durable } from '@gw/checkpoint'
import { memoryCheckpointStore } from '@gw/checkpoint/memory'
import { sealedCheckpointStore } from '@gw/checkpoint/sealed'
import { testCheckpointStore } from '@gw/checkpoint/testing'
import { Hono } from 'hono'
import { type Proof, proof, same } from '../proof.ts'

export const memory: Proof = proof((test) =>
  testCheckpointStore(test, async () => {
    let elapsed = 0
    return {
      store: memoryCheckpointStore({ shared: true, now: () => elapsed }),
      elapse: async (ms) => {
        elapsed += ms
      },
    }
  }),
)

export const sealed: Proof = proof((test) =>
  testCheckpointStore(test, async () => {
    let elapsed = 0
    const keys = { current: 'a', keys: new Map([['a', crypto.getRandomValues(new Uint8Array(32))]]) }
    const store = memoryCheckpointStore({ shared: true, now: () => elapsed })
    return {
      store: sealedCheckpointStore({ store, keys, compressAboveBytes: 10 }),
      elapse: async (ms) => {
        elapsed += ms
      },
    }
  }),
)

const checkpoints = new CheckpointManager({ store: memoryCheckpointStore() })
const app = new Hono()
let executions = 0
app.post('/jobs/:kind', durable({ checkpoints, operation: 'job' }), async (c) => {
  const { items } = await c.req.json<{ items: string[] }>()
  const lengths: number[] = []
  for (const item of items) {
    lengths.push(
      await c.var.run.step('measure', () => {
        executions += 1
        return item.length
      }),
    )
  }
  return c.json({ kind: c.req.param('kind'), lengths }, 201)
})
checkpoints.serve(app)

export const middleware: Proof = proof((test) => {
  test('a durable request is recorded, its steps run once, and its answer is kept', async () => {
    const response = await app.request('/jobs/words', { method: 'POST', body: '{"items":["a","bcd"]}' })
    same([response.status, await response.json()], [201, { kind: 'words', lengths: [1, 3] }])
    const id = response.headers.get('gw-run') ?? ''
    same((await checkpoints.get(id))?.status, 'completed')
    const kept = await checkpoints.outcome(id)
    same(kept?.status, 201)
    same(executions, 2)
  })
  test('Prefer: respond-async answers 202 with the place of its run, which finishes', async () => {
    const response = await app.request('/jobs/words', {
      method: 'POST',
      body: '{"items":["x"]}',
      headers: { prefer: 'respond-async' },
    })
    same(response.status, 202)
    const id = response.headers.get('gw-run') ?? ''
    for (let i = 0; i < 200 && (await checkpoints.get(id))?.status !== 'completed'; i++)
      await new Promise((resolve) => setTimeout(resolve, 10))
    same((await checkpoints.get(id))?.status, 'completed')
  })
  test('it stops', async () => {
    await checkpoints.stop({ gracefulShutdownMs: 1_000 })
  })
})
