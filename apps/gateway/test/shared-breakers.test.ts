import { CircuitBreaker } from '@gw/breaker'
import { redis, sharedRedis } from '@gw/services'
import { expect, test } from 'vitest'
import { type Admin, adminOf } from './admin-listener.ts'

interface Node {
  readonly admin: Admin
  readonly breaker: CircuitBreaker
}

async function node(nodeId: string, redisUrl: string, name: string): Promise<Node> {
  const breaker = new CircuitBreaker({ name, failureThreshold: 2, openMs: 60_000 })
  return { admin: await adminOf({ nodeId, redisUrl, breakers: { [name]: breaker } }), breaker }
}

async function fail({ breaker }: Node): Promise<void> {
  while (breaker.state === 'CLOSED')
    await breaker
      .run(() => {
        throw new Error('down')
      })
      .catch(() => {})
}

/** What the admin API says that all nodes know of it. */
async function clusterOf({ admin }: Node, name: string) {
  const answer = await admin.ask(`/admin/circuit-breakers/${name}`)
  return ((await answer.json()) as { cluster: { state: string; votes: string[]; failures: number } | null }).cluster
}

test('B14: over Redis a node shows whose votes there are, two open it on the third, and a reset on one closes all', async () => {
  const { url } = await sharedRedis()
  const name = `bank-${crypto.randomUUID()}`
  const nodes = [await node('a', url, name), await node('b', url, name), await node('c', url, name)] as const
  const [a, b, c] = nodes
  expect(await clusterOf(c, name)).toMatchObject({ state: 'shared', votes: [] })
  await fail(a)
  await expect.poll(() => clusterOf(c, name), { timeout: 10_000 }).toMatchObject({ votes: ['a'], failures: 2 })
  expect([b.breaker.state, c.breaker.state]).toEqual(['CLOSED', 'CLOSED'])
  const page = await c.admin.ask('/breakers', { headers: { accept: 'text/html' } })
  expect((await page.text()).replaceAll(/<[^>]+>/g, ' ')).toMatch(
    /Votes to open, by node\s+a\s+Failures on all nodes\s+2/,
  )
  await fail(b)
  await expect.poll(() => c.breaker.state, { timeout: 10_000 }).toBe('OPEN')
  await expect
    .poll(async () =>
      (await c.admin.gateway.events.query({ subject: name })).events.map(({ type, data }) => [type, data]),
    )
    .toContainEqual(['breaker.opened', expect.objectContaining({ reason: 'cluster' })])
  await c.admin.post(`/admin/circuit-breaker/${name}/reset`)
  for (const { breaker } of nodes) await expect.poll(() => breaker.state, { timeout: 10_000 }).toBe('CLOSED')
})

test('B14: without Redis each node decides alone and says so, and shares again when it is back', async () => {
  const server = await redis()
  try {
    const name = 'bank'
    const one = await node('a', server.url, name)
    await server.kill()
    await expect.poll(() => clusterOf(one, name), { timeout: 20_000 }).toMatchObject({ state: 'local' })
    await fail(one)
    expect(one.breaker.state).toBe('OPEN')
    await server.restart()
    await expect.poll(() => clusterOf(one, name), { timeout: 20_000 }).toMatchObject({ state: 'shared' })
  } finally {
    await server.stop()
  }
}, 90_000)

test('B14: without Redis in the options nothing is shared', async () => {
  const breaker = new CircuitBreaker({ name: 'bank' })
  const alone = { admin: await adminOf({ breakers: { bank: breaker } }), breaker }
  expect(await clusterOf(alone, 'bank')).toBeNull()
})
