import { gunzipSync, gzipSync } from 'node:zlib'
import { Hono } from 'hono'
import { cors } from 'hono/cors'
import { expect, test, vi } from 'vitest'
import { type DedupStore, dedup, type SpillStore } from '../src/index.ts'
import { runtimeTimers } from '../src/timers.ts'
import { appOf, codeOfAnswer, counting, deduplicatorOf, gate, memoryOf, send } from './fixture.ts'

const allBytes = Uint8Array.from({ length: 256 }, (_, i) => i)

test('R1: all 256 byte values survive both ways', async () => {
  const { app } = counting({}, async (_, c) => new Response(await c.req.arrayBuffer(), { status: 200 }))
  const first = await send(app, 'k', { body: allBytes, headers: { 'content-type': 'application/octet-stream' } })
  expect(new Uint8Array(await first.arrayBuffer())).toEqual(allBytes)
  const replay = await send(app, 'k', { body: allBytes, headers: { 'content-type': 'application/octet-stream' } })
  expect([replay.headers.get('idempotent-replayed'), replay.headers.get('idempotency-status')]).toEqual([
    'true',
    'replayed',
  ])
  expect(new Uint8Array(await replay.arrayBuffer())).toEqual(allBytes)
})

test('R1: replays that arrive together are answered together, and at once where a runtime has no turns', async () => {
  const turns: (() => void)[] = []
  const { app } = counting({}, undefined, { timers: { ...runtimeTimers, afterTurn: (work) => turns.push(work) } })
  await send(app, 'k')
  const answered: number[] = []
  const repeats = Array.from({ length: 5 }, async () => answered.push((await send(app, 'k')).status))
  await vi.waitUntil(() => turns.length === 5)
  expect(answered).toEqual([])
  for (const turn of turns) turn()
  await Promise.all(repeats)
  expect(answered).toEqual([201, 201, 201, 201, 201])

  const bare = counting({}, undefined, { timers: { ...runtimeTimers, afterTurn: undefined } })
  await send(bare.app, 'k')
  expect((await send(bare.app, 'k')).headers.get('idempotent-replayed')).toBe('true')
})

test('R1: 204, 205 and 304 come back empty', async () => {
  const { app } = counting({}, (_, c) => new Response(null, { status: Number(c.req.header('x-status')) }))
  for (const status of [204, 205, 304]) {
    for (let i = 0; i < 2; i++) {
      const response = await send(app, String(status), { headers: { 'x-status': String(status) } })
      expect([response.status, response.body, await response.text()]).toEqual([status, null, ''])
    }
  }
})

test('R1: fields that repeat come back as often as they were set', async () => {
  const { app } = counting({}, (_, c) => {
    c.header('link', '<a>', { append: true })
    c.header('link', '<b>', { append: true })
    return c.text('x')
  })
  await send(app, 'k')
  expect((await send(app, 'k')).headers.get('link')).toBe('<a>, <b>')
})

test('R1: an allow-list of fields keeps those and no others', async () => {
  const { app } = counting({ replayHeaders: ['X-Own'] }, (_, c) => {
    c.header('x-own', '1')
    c.header('x-other', '2')
    return c.text('x')
  })
  await send(app, 'k')
  const { headers } = await send(app, 'k')
  expect([headers.get('x-own'), headers.get('x-other')]).toEqual(['1', null])
})

test('R1, R2: an allow-list does not let through what its answer names as hop-by-hop, and keeps where a body was spilled', async () => {
  const { app } = counting({ replayHeaders: ['x-own', 'x-hop'], maxResponseBytes: 100, spill: memorySpill() }, () => {
    return new Response('x'.repeat(500), { headers: { connection: 'x-hop', 'x-hop': '1', 'x-own': '1' } })
  })
  await (await send(app, 'k')).text()
  const replay = await send(app, 'k')
  expect([replay.headers.get('x-own'), replay.headers.get('x-hop')]).toEqual(['1', null])
  expect(await replay.text()).toBe('x'.repeat(500))
})

