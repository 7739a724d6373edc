import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Database, openDatabase } from '@gw/sqlite'
import { type Context, Hono } from 'hono'
import { afterEach, describe, expect, test } from 'vitest'
import { parseKey } from '../src/idempotency-key.ts'
import { type DedupOptions, dedup, RequestDeduplicator, type RequestDeduplicatorOptions } from '../src/index.ts'
import { sqliteDedupStore } from '../src/stores/sqlite.ts'

const open: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

async function database(directory = join(mkdtempSync(join(tmpdir(), 'gw-dedup-')), 'data')): Promise<Database> {
  const db = await openDatabase({ directory })
  open.push(() => db.close())
  return db
}

interface Clock {
  ms: number
}

function deduplicatorOf(
  db: Database,
  clock: Clock = { ms: 1 },
  options: Partial<RequestDeduplicatorOptions> = {},
): RequestDeduplicator {
  const deduplicator = new RequestDeduplicator({
    store: sqliteDedupStore({ db, now: () => clock.ms, monotonic: () => clock.ms }),
    now: () => clock.ms,
    ...options,
  })
  open.push(() => deduplicator.stop())
  return deduplicator
}

function appOf(
  deduplicator: RequestDeduplicator,
  handler: (c: Context) => Response | Promise<Response>,
  options: Partial<DedupOptions> = {},
) {
  const app = new Hono()
  app.all('/pay/:id', dedup({ deduplicator, principal: (c) => c.req.header('x-user'), ...options }), handler)
  return app
}

const send = (
  app: Hono,
  key: string | undefined,
  {
    body = '{"a":1,"b":2}',
    path = '/pay/1',
    user = 'ann',
    method = 'POST',
    type = 'application/json',
    ...more
  }: Record<string, string> = {},
) =>
  app.request(path, {
    method,
    ...(method === 'GET' ? {} : { body }),
    headers: {
      'content-type': type,
      'x-user': user,
      ...(key === undefined ? {} : { 'idempotency-key': key }),
      ...more,
    },
  })

async function counting(
  options: Partial<DedupOptions> = {},
  respond: (n: number, c: Context) => Response | Promise<Response> = (n, c) => c.json({ n }, 201),
) {
  const clock = { ms: 1_000 }
  const db = await database()
  const calls = { n: 0 }
  const app = appOf(deduplicatorOf(db, clock), (c) => respond(++calls.n, c), options)
  return { app, calls, clock, db }
}

describe('keys', () => {
  test('K1: the quoted form with parameters, and the bare form, are one key', async () => {
    const { app, calls } = await counting()
    for (const key of ['"k"', 'k', '"k";x=1']) expect(await (await send(app, key)).json()).toEqual({ n: 1 })
    expect(calls.n).toBe(1)
    expect(parseKey('"a\\"b\\\\c"')).toEqual({ key: 'a"b\\c' })
  })

  test('K2, K3: empty, spaced, unended, repeated and non-ASCII keys are 400', async () => {
    const { app, calls } = await counting()
    for (const key of ['""', '"a b"', '"open', 'a, b', '"a", "b"', 'x'.repeat(256), '"\\n"', '"é"']) {
      const response = await send(app, key)
      expect([key, response.status, (await response.json()).code]).toEqual([key, 400, 'idempotency_key_invalid'])
    }
    expect(calls.n).toBe(0)
    expect('invalid' in parseKey('k', 'strict')).toBe(true)
  })

  test('K4, K5: a missing key is 400 with a link where it is required, and passes where it is not', async () => {
    const required = await counting({ missing: 'required' })
    const response = await send(required.app, undefined)
    expect([response.status, (await response.json()).code, response.headers.get('link')]).toEqual([
      400,
      'idempotency_key_missing',
      expect.stringContaining('describedby'),
    ])
    const optional = await counting()
    await send(optional.app, undefined)
    await send(optional.app, undefined)
    expect(optional.calls.n).toBe(2)
  })

  test('K6: in fingerprint mode an authenticated repeat is known by its content for its window; anonymous ones never', async () => {
    const { app, calls, clock } = await counting({ missing: 'fingerprint' })
    expect((await send(app, undefined)).headers.get('idempotency-status')).toBe('fingerprint')
    expect((await send(app, undefined)).headers.get('idempotent-replayed')).toBe('true')
    expect(calls.n).toBe(1)
    clock.ms += 10_001
    await send(app, undefined)
    expect(calls.n).toBe(2)
    await send(app, 'distinct')
    expect(calls.n).toBe(3)
    for (let i = 0; i < 2; i++) await app.request('/pay/1', { method: 'POST', body: 'x' })
    expect(calls.n).toBe(5)
  })

  test('M1: GET is never deduplicated and says that it ignored the key', async () => {
    const { app, calls } = await counting()
    for (let i = 0; i < 2; i++)
      expect((await send(app, 'k', { method: 'GET' })).headers.get('idempotency-status')).toBe('ignored')
    expect(calls.n).toBe(2)
  })

  test('S1: crafted scopes do not collide, users do not share keys, and no principal is a construction error', async () => {
    const { app, calls } = await counting({ tenant: (c) => c.req.header('x-tenant') })
    await send(app, 'c', { user: 'a:b' })
    await send(app, 'b:c', { user: 'a' })
    await send(app, 'c', { user: 'b', 'x-tenant': 'a' })
    expect(calls.n).toBe(3)
    expect(() => dedup({ deduplicator: {} as never })).toThrow('`principal`')
  })
})

