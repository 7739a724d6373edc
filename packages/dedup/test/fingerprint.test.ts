import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { dedup } from '../src/index.ts'
import { canonicalJson } from '../src/json.ts'
import { nodeCrypto } from '../src/node/crypto.ts'
import { Sha256 } from '../src/sha256.ts'
import { codeOfAnswer, counting, deduplicatorOf, memoryOf, type Sent, send } from './fixture.ts'

/** The status of a second request that brings the same key with another body. */
async function second(first: Sent, then: Sent, options: Parameters<typeof counting>[0] = {}): Promise<number> {
  const { app } = counting(options)
  expect((await send(app, 'k', first)).status).toBe(201)
  return (await send(app, 'k', then)).status
}

test('F1, F4: another body, query, path, method or type with the key is 422 and the first answer stays', async () => {
  const { app, calls } = counting()
  await send(app, 'k')
  for (const other of [
    { body: '{"a":2}' },
    { path: '/pay/1?amount=999' },
    { path: '/pay/2' },
    { path: '/pay/%31' },
    { headers: { 'content-type': 'text/plain' } },
  ])
    expect(await codeOfAnswer(await send(app, 'k', other))).toEqual([422, 'idempotency_key_reused'])
  expect(await (await send(app, 'k')).json()).toEqual({ n: 1 })
  expect(calls.n).toBe(1)
})

test('F1: one amount in the query is never answered with another', async () => {
  const { app } = counting()
  await send(app, 'k', { path: '/pay/1?amount=1' })
  expect((await send(app, 'k', { path: '/pay/1?amount=999' })).status).toBe(422)
})

test('F1: configured fields make two requests different, others do not', async () => {
  const other = (headers: Record<string, string>) => second({}, { headers }, { vary: ['X-Currency'] })
  expect(await other({ 'x-currency': 'EUR' })).toBe(422)
  expect(await other({ 'user-agent': 'another' })).toBe(201)
})

test('F2: the bytes of what is not JSON count', async () => {
  const headers = { 'content-type': 'application/octet-stream' }
  expect(await second({ headers, body: 'a b' }, { headers, body: 'a  b' })).toBe(422)
  expect(await second({ headers, body: 'a b' }, { headers, body: 'a b' })).toBe(201)
})

test('F2: +json is compared as JSON', async () => {
  const headers = { 'content-type': 'application/vnd.x+json; charset=utf-8' }
  expect(await second({ headers, body: '{"a":1,"b":2}' }, { headers, body: '{"b":2,"a":1}' })).toBe(201)
})

test('F2: a form is compared by its decoded fields', async () => {
  const headers = { 'content-type': 'application/x-www-form-urlencoded' }
  const form = (a: string, b: string) => second({ headers, body: a }, { headers, body: b }, { compare: 'form' })
  expect(await form('a=%41+b&c=1', 'a=A%20b&c=1')).toBe(201)
  expect(await form('a=1&b=2', 'a=1&b=3')).toBe(422)
  expect(await form('a=1&a=2', 'a=2&a=1')).toBe(422)
})

test('F2: a multipart form is compared by its parts, whatever the boundary', async () => {
  const form = (boundary: string, name: string, file: string, type = 'text/plain', content = 'x\r\n--y') => ({
    headers: { 'content-type': `multipart/form-data; boundary=${boundary}` },
    body: `--${boundary}\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--${boundary}\r\nContent-Disposition: form-data; name="${name}"; filename="${file}"\r\nContent-Type: ${type}\r\n\r\n${content}\r\n--${boundary}--\r\n`,
  })
  const first = form('one', 'f', 'a.txt')
  expect(await second(first, form('two', 'f', 'a.txt'))).toBe(201)
  expect(await second(first, form('two', 'g', 'a.txt'))).toBe(422)
  expect(await second(first, form('two', 'f', 'b.txt'))).toBe(422)
  expect(await second(first, form('two', 'f', 'a.txt', 'text/html'))).toBe(422)
  expect(await second(first, form('two', 'f', 'a.txt', 'text/plain', 'y'))).toBe(422)
  const broken = { headers: first.headers, body: 'not multipart' }
  expect(await second(broken, broken)).toBe(201)
})

test('F2: names and file names of parts count in each way of writing them, and a part without a name is compared as it is', async () => {
  const form = (disposition: string, boundary = 'b') => ({
    headers: { 'content-type': `multipart/form-data; boundary=${boundary}` },
    body: `--${boundary}\r\nContent-Disposition: form-data${disposition}\r\n\r\n1\r\n--${boundary}--\r\n`,
  })
  expect(await second(form('; name=from'), form('; name="from"', 'c'))).toBe(201)
  expect(await second(form('; name=from'), form('; name=to'))).toBe(422)
  expect(await second(form('; name=f; filename=a'), form('; name=f; filename=b'))).toBe(422)
  const extended = (name: string) => form(`; name=f; filename=x; filename*=utf-8''${name}`)
  expect(await second(extended('a'), extended('a'))).toBe(201)
  expect(await second(extended('a'), extended('b'))).toBe(422)
  expect(await second(form(''), form('', 'c'))).toBe(422)
})