test('R2: cookies, credentials, dates, traces, rate limits and hop-by-hop fields are neither kept nor replayed', async () => {
  const names = [
    'set-cookie',
    'authorization',
    'x-api-key',
    'proxy-authenticate',
    'date',
    'server-timing',
    'x-request-id',
    'traceparent',
    'x-b3-traceid',
    'ratelimit-remaining',
    'x-ratelimit-limit',
    'keep-alive',
    'te',
    'trailer',
    'upgrade',
    'x-hop',
    'access-control-allow-origin',
  ]
  const { app, deduplicator } = counting({}, () => {
    const headers = new Headers(names.map((name) => [name, 'v']))
    headers.set('connection', 'x-hop')
    headers.set('x-kept', 'v')
    return new Response('x', { headers })
  })
  await send(app, 'k')
  const { headers } = await send(app, 'k')
  expect(names.filter((name) => headers.has(name))).toEqual([])
  expect(headers.get('x-kept')).toBe('v')
  const scope = { principal: 'ann', method: 'POST', path: '/pay/:id' }
  expect((await deduplicator.get(scope, 'k'))?.headers.map(([name]) => name)).toEqual(['content-type', 'x-kept'])
})

test('R2: cross-origin fields are those of the asking origin, and scripts may read what became of the key', async () => {
  const deduplicator = deduplicatorOf(memoryOf())
  const app = new Hono()
  app.use('*', cors({ origin: ['https://a.test', 'https://b.test'] }))
  app.post('/pay/:id', dedup({ deduplicator, principal: () => 'ann' }), (c) => c.json({ ok: true }))
  await send(app, 'k', { headers: { origin: 'https://a.test' } })
  const replay = await send(app, 'k', { headers: { origin: 'https://b.test' } })
  expect(replay.headers.get('access-control-allow-origin')).toBe('https://b.test')
  expect(replay.headers.get('access-control-expose-headers')).toContain('Idempotent-Replayed')
  expect((await send(app, 'k', { body: '[]' })).headers.get('access-control-expose-headers')).toContain('Retry-After')
})

test('R3: a gzipped answer goes as it is to who takes gzip, and readable to who does not', async () => {
  const { app } = counting({}, () => new Response(gzipSync('hello'), { headers: { 'content-encoding': 'gzip' } }))
  const get = (accept: string | undefined) =>
    send(app, 'k', { headers: accept === undefined ? {} : { 'accept-encoding': accept } })
  await get('gzip')
  const zipped = await get('br, gzip;q=0.5')
  expect(zipped.headers.get('content-encoding')).toBe('gzip')
  expect(gunzipSync(new Uint8Array(await zipped.arrayBuffer())).toString()).toBe('hello')
  for (const accept of [undefined, 'identity', 'gzip;q=0', '*;q=0', 'br']) {
    const plain = await get(accept)
    expect([accept, plain.headers.get('content-encoding'), await plain.text()]).toEqual([accept, null, 'hello'])
    expect(plain.headers.get('vary')).toContain('Accept-Encoding')
  }
})

test('R3: an answer in a coding that cannot be undone is not given to who refuses it', async () => {
  const { app } = counting({}, () => new Response('zzz', { headers: { 'content-encoding': 'x-own' } }))
  await send(app, 'k', { headers: { 'accept-encoding': 'x-own' } })
  expect(await (await send(app, 'k', { headers: { 'accept-encoding': 'x-own' } })).text()).toBe('zzz')
  expect(await codeOfAnswer(await send(app, 'k'))).toEqual([409, 'idempotency_response_unavailable'])
})

test('B2: a longer answer flows untouched, and its repeat is told that it was not kept, with its location', async () => {
  const { app, calls } = counting(
    { maxResponseBytes: 100 },
    () => new Response('x'.repeat(101), { status: 201, headers: { location: '/things/1' } }),
  )
  expect(await (await send(app, 'k')).text()).toBe('x'.repeat(101))
  const repeat = await send(app, 'k')
  expect(repeat.headers.get('location')).toBe('/things/1')
  expect(await codeOfAnswer(repeat)).toEqual([409, 'idempotency_response_unavailable'])
  expect(calls.n).toBe(1)
})

test('B2: a longer answer in many pieces reaches its client whole and is never replayed in part', async () => {
  const pieces = 50
  const { app } = counting({ maxResponseBytes: 100 }, () => new Response(streamOf(pieces)))
  expect((await (await send(app, 'k')).text()).length).toBe(pieces * 10)
  expect((await send(app, 'k')).status).toBe(409)
})

