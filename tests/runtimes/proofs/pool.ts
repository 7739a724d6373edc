import { ConnectionPool, type PoolEnv, pool } from '@gw/pool'
import { Hono } from 'hono'
import { type Proof, proof, same } from '../proof.ts'

interface Connection {
  readonly number: number
}

let made = 0
let closed = 0
const connections = new ConnectionPool({ name: 'main', min: 0, max: 2, acquireTimeoutMs: 1_000 })
connections.register<Connection>('database', {
  create: async () => ({ number: ++made }),
  validate: async () => true,
  destroy: async () => {
    closed += 1
  },
})
const app = new Hono<PoolEnv<Connection>>()
app.get('/', pool({ pool: connections, factory: 'database' }), async (c) => {
  await new Promise((resolve) => setTimeout(resolve, 5))
  return c.json(c.var.lease.connection.number)
})

export const middleware: Proof = proof((test) => {
  test('twenty requests share two connections, and none is left on loan', async () => {
    await connections.start()
    const numbers = new Set(
      await Promise.all(
        Array.from({ length: 20 }, async () => {
          const response = await app.request('/')
          const text = await response.text()
          if (response.status !== 200) throw new Error(`${response.status}: ${text}`)
          return Number(text)
        }),
      ),
    )
    same([...numbers].sort(), [1, 2])
  })
  test('a drain closes them all', async () => {
    await connections.drain({ deadlineMs: 1_000 })
    same([made, closed], [2, 2])
  })
})