test('F2: a multipart form made by the platform reaches the handler whole', async () => {
  const { app } = counting({}, async (_, c) => c.text(String((await c.req.formData()).get('f')), 201))
  const body = () => {
    const form = new FormData()
    form.append('f', 'value')
    return form
  }
  const post = () =>
    app.request('/pay/1', { method: 'POST', body: body(), headers: { 'idempotency-key': 'k', 'x-user': 'ann' } })
  expect(await (await post()).text()).toBe('value')
  expect((await post()).headers.get('idempotent-replayed')).toBe('true')
})

test('F2: digest mode trusts Content-Digest, checks it while the handler reads, and buffers nothing', async () => {
  const read = async (c: Parameters<NonNullable<Parameters<typeof counting>[1]>>[1]) => (await c.req.text()).length
  const { app, calls } = counting({ compare: 'digest' }, async (_, c) => c.json({ length: await read(c) }, 201))
  const digestOf = (body: string) => `sha-256=:${createHash('sha256').update(body).digest('base64')}:`
  const headers = { 'content-digest': digestOf('abc') }
  expect(await (await send(app, 'k', { body: 'abc', headers })).json()).toEqual({ length: 3 })
  expect((await send(app, 'k', { body: 'abc', headers })).headers.get('idempotent-replayed')).toBe('true')
  expect((await send(app, 'k', { body: 'abd', headers: { 'content-digest': digestOf('abd') } })).status).toBe(422)
  expect(await codeOfAnswer(await send(app, 'l', { body: 'abc' }))).toEqual([400, 'content_digest_invalid'])
  expect(await codeOfAnswer(await send(app, 'm', { body: 'xyz', headers }))).toEqual([400, 'content_digest_invalid'])
  expect((await send(app, 'm', { body: 'abc', headers })).status).toBe(201)
  expect(calls.n).toBe(3)
})

test('F2: a function of your own decides what of a body counts', async () => {
  const compare = (body: Uint8Array) => body.subarray(0, 3)
  expect(await second({ body: 'abcX' }, { body: 'abcY' }, { compare })).toBe(201)
  expect(await second({ body: 'abcX' }, { body: 'abdX' }, { compare })).toBe(422)
})

test('F3: order of members and white space do not count; null, order of items, duplicates and large numbers do', async () => {
  const json = (a: string, b: string) => second({ body: a }, { body: b })
  expect(await json('{"a":1,"b":{"c":2,"d":3}}', '{ "b": {"d":3,"c":2}, "a":1 }')).toBe(201)
  expect(await json('{"a":1.0}', '{"a":1}')).toBe(201)
  expect(await json('{"\\u0061":1}', '{"a":1}')).toBe(201)
  expect(await json('{"a":null}', '{}')).toBe(422)
  expect(await json('[1,2]', '[2,1]')).toBe(422)
  expect(await json('{"a":1,"a":2}', '{"a":2}')).toBe(422)
  expect(await json('{"a":1,"\\u0061":2}', '{"a":2}')).toBe(422)
  expect(await json('{"a":9007199254740993}', '{"a":9007199254740992}')).toBe(422)
  expect(await json('{"a":0.1000000000000000055}', '{"a":0.1}')).toBe(422)
  expect(await json('{"a":1e400}', '{"a":1e401}')).toBe(422)
  expect(await json('{"__proto__":1}', '{}')).toBe(422)
  expect(await json('not json', 'not json')).toBe(201)
  expect(await json('{"a":"x{\\"b\\":1,"}', '{"a":"x{\\"b\\":1,"}')).toBe(201)
})

test('F3: whatever JSON says, its spelling does not matter, and another value is another body', () => {
  const spelled = (value: unknown, indent: number) => canonicalJson(JSON.stringify(value, undefined, indent), 64)
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), fc.jsonValue({ maxDepth: 4 }), (a, b) => {
      const [one, again, other] = [spelled(a, 0), spelled(a, 2), spelled(b, 0)]
      if (one.kind !== 'canonical' || other.kind !== 'canonical') return
      expect(again).toEqual(one)
      const same = fc.stringify(JSON.parse(one.text)) === fc.stringify(JSON.parse(other.text))
      expect(one.text === other.text).toBe(same)
    }),
    { numRuns: 300 },
  )
})

test('3.4: JSON that nests too deep is 400 before it is parsed; brackets within strings are not nesting', async () => {
  const { app, calls } = counting({ maxJsonDepth: 8 })
  const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`
  expect(await codeOfAnswer(await send(app, 'k', { body: deep }))).toEqual([400, 'json_too_deep'])
  expect(calls.n).toBe(0)
  expect((await send(app, 'l', { body: `{"a":"${'['.repeat(100)}"}` })).status).toBe(201)
})

test('3.4: hostile texts of 100 KB are canonicalised in linear time', () => {
  const texts = [`"${'\\'.repeat(100_000)}`, '{"a":'.repeat(20_000), '1'.repeat(100_000), `[${'1,'.repeat(50_000)}`]
  const began = performance.now()
  for (const text of texts) canonicalJson(text, 64)
  expect(performance.now() - began).toBeLessThan(2_000)
})