test('B1, B2: with a spill longer bodies are kept whole, requests and answers', async () => {
  const spill = memorySpill()
  const { app, calls } = counting(
    { maxBodyBytes: 100, maxResponseBytes: 100, spill, onLargeBody: 'spill' },
    async (_, c) => new Response(`${await c.req.text()}!`, { status: 201 }),
  )
  const body = 'y'.repeat(1_000)
  expect(await (await send(app, 'k', { body })).text()).toBe(`${body}!`)
  expect(spill.bodies.size).toBe(1)
  const replay = await send(app, 'k', { body })
  expect([replay.status, await replay.text(), replay.headers.get('gw-spilled')]).toEqual([201, `${body}!`, null])
  expect((await send(app, 'k', { body: `${body}z` })).status).toBe(422)
  expect(calls.n).toBe(1)
  spill.bodies.clear()
  expect((await send(app, 'k', { body })).status).toBe(409)
})

test('R3, B2: a spilled answer that is compressed goes as it is to who takes it, and readable to who does not', async () => {
  const text = Array.from({ length: 5_000 }, (_, n) => n).join()
  const respond = () => new Response(gzipSync(text), { headers: { 'content-encoding': 'gzip' } })
  const { app } = counting({ maxResponseBytes: 100, spill: memorySpill() }, respond)
  await (await send(app, 'k')).arrayBuffer()
  const zipped = await send(app, 'k', { headers: { 'accept-encoding': 'gzip' } })
  expect(zipped.headers.get('content-encoding')).toBe('gzip')
  expect(gunzipSync(new Uint8Array(await zipped.arrayBuffer())).toString()).toBe(text)
  const plain = await send(app, 'k')
  expect([plain.headers.get('content-encoding'), await plain.text()]).toEqual([null, text])
})

test('B2: a spill that fails, at whichever call, costs the client nothing: its answer is whole and is told as not kept', async () => {
  for (const failing of ['write', 'append', 'finish'] as const) {
    for (const respond of [() => new Response('x'.repeat(500)), () => new Response(streamOf(50))]) {
      const spill = memorySpill()
      let aborted = 0
      const full = () => Promise.reject(new Error('no space left'))
      const { app, calls } = counting(
        {
          maxResponseBytes: 100,
          spill: {
            ...spill,
            async write(name) {
              if (failing === 'write') return full()
              const writer = await spill.write(name)
              return { ...writer, abort: async () => void aborted++, [failing]: full }
            },
          },
        },
        respond,
      )
      expect((await (await send(app, 'k')).text()).length).toBe(500)
      expect(await codeOfAnswer(await send(app, 'k'))).toEqual([409, 'idempotency_response_unavailable'])
      expect([calls.n, aborted]).toEqual([1, failing === 'write' ? 0 : 1])
    }
  }
})

test('G2: a longer answer that said no-store is not spilled, where its body could be read', async () => {
  const spill = memorySpill()
  const { app } = counting({ maxResponseBytes: 100, spill }, () => {
    return new Response('s'.repeat(500), { headers: { 'cache-control': 'no-store' } })
  })
  expect((await (await send(app, 'k')).text()).length).toBe(500)
  expect(spill.bodies.size).toBe(0)
  expect((await send(app, 'k')).status).toBe(409)
})

test('B2: the name of a spilled body is ours to give: one that the handler names is neither read nor kept', async () => {
  const spill = memorySpill()
  spill.bodies.set('0'.repeat(32), new TextEncoder().encode('of somebody else'))
  const { app } = counting({ maxResponseBytes: 100, spill }, () => {
    return new Response('x'.repeat(500), { headers: { 'gw-spilled': '0'.repeat(32) } })
  })
  await (await send(app, 'k')).text()
  expect(await (await send(app, 'k')).text()).toBe('x'.repeat(500))
})

test('B2: an answer of just the bound is kept, all there or flowing, and a longer one is spilled whole', async () => {
  for (const flowing of [false, true]) {
    for (const maxResponseBytes of [500, 499]) {
      const spill = memorySpill()
      const { opened, open } = gate()
      const { app } = counting({ maxResponseBytes, spill }, () => {
        let sent = 0
        const pieces = new ReadableStream<Uint8Array>({
          async pull(controller) {
            if (sent++ === 1) await opened
            controller.enqueue(new Uint8Array(250).fill(120))
            if (sent === 2) controller.close()
          },
        })
        return new Response(flowing ? pieces : 'x'.repeat(500))
      })
      const first = await send(app, 'k')
      open()
      expect(first.headers.get('idempotency-status')).toBe(flowing || maxResponseBytes < 500 ? 'capturing' : 'stored')
      expect(await first.text()).toBe('x'.repeat(500))
      expect(await (await send(app, 'k')).text()).toBe('x'.repeat(500))
      expect(spill.bodies.size).toBe(maxResponseBytes < 500 ? 1 : 0)
    }
  }
})

