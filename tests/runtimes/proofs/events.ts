import { audit, EventStore, memoryEventStore } from '@gw/events'
import { testEventLog } from '@gw/events/testing'
import { Hono } from 'hono'
import { type Proof, proof, same } from '../proof.ts'

export const memory: Proof = proof((test) =>
  testEventLog({
    test,
    create: async () => {
      const store = memoryEventStore()
      await store.open()
      return { store, close: async () => {} }
    },
  }),
)

const events = new EventStore({ store: memoryEventStore() })
const app = new Hono()
app.use(audit({ events, actor: (c) => c.req.header('x-user-id') }))
app.post('/export', (c) => c.json({ done: true }))

export const middleware: Proof = proof((test) => {
  test('a request is in the trail under its actor, and the chain verifies', async () => {
    const response = await app.request('/export', { method: 'POST', headers: { 'x-user-id': 'ann' } })
    same(response.status, 200)
    const { events: found } = await events.query({ actor: 'ann' })
    if (found.length === 0) throw new Error('No event of the request was found')
    same((await events.verify()).ok, true)
  })
  test('it stops', async () => {
    await events.stop()
  })
})