test('F4: another request with the key is 422 while the first is under way, and after its owner died', async () => {
  let finish = () => {}
  const { app, clock, calls } = counting({}, async (_, c) => {
    await new Promise<void>((resolve) => {
      finish = resolve
    })
    return c.text('x')
  })
  const first = send(app, 'k')
  await expect.poll(() => calls.n).toBe(1)
  expect((await send(app, 'k', { body: '{}' })).status).toBe(422)
  clock.ms += 30_001
  expect((await send(app, 'k', { body: '{}' })).status).toBe(422)
  finish()
  expect((await first).status).toBe(200)
})

test('F4: what may be done next is said in the problem, and the client key is in none', async () => {
  const { app } = counting()
  await send(app, 'a-recognisable-key')
  const text = await (await send(app, 'a-recognisable-key', { body: '[]' })).text()
  expect(JSON.parse(text)).toMatchObject({
    type: 'urn:gw:problem:idempotency_key_reused',
    retryable: false,
    safeToUseNewKey: true,
  })
  expect(text).not.toContain('a-recognisable-key')
})

test('B1: a body over the bound is 413, before it is read when its length is declared', async () => {
  const { app, calls } = counting({ maxBodyBytes: 100 })
  let pulled = 0
  const endless = () =>
    new ReadableStream<Uint8Array>({
      pull(controller) {
        pulled++
        controller.enqueue(new Uint8Array(50))
      },
    })
  const post = (headers: Record<string, string>) =>
    app.request('/pay/1', {
      method: 'POST',
      body: endless(),
      duplex: 'half',
      headers: { 'idempotency-key': 'k', 'x-user': 'ann', ...headers },
    } as RequestInit)
  const refused = await post({ 'content-length': '101' })
  expect(refused.headers.get('connection')).toBe('close')
  expect(await codeOfAnswer(refused)).toEqual([413, 'body_too_large'])
  const before = pulled
  expect(before).toBeLessThanOrEqual(1)
  expect(await codeOfAnswer(await post({}))).toEqual([413, 'body_too_large'])
  expect(pulled - before).toBeLessThan(6)
  expect(calls.n).toBe(0)
  expect((await send(app, 'k', { body: 'x'.repeat(100) })).status).toBe(201)
})

test('a body that was read for its fingerprint is still there for the handler', async () => {
  const deduplicator = deduplicatorOf(memoryOf())
  const app = new Hono()
  app.post('/a', dedup({ deduplicator, scope: 'global' }), async (c) => c.json({ got: await c.req.json() }))
  const streamed = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode('{"a":'))
      controller.enqueue(new TextEncoder().encode('1}'))
      controller.close()
    },
  })
  const init = { method: 'POST', body: streamed, duplex: 'half', headers: { 'idempotency-key': 'k' } }
  expect(await (await app.request('/a', init as RequestInit)).json()).toEqual({ got: { a: 1 } })
})

test('F4: a handler that writes over the bytes of its body does not change what its request is known by', async () => {
  const { app } = counting({ compare: 'bytes' }, async (_, c) => {
    new Uint8Array(await c.req.arrayBuffer()).fill(120)
    return c.text('done')
  })
  await send(app, 'k', { body: 'aaa' })
  expect((await send(app, 'k', { body: 'xxx' })).status).toBe(422)
  expect((await send(app, 'k', { body: 'aaa' })).status).toBe(200)
})

test('L2, B1, F2: a handler whose body was put by, or is checked as it reads, still learns that its client went away', async () => {
  const digest = `sha-256=:${createHash('sha256').update('abc').digest('base64')}:`
  const spill = {
    write: async () => ({ append: nothing, finish: nothing, abort: nothing }),
    read: nothing,
    delete: nothing,
  }
  for (const options of [{ compare: 'digest' }, { onLargeBody: 'spill', maxBodyBytes: 1, spill }] as const) {
    const controller = new AbortController()
    const { app } = counting(options, (_, c) => {
      controller.abort()
      return c.json({ aborted: c.req.raw.signal.aborted })
    })
    const headers = { 'content-digest': digest }
    const answer = await send(app, 'k', { body: 'abc', headers, signal: controller.signal })
    expect(await answer.json()).toEqual({ aborted: true })
  }
})

async function nothing(): Promise<undefined> {}

test('SHA-256 in pieces is what the platform makes of the whole', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 150 }), { maxLength: 8 }), (chunks) => {
      const hash = new Sha256()
      for (const chunk of chunks) hash.update(chunk)
      expect(Buffer.from(hash.digest())).toEqual(Buffer.from(nodeCrypto.sha256(...chunks) as Uint8Array))
    }),
  )
})