test('B2, B3: of a longer answer that breaks off nothing is left in the spill, and its claim is let go', async () => {
  let aborted = 0
  const spill: SpillStore = {
    ...memorySpill(),
    write: async () => ({ append: async () => {}, finish: async () => {}, abort: async () => void aborted++ }),
  }
  const { app, deduplicator } = counting({ maxResponseBytes: 100, spill }, () => {
    let sent = 0
    return new Response(
      new ReadableStream({
        pull(controller) {
          if (sent++ === 2) controller.error(new Error('lost'))
          else controller.enqueue(new Uint8Array(200))
        },
      }),
    )
  })
  await expect(send(app, 'k').then((response) => response.arrayBuffer())).rejects.toThrow('lost')
  expect([aborted, deduplicator.held]).toEqual([1, 0])
})

test('B1: a route that does not ask for the spill refuses a longer request, also where longer answers are spilled', async () => {
  const spill = memorySpill()
  const { app, calls } = counting({ maxBodyBytes: 100, spill })
  expect((await send(app, 'k', { body: 'y'.repeat(1_000) })).status).toBe(413)
  expect([calls.n, spill.bodies.size]).toEqual([0, 0])
})

test('B3: the first byte of a stream is not held back, and its end waits for the answer to be kept', async () => {
  const { opened, open } = gate()
  const { app, calls } = counting({}, () => {
    let sent = 0
    return new Response(
      new ReadableStream({
        async pull(controller) {
          if (sent++ === 1) await opened
          controller.enqueue(new TextEncoder().encode(`part ${sent};`))
          if (sent === 2) controller.close()
        },
      }),
    )
  })
  const response = await send(app, 'k')
  expect(response.headers.get('idempotency-status')).toBe('capturing')
  const reader = response.body!.getReader()
  expect(new TextDecoder().decode((await reader.read()).value)).toBe('part 1;')
  expect((await send(app, 'k')).status).toBe(409)
  open()
  expect(new TextDecoder().decode((await reader.read()).value)).toBe('part 2;')
  expect((await reader.read()).done).toBe(true)
  const replay = await send(app, 'k')
  expect([await replay.text(), calls.n]).toEqual(['part 1;part 2;', 1])
})

test('B3: an event stream is never replayable, and never runs twice', async () => {
  const { app, calls } = counting(
    {},
    () => new Response('data: 1\n\n', { headers: { 'content-type': 'text/event-stream; charset=utf-8' } }),
  )
  const first = await send(app, 'k')
  expect([first.headers.get('idempotency-status'), await first.text()]).toEqual(['unstored', 'data: 1\n\n'])
  expect(await codeOfAnswer(await send(app, 'k'))).toEqual([409, 'idempotency_response_unavailable'])
  expect(calls.n).toBe(1)
})

test('B3: an answer that breaks off is not replayed in part', async () => {
  const { app, clock } = counting({}, () => {
    let sent = 0
    return new Response(
      new ReadableStream({
        async pull(controller) {
          await new Promise((resolve) => setTimeout(resolve, 5))
          if (sent++ === 1) controller.error(new Error('lost'))
          else controller.enqueue(new Uint8Array([1]))
        },
      }),
    )
  })
  const response = await send(app, 'k')
  await expect(response.arrayBuffer()).rejects.toThrow('lost')
  clock.ms += 30_001
  expect(await codeOfAnswer(await send(app, 'k'))).toEqual([409, 'idempotency_outcome_unknown'])
})

test('B4: a client that goes away mid-stream stops nothing: the retry replays the whole answer', async () => {
  const { opened, open } = gate()
  const { app, calls } = counting({}, () => {
    let sent = 0
    return new Response(
      new ReadableStream({
        async pull(controller) {
          if (sent++ > 0) await opened
          controller.enqueue(new TextEncoder().encode(String(sent)))
          if (sent === 5) controller.close()
        },
      }),
    )
  })
  const reader = (await send(app, 'k')).body!.getReader()
  await reader.read()
  await reader.cancel()
  open()
  await expect.poll(async () => (await send(app, 'k')).status).toBe(200)
  expect([await (await send(app, 'k')).text(), calls.n]).toEqual(['12345', 1])
})