describe('fingerprints', () => {
  test('F1, F4: another body, query or path with the key is 422 in any state, and the first answer stays', async () => {
    const { app, calls } = await counting()
    await send(app, 'k')
    for (const other of [
      { body: '{"a":2}' },
      { path: '/pay/1?amount=999' },
      { path: '/pay/2' },
      { type: 'text/plain' },
    ]) {
      const response = await send(app, 'k', other as Record<string, string>)
      expect([response.status, (await response.json()).code]).toEqual([422, 'idempotency_key_reused'])
    }
    expect(await (await send(app, 'k')).json()).toEqual({ n: 1 })
    expect(calls.n).toBe(1)
  })

  test('F3: order of members and white space do not count; null, order of items, duplicates and large numbers do', async () => {
    const { app } = await counting()
    const status = async (first: string, second: string) => {
      const key = crypto.randomUUID()
      await send(app, key, { body: first })
      return (await send(app, key, { body: second })).status
    }
    expect(await status('{"a":1,"b":{"c":2,"d":3}}', '{ "b": {"d":3,"c":2}, "a":1 }')).toBe(201)
    expect(await status('{"a":null}', '{}')).toBe(422)
    expect(await status('[1,2]', '[2,1]')).toBe(422)
    expect(await status('{"a":1,"a":2}', '{"a":2}')).toBe(422)
    expect(await status('{"a":9007199254740993}', '{"a":9007199254740992}')).toBe(422)
    expect(await status('not json', 'not json')).toBe(201)
  })
})

describe('replays', () => {
  test('R1: every byte value and the null-body statuses come back as they were', async () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i)
    const { app } = await counting({}, (_, c) =>
      c.req.header('x-status') === undefined
        ? new Response(bytes)
        : new Response(null, { status: Number(c.req.header('x-status')) }),
    )
    await send(app, 'bytes')
    const replay = await send(app, 'bytes')
    expect(replay.headers.get('idempotent-replayed')).toBe('true')
    expect(new Uint8Array(await replay.arrayBuffer())).toEqual(bytes)
    for (const status of ['204', '205', '304']) {
      await send(app, status, { 'x-status': status })
      const again = await send(app, status, { 'x-status': status })
      expect([again.status, await again.text()]).toEqual([Number(status), ''])
    }
  })

  test('R2: cookies, dates, trace ids and rate limits are not replayed; other fields are', async () => {
    const { app } = await counting(
      {},
      () =>
        new Response('x', {
          headers: { 'set-cookie': 'a=b', date: 'x', traceparent: 'x', 'ratelimit-remaining': '1', 'x-own': 'kept' },
        }),
    )
    await send(app, 'k')
    const { headers } = await send(app, 'k')
    expect(
      ['set-cookie', 'date', 'traceparent', 'ratelimit-remaining', 'x-own'].map((name) => headers.get(name)),
    ).toEqual([null, null, null, null, 'kept'])
  })

  test('C1, C3: 429 and 5xx free the key, a terminal 4xx is kept, and marks decide otherwise', async () => {
    for (const [status, calls] of [
      [429, 2],
      [503, 2],
      [404, 1],
      [200, 1],
    ] as const) {
      const counted = await counting({}, () => new Response('x', { status }))
      await send(counted.app, 'k')
      await send(counted.app, 'k')
      expect([status, counted.calls.n]).toEqual([status, calls])
    }
    const executed = await counting({}, (_, c) => {
      c.get('idempotency').markExecuted()
      return new Response('x', { status: 500 })
    })
    await send(executed.app, 'k')
    expect((await send(executed.app, 'k')).status).toBe(500)
    expect(executed.calls.n).toBe(1)
  })

  test('the window runs from completion, and the key is new after it', async () => {
    const { app, calls, clock } = await counting({ windowMs: 1_000 })
    await send(app, 'k')
    clock.ms += 999
    await send(app, 'k')
    expect(calls.n).toBe(1)
    clock.ms += 1
    await send(app, 'k')
    expect(calls.n).toBe(2)
  })
})

