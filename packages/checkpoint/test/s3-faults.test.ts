import { createHash } from 'node:crypto'
import { type FaultMode, faultProxy, s3 } from '@gw/services'
import { type TestContext, test } from 'vitest'
import { s3CheckpointStore } from '../src/stores/s3.ts'
import { clientOf, freshCold } from './fixture-runs.ts'

const bytesOf = (name: string) => createHash('sha512').update(name).digest()

/** A cold store behind a proxy, and how often each method was sent. */
async function proxied(
  deadlineMs: number,
  onTestFinished: TestContext['onTestFinished'],
  options: Parameters<typeof faultProxy>[1] = {},
) {
  const { access, place } = await freshCold()
  const proxy = await faultProxy(access.url, options)
  onTestFinished(() => proxy.close())
  const sent: string[] = []
  const cold = s3CheckpointStore({
    ...place,
    endpoint: proxy.url,
    deadlineMs,
    fetch: (request, init) => {
      sent.push(request.method)
      return fetch(request, init)
    },
  })
  return { cold, proxy, sent }
}

test.concurrent('T2: law 2: a put whose answer was lost is found by reading back, and is not sent again', async ({
  expect,
  onTestFinished,
}) => {
  let lost = false
  const { cold, proxy, sent } = await proxied(4_000, onTestFinished, {
    onBytes: (direction, _, set) => {
      if (direction !== 's2c' || lost) return
      lost = true
      set('half-open-s2c')
      setTimeout(() => set('pass'), 2_200)
    },
  })
  expect(await cold.put('runs/1', bytesOf('1'))).toBe('stored')
  expect(proxy.counts.lostBytes.s2c).toBeGreaterThan(0)
  expect(sent.filter((method) => method === 'PUT')).toHaveLength(1)
  expect(sent).toContain('GET')
})

test.concurrent("T2: law 2: a lost answer behind another writer's object is `exists`", async ({ expect }) => {
  const { place, cold: plain } = await freshCold()
  await plain.put('runs/1', bytesOf('theirs'))
  let refusals = 0
  const cold = s3CheckpointStore({
    ...place,
    fetch: async (request, init) => {
      const response = await fetch(request, init)
      if (request.method !== 'PUT' || refusals++ > 0) return response
      await response.arrayBuffer()
      return new Response('', { status: 500 })
    },
  })
  expect(await cold.put('runs/1', bytesOf('mine'))).toBe('exists')
  expect(refusals).toBe(1)
})

test.concurrent('law 2: a conflict and a busy server are asked again until they have a word', async ({ expect }) => {
  for (const status of [409, 429, 500, 503]) {
    let failures = 3
    const { cold } = await freshCold({
      random: () => 0.01,
      fetch: (request, init) =>
        request.method === 'PUT' && failures-- > 0
          ? Promise.resolve(new Response('<Error><Code>SlowDown</Code></Error>', { status }))
          : fetch(request, init),
    })
    expect(await cold.put('runs/1', bytesOf('1')), String(status)).toBe('stored')
    expect(failures).toBe(-1)
  }
})

const silences: readonly FaultMode[] = [
  'blackhole',
  'half-open-c2s',
  'half-open-s2c',
  'refuse',
  'reset',
  { delayMs: 5_000 },
]

for (const mode of silences) {
  const name = typeof mode === 'string' ? mode : 'a delay'
  test.concurrent(`law 6: every call settles within its deadline behind ${name}, says what it knows, and works again after`, async ({
    expect,
    onTestFinished,
  }) => {
    const deadlineMs = 600
    const { cold, proxy } = await proxied(deadlineMs, onTestFinished)
    await cold.put('runs/0', bytesOf('0'))
    await proxy.set(mode)
    const calls: readonly (readonly [string, () => Promise<unknown>])[] = [
      ['cold_unknown', () => cold.put('runs/1', bytesOf('1'))],
      ['cold_unavailable', () => cold.get('runs/0')],
      ['cold_unavailable', () => cold.list('runs/')],
      ['cold_unknown', () => cold.remove('runs/2')],
    ]
    for (const [code, call] of calls) {
      const startedAt = performance.now()
      await expect(call()).rejects.toMatchObject({ code })
      expect(performance.now() - startedAt).toBeLessThan(deadlineMs + 1_000)
    }
    const { lostBytes, resets, delayed } = proxy.counts
    expect(mode === 'refuse' || lostBytes.c2s + lostBytes.s2c + resets + delayed > 0).toBe(true)
    await proxy.set('pass')
    await expect.poll(() => cold.put('runs/1', bytesOf('1')).catch(() => 'not yet'), { timeout: 10_000 }).toBe('stored')
    expect(Buffer.from((await cold.get('runs/0'))!)).toEqual(bytesOf('0'))
  })
}

test.concurrent('law 6: a deadline holds also over a `fetch` that never hears of it', async ({ expect }) => {
  const { cold } = await freshCold({ deadlineMs: 200, fetch: () => new Promise(() => {}) })
  await expect(cold.put('runs/1', bytesOf('1'))).rejects.toMatchObject({ code: 'cold_unknown' })
})

test.concurrent('T2: law 2: the server is killed in the middle of puts: what was stored is there to the byte, and the rest can be put', async ({
  expect,
  onTestFinished,
}) => {
  const server = await s3({ store: 'bluestore' })
  onTestFinished(() => server.stop())
  await server.createBucket('killed')
  let broken = 0
  const cold = s3CheckpointStore({
    client: clientOf(server),
    bucket: 'killed',
    endpoint: server.url,
    deadlineMs: 1_500,
    fetch: (request, init) =>
      fetch(request, init).catch((error: unknown) => {
        broken++
        throw error
      }),
  })
  const stored = new Set<string>()
  const unknown = new Set<string>()
  let next = 0
  let killed: Promise<void> | undefined
  const put = async () => {
    while (unknown.size < 6) {
      const name = `runs/${next++}`
      try {
        expect(await cold.put(name, bytesOf(name))).toBe('stored')
        stored.add(name)
      } catch (error) {
        expect(error).toMatchObject({ code: 'cold_unknown' })
        unknown.add(name)
      }
      if (stored.size === 40) killed ??= server.kill()
    }
  }
  await Promise.all(Array.from({ length: 6 }, put))
  await killed
  expect(broken).toBeGreaterThan(0)
  expect(unknown.size).toBeGreaterThanOrEqual(6)
  await server.restart()
  for (const name of stored) expect(Buffer.from((await cold.get(name))!), name).toEqual(bytesOf(name))
  for (const name of unknown) {
    const there = await cold.get(name)
    if (there !== undefined) expect(Buffer.from(there)).toEqual(bytesOf(name))
    expect(await cold.put(name, bytesOf(name))).toBe('stored')
  }
  expect(await cold.list('runs/')).toHaveLength(stored.size + unknown.size)
}, 120_000)