test('G1: nothing of an answer can be read in the store, and an altered or moved one is an alarm, never absent', async () => {
  const { app, store, deduplicator, calls, told } = counting({}, undefined, { cache: false })
  for (const key of ['k', 'l']) await send(app, key)
  const scope = { principal: 'ann', method: 'POST', path: '/pay/:id' }
  const keyOf = (key: string) => deduplicator.storageKey(scope, key)
  const record = (await store.get(await keyOf('k')))!
  const sealed = record.response!.body!
  expect(new TextDecoder().decode(sealed)).not.toContain('"n":1')
  expect((await store.get(await keyOf('l')))!.response!.headers).toEqual([['gw-sealed', 'secret']])
  sealed[sealed.length - 1]! ^= 1
  expect(await codeOfAnswer(await send(app, 'k'))).toEqual([409, 'idempotency_outcome_unknown'])
  expect(told()).toContain('corrupt')
  expect((await send(app, 'l')).headers.get('idempotent-replayed')).toBe('true')
  expect(calls.n).toBe(2)
})

test('G1: keys can be named and rotated; an answer sealed with an unknown key is not given', async () => {
  const key = (n: number) => new Uint8Array(32).fill(n)
  const store = memoryOf()
  const of = (current: string, keys: Record<string, Uint8Array>) =>
    counting({}, undefined, { store, cache: false, encryption: { current, keys } }).app
  await send(of('one', { one: key(1) }), 'k')
  const rotated = of('two', { one: key(1), two: key(2) })
  expect((await send(rotated, 'k')).headers.get('idempotent-replayed')).toBe('true')
  expect((await send(of('two', { two: key(2) }), 'k')).status).toBe(409)
  expect(() => of('absent', {})).not.toThrow()
  await expect(
    deduplicatorOf(store, { ms: 1 }, { encryption: { current: 'x', keys: {} } }).start(),
  ).rejects.toMatchObject({
    code: 'invalid_option',
  })
})

test('G1: erase removes one principal answers everywhere they are kept, and leaves what is under way', async () => {
  const { opened, open } = gate()
  const { app, calls, deduplicator } = counting({}, async (n, c) => {
    if (c.req.header('x-wait') === 'yes') await opened
    return c.json({ n }, 201)
  })
  await send(app, 'k')
  await send(app, 'k', { headers: { 'x-user': 'bob' } })
  const underWay = send(app, 'waiting', { headers: { 'x-wait': 'yes' } })
  await expect.poll(() => calls.n).toBe(3)
  expect(await deduplicator.erase({ principal: 'ann' })).toBe(1)
  await send(app, 'k')
  expect(calls.n).toBe(4)
  expect((await send(app, 'k', { headers: { 'x-user': 'bob' } })).headers.get('idempotent-replayed')).toBe('true')
  expect((await send(app, 'waiting', { headers: { 'x-wait': 'yes' } })).status).toBe(409)
  open()
  expect((await underWay).status).toBe(201)
})

test('R2: a replay to an authorised request is not for caches, to another it says what the answer said', async () => {
  const respond = () => new Response('mine', { headers: { 'cache-control': 'public, max-age=60' } })
  const { app } = counting({}, respond)
  const authorization = 'Bearer x'
  const answers = [
    await send(app, 'k', { headers: { authorization } }),
    await send(app, 'k', { headers: { authorization } }),
    await send(app, 'k'),
  ]
  expect(answers.map(({ headers }) => [headers.get('idempotent-replayed'), headers.get('cache-control')])).toEqual([
    [null, 'public, max-age=60'],
    ['true', 'no-store'],
    ['true', 'public, max-age=60'],
  ])
})

test('G2: an answer that said no-store is kept sealed, or without its body, and replayed with no-store', async () => {
  const respond = () => new Response('secret', { headers: { 'cache-control': 'private, no-store' } })
  const sealed = counting({}, respond)
  await send(sealed.app, 'k')
  const replay = await send(sealed.app, 'k')
  expect([await replay.text(), replay.headers.get('cache-control')]).toEqual(['secret', 'private, no-store'])
  const readable = counting({}, respond, { encryption: false })
  await send(readable.app, 'k')
  expect(await codeOfAnswer(await send(readable.app, 'k'))).toEqual([409, 'idempotency_response_unavailable'])
})