describe('concurrency and crashes', () => {
  test('I1: fifty concurrent requests over two middlewares run once; the others are 409 with a whole Retry-After', async () => {
    const db = await database()
    let calls = 0
    let release = () => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    const apps = [0, 1].map(() =>
      appOf(deduplicatorOf(db), async (c) => {
        calls++
        await gate
        return c.json({ calls })
      }),
    )
    const answers = Array.from({ length: 50 }, (_, i) => send(apps[i % 2]!, 'k'))
    expect((await Promise.race(answers)).status).toBe(409)
    release()
    const statuses = (await Promise.all(answers)).map(({ status, headers }) =>
      headers.get('idempotent-replayed') === 'true'
        ? 'replayed'
        : status === 409 && /^[1-9][0-9]*$/.test(headers.get('retry-after') ?? '')
          ? 'conflict'
          : status,
    )
    expect(statuses.filter((status) => status === 200)).toHaveLength(1)
    expect(statuses.filter((status) => status === 'conflict' || status === 'replayed')).toHaveLength(49)
    expect(calls).toBe(1)
    expect((await send(apps[1]!, 'k')).headers.get('idempotent-replayed')).toBe('true')
  })

  test('L2, L3: a lapsed claim is unknown, or executed again where the route says so, and the late owner stores nothing', async () => {
    const db = await database()
    const clock = { ms: 0 }
    let calls = 0
    const gates: (() => void)[] = []
    const handler = async (c: Context) => {
      const n = ++calls
      if (n === 1) await new Promise<void>((resolve) => gates.push(resolve))
      return c.json({ n })
    }
    const rejecting = appOf(deduplicatorOf(db, clock), handler)
    const executing = appOf(deduplicatorOf(db, clock), handler, { onUnknown: 'execute' })
    const late = send(rejecting, 'k')
    await expect.poll(() => calls).toBe(1)
    clock.ms += 30_001
    const unknown = await send(rejecting, 'k')
    expect([unknown.status, (await unknown.json()).code]).toEqual([409, 'idempotency_outcome_unknown'])
    expect(await (await send(executing, 'k')).json()).toEqual({ n: 2 })
    gates[0]!()
    expect((await late).headers.get('idempotency-status')).toBe('superseded')
    expect(await (await send(executing, 'k')).json()).toEqual({ n: 2 })
  })

  test('L4: each claim of a key has a higher fence', async () => {
    const fences: number[] = []
    const { app } = await counting({}, (_, c) => {
      fences.push(c.get('idempotency').fence)
      return new Response('x', { status: 503 })
    })
    for (let i = 0; i < 3; i++) await send(app, 'k')
    expect(fences).toEqual([...fences].sort((a, b) => a - b))
    expect(new Set(fences).size).toBe(3)
  })

  test('C5: a claim joined to a unit is there with it, is refused with it, and is settled by its link', async () => {
    const db = await database()
    const deduplicator = deduplicatorOf(db)
    const identity = {
      key: await deduplicator.storageKey({ principal: 'p' }, 'k'),
      fingerprint: 'f',
      principalHash: 'h',
    }
    const [first, second] = [await deduplicator.decide(identity), await deduplicator.decide(identity)]
    if (first.kind !== 'free' || second.kind !== 'free') throw new Error('expected a free key')
    const [winner, loser] = [db.unit(), db.unit()]
    deduplicator.claimIn(winner, first.claim, { link: 'run-1' })
    deduplicator.claimIn(loser, second.claim, { link: 'run-2' })
    await winner.commit()
    await expect(loser.commit()).rejects.toMatchObject({ code: 'refused' })
    expect([first.claim.committed, second.claim.committed]).toEqual([true, false])
    expect(await deduplicator.decide(identity)).toMatchObject({ kind: 'in_flight', record: { link: 'run-1' } })
    const response = { status: 201, headers: [['x-a', 'b'] as const], body: new Uint8Array([1]) }
    expect(await deduplicator.complete({ key: first.claim.key, token: first.claim.token - 1 }, response)).toBe(false)
    expect(await deduplicator.complete(first.claim, response)).toBe(true)
    expect(await deduplicator.complete(first.claim, response)).toBe(false)
    expect(await deduplicator.decide(identity)).toMatchObject({
      kind: 'completed',
      record: { response: { status: 201 } },
    })
  })

  test('S1: another secret than the stored keys were made with is refused', async () => {
    const db = await database()
    const { app } = { app: appOf(deduplicatorOf(db), () => new Response('x')) }
    await send(app, 'k')
    await expect(deduplicatorOf(db, { ms: 1 }, { secret: new Uint8Array(32) }).start()).rejects.toMatchObject({
      code: 'secret_mismatch',
    })
  })
})
