import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freshDatabase, sharedRedis } from '@gw/services'
import { afterEach, expect, test } from 'vitest'
import { type ServerProcess, startServer } from './crash/server.ts'

const leaseMs = 2_000
const running: ServerProcess[] = []
/** Each node by the name that its runs are owned under. */
const named = new Map<string, ServerProcess>()

afterEach(async () => {
  for (const server of running.splice(0)) {
    server.process.kill('SIGCONT')
    server.process.kill('SIGKILL')
    await server.exited
  }
})

async function nodes(names: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<ServerProcess[]> {
  const databaseUrl = await freshDatabase()
  const folder = mkdtempSync(join(tmpdir(), 'gw-nodes-'))
  const started: ServerProcess[] = []
  for (const name of names) {
    const node = await startServer(join(folder, name), {
      DATABASE_URL: databaseUrl,
      GW_NODE_ID: name,
      GW_LEASE: `${leaseMs}ms`,
      GW_DRAIN_DELAY: '0s',
      ...env,
    })
    running.push(node)
    named.set(name, node)
    started.push(node)
  }
  return started
}

/** The node that runs it, and another: a run that waits in the queue is taken by whoever is first. */
async function ownerOf(asked: ServerProcess, run: string): Promise<{ owner: ServerProcess; other: ServerProcess }> {
  const answer = await asked.admin(`/admin/requests/${run}`)
  const { request } = (await answer.json()) as { readonly request: { readonly owner: string | null } }
  const owner = named.get(request.owner?.split('/')[0] ?? '')
  const other = running.find((node) => node !== owner)
  if (owner === undefined || other === undefined) throw new Error(`Nobody owns ${run}: ${request.owner}`)
  return { owner, other }
}

/** Six seconds and more: it is not over before a node that is slow to answer has told how far it is. */
const job = { type: 'report', user_id: 'ann', items: 60, item_ms: 100 }

function startJob(node: ServerProcess): Promise<Response> {
  return fetch(`${node.url}/api/long-running-process`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', prefer: 'respond-async', 'idempotency-key': 'job' },
    body: JSON.stringify(job),
  })
}

async function waitFor(node: ServerProcess, place: string): Promise<string> {
  for (;;) {
    const answer = await fetch(`${node.url}${place}/response`)
    const text = await answer.text()
    if (answer.status === 200) return text
    await delay(50)
  }
}

async function rowsOf(node: ServerProcess, run: string): Promise<number[]> {
  const { rows } = (await (await fetch(`${node.url}/api/work/${run}`)).json()) as { rows: { item: number }[] }
  return rows.map(({ item }) => item)
}

test('R1: a run whose node is killed is finished by another within the lease and two seconds, each item once', async () => {
  const [first] = (await nodes(['a', 'b'])) as [ServerProcess, ServerProcess]
  const accepted = await startJob(first)
  const run = accepted.headers.get('gw-run')!
  await expect.poll(async () => (await rowsOf(first, run)).length, { timeout: 10_000 }).toBeGreaterThan(20)
  const { owner: a, other: b } = await ownerOf(first, run)
  a.process.kill('SIGKILL')
  const killed = performance.now()
  const before = (await rowsOf(b, run)).length
  await expect
    .poll(async () => (await rowsOf(b, run)).length, { timeout: 10_000, interval: 20 })
    .toBeGreaterThan(before)
  expect(performance.now() - killed).toBeLessThan(leaseMs + 2_000)
  const text = await waitFor(b, `/requests/${run}`)
  expect(JSON.parse(text)).toMatchObject({ success: true, result: { processed: 60 } })
  expect(await rowsOf(b, run)).toEqual(Array.from({ length: 60 }, (_, i) => i))
})

test('R4: a node that is stopped for longer than its lease and wakes changes nothing', async () => {
  const [first] = (await nodes(['a', 'b'])) as [ServerProcess, ServerProcess]
  const run = (await startJob(first)).headers.get('gw-run')!
  await expect.poll(async () => (await rowsOf(first, run)).length, { timeout: 10_000 }).toBeGreaterThan(5)
  const { owner: a, other: b } = await ownerOf(first, run)
  a.process.kill('SIGSTOP')
  const text = await waitFor(b, `/requests/${run}`)
  a.process.kill('SIGCONT')
  await expect.poll(async () => (await fetch(`${a.url}/health/ready`)).status, { timeout: 10_000 }).toBe(200)
  expect(await waitFor(a, `/requests/${run}`)).toBe(text)
  expect(await rowsOf(a, run)).toEqual(Array.from({ length: 60 }, (_, i) => i))
  const status = (await (await fetch(`${a.url}/requests/${run}`)).json()) as { recoveries: number; status: string }
  expect([status.status, status.recoveries]).toEqual(['completed', 1])
})

test('R5: a node that is asked to stop hands its runs over at once', async () => {
  const [first] = (await nodes(['a', 'b'])) as [ServerProcess, ServerProcess]
  const long = { ...job, items: 2_000 }
  const accepted = await fetch(`${first.url}/api/long-running-process`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', prefer: 'respond-async' },
    body: JSON.stringify(long),
  })
  const run = accepted.headers.get('gw-run')!
  await expect.poll(async () => (await rowsOf(first, run)).length, { timeout: 10_000 }).toBeGreaterThan(5)
  const { owner: a, other: b } = await ownerOf(first, run)
  // The second signal ends the wait for what is under way.
  a.process.kill('SIGTERM')
  await delay(200)
  a.process.kill('SIGTERM')
  await a.exited
  const left = (await rowsOf(b, run)).length
  const began = performance.now()
  await expect.poll(async () => (await rowsOf(b, run)).length, { timeout: 10_000, interval: 20 }).toBeGreaterThan(left)
  expect(performance.now() - began).toBeLessThan(leaseMs + 2_000)
})

/** 300 keys make the long tier. */
const keys = process.env['GW_TEST_LONG'] ? 300 : 20

test.each(['PostgreSQL', 'Redis'])(
  `K: ${keys} keys, 60 requests at once with each, over three nodes with their keys in %s: one execution, the same bytes or 409`,
  { timeout: 600_000 },
  async (where) => {
    const env = where === 'Redis' ? { REDIS_URL: (await sharedRedis()).url } : {}
    const three = await nodes(['a', 'b', 'c'], env)
    const pay = async (node: ServerProcess, key: string) => {
      const answer = await fetch(`${node.url}/api/payment`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': key, 'x-user-id': where },
        body: JSON.stringify({ amount: 5, currency: 'EUR', payment_method: 'card', customer_id: key }),
      })
      return { status: answer.status, retryAfter: answer.headers.get('retry-after'), body: await answer.text() }
    }
    for (let n = 0; n < keys; n++) {
      const answers = await Promise.all(Array.from({ length: 60 }, (_, i) => pay(three[i % 3]!, `k${n}`)))
      const kept = answers.filter(({ status }) => status === 201)
      expect(new Set(kept.map(({ body }) => body)).size).toBe(1)
      for (const { status, retryAfter } of answers)
        if (status !== 201) expect([status, retryAfter]).toEqual([409, expect.stringMatching(/^[1-9]\d*$/)])
      const { payments } = (await (await fetch(`${three[0]!.url}/api/payments?customer_id=k${n}`)).json()) as {
        payments: unknown[]
      }
      expect(payments).toHaveLength(1)
    }
  },
)