test('G1: what is erased is gone in front of a store that tells nothing, and in other processes by its word or its age', async () => {
  const clock = { ms: 1 }
  const { watch, ...silent } = memoryOf(clock)
  const alone = counting({}, undefined, { store: silent, now: () => clock.ms, monotonic: () => clock.ms })
  await send(alone.app, 'k')
  await alone.deduplicator.erase({ principal: 'ann' })
  await send(alone.app, 'k')
  expect(alone.calls.n).toBe(2)

  for (const store of [memoryOf(clock), { ...silent, shared: true }]) {
    let calls = 0
    const [one, two] = [deduplicatorOf(store, clock), deduplicatorOf(store, clock)]
    const app = appOf(one, (c) => c.json({ calls: ++calls }))
    await send(app, 'l')
    await two.erase({ principal: 'ann' })
    if (store.shared) {
      clock.ms += 9_999
      expect((await send(app, 'l')).headers.get('idempotent-replayed')).toBe('true')
      clock.ms += 1
    }
    await send(app, 'l')
    expect(calls).toBe(2)
  }
})

test('G1: an answer that was on its way from the store while it was erased is not held in front of it afterwards', async () => {
  const store = memoryOf()
  await send(
    appOf(deduplicatorOf(store), (c) => c.text('first')),
    'k',
  )
  const { opened, open } = gate()
  let asked = 0
  const slow: DedupStore = {
    ...store,
    async tryClaim(claim) {
      const answer = await store.tryClaim(claim)
      if (asked++ === 0) await opened
      return answer
    },
  }
  const deduplicator = deduplicatorOf(slow)
  const app = appOf(deduplicator, (c) => c.text('second'))
  const onItsWay = send(app, 'k')
  await expect.poll(() => asked).toBe(1)
  expect(await deduplicator.erase({ principal: 'ann' })).toBe(1)
  open()
  expect(await (await onItsWay).text()).toBe('first')
  expect(await (await send(app, 'k')).text()).toBe('second')
})

test("the guide's names: an answer can be looked up and kept by hand", async () => {
  const { app, calls, deduplicator, clock } = counting()
  const scope = { principal: 'ann', method: 'POST', path: '/pay/:id' }
  expect(await deduplicator.get(scope, 'k')).toBeUndefined()
  expect(await deduplicator.store(scope, 'k', Response.json({ by: 'hand' }), { windowMs: 5_000 })).toBe(true)
  expect(await deduplicator.store(scope, 'k', Response.json({}))).toBe(false)
  expect(await (await send(app, 'k')).json()).toEqual({ by: 'hand' })
  expect((await deduplicator.get(scope, 'k'))?.status).toBe(200)
  clock.ms += 5_000
  await send(app, 'k')
  expect(calls.n).toBe(1)
})

test('X2: the window runs from completion, and the key is new after it', async () => {
  const { app, calls, clock } = counting({ windowMs: 1_000 }, (n, c) => {
    clock.ms += 500
    return c.json({ n })
  })
  await send(app, 'k')
  clock.ms += 999
  await send(app, 'k')
  expect(calls.n).toBe(1)
  clock.ms += 1
  await send(app, 'k')
  expect(calls.n).toBe(2)
})

function streamOf(pieces: number): ReadableStream<Uint8Array> {
  let sent = 0
  return new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 0))
      if (sent++ === pieces) controller.close()
      else controller.enqueue(new Uint8Array(10).fill(120))
    },
  })
}

function memorySpill(): SpillStore & { readonly bodies: Map<string, Uint8Array> } {
  const bodies = new Map<string, Uint8Array>()
  return {
    bodies,
    async write(name) {
      const chunks: Uint8Array[] = []
      return {
        async append(chunk) {
          chunks.push(chunk)
        },
        async finish() {
          bodies.set(name, new Uint8Array(Buffer.concat(chunks)))
        },
        async abort() {},
      }
    },
    async read(name) {
      const body = bodies.get(name)
      return body && new Blob([new Uint8Array(body)]).stream()
    },
    async delete(name) {
      bodies.delete(name)
    },
  }
}
