import { parseResponse } from 'hono/client'
import { expect, test } from 'vitest'
import type { Gateway } from '../src/index.ts'
import { adminOf } from './admin-listener.ts'

/** What the tests serve: a request that is answered, one that waits for a signal, one that fails, and one that is parked. */
function routes(gateway: Gateway): void {
  const answers = new Map<string, string>()
  gateway.post('/echo', gateway.durable({ operation: 'echo' }), async (c) => {
    const { run } = c.var
    const body = (await c.req.json()) as { readonly text: string; readonly password?: string }
    const said = await run.step('say', () => ({ said: body.text, token: 'token-of-the-step' }))
    await run.step('again', () => body.text.length)
    await run.update({ stage: 'done' })
    return c.json({ ...said, run: run.id }, 201)
  })
  gateway.post('/wait', gateway.durable({ operation: 'wait', idempotency: 'off' }), async (c) => {
    const value = await c.var.run.waitFor<string>('go')
    return c.json({ value })
  })
  gateway.post('/fail', gateway.durable({ operation: 'fail', retry: { maxAttempts: 1 } }), async (c) => {
    const { run } = c.var
    await run.step('before', () => 1)
    if (answers.get('mended') !== 'yes') throw new Error('the machine is broken')
    return c.json({ mended: true })
  })
  gateway.post('/mend', (c) => {
    answers.set('mended', 'yes')
    return c.text('')
  })
}

async function send(gateway: Gateway, path: string, body: unknown = {}, headers: Record<string, string> = {}) {
  const response = await gateway.request(path, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json', ...headers },
  })
  return { response, id: response.headers.get('gw-run')! }
}

test('gateway G10: requests are listed newest first, by every filter, and pages neither repeat nor skip', async () => {
  const { gateway, client } = await adminOf({ principal: (c) => c.req.header('x-user-id') }, routes)
  const ids: string[] = []
  for (let i = 0; i < 7; i++) {
    const { id } = await send(
      gateway,
      '/echo',
      { text: `t${i}` },
      { 'x-user-id': i % 2 === 0 ? 'ann' : 'bob', 'x-request-id': `r-${i}` },
    )
    ids.push(id)
  }
  const failed = await send(gateway, '/fail')
  const listed = async (query: Record<string, string>) => {
    const { requests, cursor } = await parseResponse(client.admin.requests.$get({ query }))
    return { ids: requests.map(({ id }) => id), cursor }
  }
  expect((await listed({ status: 'completed' })).ids).toEqual([...ids].reverse())
  expect((await listed({ status: 'failed,dead' })).ids).toEqual([failed.id])
  expect((await listed({ operation: 'fail' })).ids).toEqual([failed.id])
  expect((await listed({ principal: 'bob' })).ids).toEqual([ids[5], ids[3], ids[1]])
  expect((await listed({ request_id: 'r-4' })).ids).toEqual([ids[4]])
  expect((await listed({ stage: 'done', limit: '2' })).ids).toEqual([ids[6], ids[5]])
  expect((await listed({ text: 'BOB' })).ids).toEqual([ids[5], ids[3], ids[1]])
  expect((await listed({ text: 'machine is broken' })).ids).toEqual([failed.id])
  expect((await listed({ from: '2999-01-01T00:00:00Z' })).ids).toEqual([])
  expect((await listed({ to: String(Date.now() / 1_000 + 60), operation: 'echo' })).ids).toEqual([...ids].reverse())
  for (const filter of [{ operation: 'echo' }, { text: 'echo' }] as Record<string, string>[]) {
    const seen: string[] = []
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page = await listed({ ...filter, limit: '3', ...(cursor === undefined ? {} : { cursor }) })
      seen.push(...page.ids)
      cursor = page.cursor
    }
    expect(seen).toEqual([...ids].reverse())
  }
  const { counts } = await parseResponse(client.admin.requests.$get({ query: {} }))
  expect(counts).toMatchObject({ completed: 7, failed: 1, parked: 0 })
})

test('gateway G10: a filter that is none is a 400 that names the parameter and what was expected', async () => {
  const { ask } = await adminOf()
  for (const [query, parameter] of [
    ['limit=0', 'limit'],
    ['limit=x', 'limit'],
    ['status=strange', 'status'],
    ['from=yesterday', 'from'],
    ['text=', 'text'],
    ['colour=red', 'colour'],
  ] as const) {
    const response = await ask(`/admin/requests?${query}`)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    const { status, code, detail } = await response.json()
    expect([status, code, detail]).toEqual([400, 'invalid_parameter', expect.stringContaining(parameter)])
  }
})

test('gateway G10: one request is shown with its steps, its outcome, its key, its trace and its events, and its payloads masked', async () => {
  const { gateway, client, ask } = await adminOf({}, routes)
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const { id } = await send(
    gateway,
    '/echo',
    { text: 'hello', password: 'hunter2' },
    { 'idempotency-key': 'k-1', traceparent },
  )
  const shown = await parseResponse(client.admin.requests[':id'].$get({ param: { id } }))
  expect(shown).toMatchObject({
    request: { id, operation: 'echo', status: 'completed', attempt: 1, recoveries: 0, stage: 'done' },
    why: { cause: 'none', text: 'It is completed' },
    steps: [
      { name: 'say', occurrence: 1, state: 'kept', attempt: 1, bytes: expect.any(Number) },
      { name: 'again', occurrence: 1, state: 'kept' },
    ],
    outcome: { status: 201, retained: true },
    key: { hash: expect.stringMatching(/^[0-9a-f]{64}$/), state: 'completed' },
  })
  expect(shown.events.map(({ type }) => type)).toEqual(['request_received', 'operation_completed'])
  expect(shown.events[1]?.data).toMatchObject({ run: id, status: 201, execution_time_ms: expect.any(Number) })
  const payloads = await parseResponse(client.admin.requests[':id'].payloads.$get({ param: { id } }))
  expect(payloads).toMatchObject({
    input: { body: { kind: 'json', bytes: 37, value: { text: 'hello', password: '[redacted]' }, cut: false } },
    steps: [{ name: 'say', value: { kind: 'json', value: { said: 'hello', token: '[redacted]' } } }, { name: 'again' }],
    outcome: { status: 201, body: { value: { said: 'hello', token: '[redacted]' } } },
  })
  for (const path of ['', '/payloads']) {
    const text = await (await ask(`/admin/requests/${id}${path}`)).text()
    expect(text).not.toMatch(/hunter2|token-of-the-step|k-1"/)
  }
  expect((await ask('/admin/requests/nothing')).status).toBe(404)
})

test('gateway G10: a waiting request says what it waits for, takes the signal, and is cancelled', async () => {
  const { gateway, client } = await adminOf({}, routes)
  const async = { prefer: 'respond-async' }
  const [first, second] = [await send(gateway, '/wait', {}, async), await send(gateway, '/wait', {}, async)]
  const whyOf = async (id: string) => (await parseResponse(client.admin.requests[':id'].$get({ param: { id } }))).why
  await expect
    .poll(() => whyOf(first.id))
    .toMatchObject({ cause: 'waiting_for_signal', text: expect.stringContaining('go') })
  const signalled = await client.admin.requests[':id'].signal.$post({
    param: { id: first.id },
    json: { name: 'go', value: 'gone' },
  })
  expect([signalled.status, await signalled.json()]).toEqual([202, { request: first.id, result: 'signalled' }])
  await expect.poll(async () => (await gateway.checkpoints.get(first.id))?.status).toBe('completed')
  expect(await (await gateway.checkpoints.response(first.id))?.json()).toEqual({ value: 'gone' })
  const cancelled = await parseResponse(
    client.admin.requests[':id'][':action'].$post({ param: { id: second.id, action: 'cancel' } }),
  )
  expect(cancelled).toEqual({ request: second.id, result: 'cancelled' })
  const again = await client.admin.requests[':id'][':action'].$post({ param: { id: second.id, action: 'cancel' } })
  expect([again.status, (await again.json()) as unknown]).toEqual([
    409,
    expect.objectContaining({ code: 'already_finished' }),
  ])
  const trail = (await gateway.events.query({ subject: second.id })).events
  expect(trail.filter(({ actor }) => actor?.startsWith('admin@')).map(({ type }) => type)).toEqual([
    'checkpoint.cancel',
    'checkpoint.cancel',
    'admin.refused',
  ])
})

test('gateway G10: the timeline has the steps, the waits, the owners and the people, in the order of time', async () => {
  const { gateway, client } = await adminOf({}, (app) => {
    app.post('/slow', app.durable({ operation: 'slow' }), async (c) => {
      const { run } = c.var
      await run.step('first', () => 1)
      const word = await run.waitFor<string>('word')
      await run.step('second', () => 2)
      return c.json({ word })
    })
  })
  const { id } = await send(gateway, '/slow', {}, { prefer: 'respond-async' })
  const shown = () => parseResponse(client.admin.requests[':id'].$get({ param: { id } }))
  await expect.poll(async () => (await shown()).request.status).toBe('waiting')
  const json = { name: 'word', value: 'now' }
  await client.admin.requests[':id'].signal.$post({ param: { id }, json })
  await expect.poll(async () => (await shown()).request.status).toBe('completed')
  // Transitions reach the trail within a second.
  await expect
    .poll(async () => (await shown()).timeline.map(({ kind }) => kind), { timeout: 10_000 })
    .toContain('taken_over')
  const { timeline } = await shown()
  const order = [
    'accepted',
    'first#1 is kept',
    'waits: waits for the signal word',
    'signal',
    'second#1 is kept',
    'answered with 200',
  ]
  const at = order.map((text) => timeline.findIndex((each) => each.kind === text || each.text.includes(text)))
  expect(at).toEqual([...at].sort((a, b) => a - b))
  expect(at).not.toContain(-1)
  expect(timeline.filter(({ kind }) => kind === 'action')).toMatchObject([{ text: 'admin@127.0.0.1: signal' }])
  expect(timeline.find(({ kind }) => kind === 'taken_over')?.text).toContain(gateway.checkpoints.owner)
  for (const { text } of timeline) expect(text).not.toMatch(/undefined|null|\[object/)
})

test('gateway G10: a failed request is retried from its last kept step, and forked from a step with another body', async () => {
  const { gateway, client } = await adminOf({}, routes)
  const { id } = await send(gateway, '/fail')
  expect((await gateway.checkpoints.get(id))?.status).toBe('failed')
  await gateway.request('/mend', { method: 'POST' })
  const retried = await parseResponse(client.admin.requests[':id'][':action'].$post({ param: { id, action: 'retry' } }))
  expect(retried).toEqual({ request: id, result: 'queued' })
  await expect.poll(async () => (await gateway.checkpoints.get(id))?.status).toBe('completed')

  const original = await send(gateway, '/echo', { text: 'first' })
  const fork = async (json: { fromStep?: string; body?: unknown }) => {
    const { request } = await parseResponse(
      client.admin.requests[':id'].fork.$post({ param: { id: original.id }, json }),
    )
    await expect.poll(async () => (await gateway.checkpoints.get(request))?.status).toBe('completed')
    return (await (await gateway.checkpoints.response(request))?.json()) as { said: string }
  }
  expect(await fork({ body: { text: 'edited' } })).toMatchObject({ said: 'edited' })
  expect(await fork({ fromStep: 'again', body: { text: 'too late for it' } })).toMatchObject({ said: 'first' })
  const refused = await client.admin.requests[':id'].fork.$post({
    param: { id: original.id },
    json: { fromStep: 'nothing' },
  })
  expect(refused.status).toBe(404)
  const strange = await client.admin.requests[':id'].fork.$post({
    param: { id: original.id },
    json: { colour: 1 } as never,
  })
  expect([strange.status, (await strange.json()) as unknown]).toEqual([
    400,
    expect.objectContaining({ code: 'invalid_body' }),
  ])
})

test('gateway G10: a step that was under way when its process died is parked, says so, and is resolved by a person', async () => {
  const { gateway, client } = await adminOf({}, (app) => {
    app.post('/charge', app.durable({ operation: 'charge' }), async (c) => {
      const charged = await c.var.run.step('charge', () => 'charged again', { onCrash: 'park' })
      return c.json({ charged })
    })
  })
  const { id } = await send(gateway, '/charge')
  const { requests } = JSON.parse(JSON.stringify({ requests: [await exported(client, id)] }))
  requests[0].record = {
    ...requests[0].record,
    id: `${id.slice(0, -4)}0000`,
    status: 'running',
    settled: false,
    expiresAt: null,
  }
  requests[0].steps = requests[0].steps.map((step: object) => ({ ...step, state: 'started', text: undefined }))
  requests[0].outcome = null
  const imported = await parseResponse(client.admin.requests.import.$post({ json: { requests } }))
  expect(imported).toMatchObject({ imported: 1, present: 0 })
  const parked = requests[0].record.id
  const shown = () => parseResponse(client.admin.requests[':id'].$get({ param: { id: parked } }))
  await expect.poll(async () => (await shown()).request.status).toBe('parked')
  expect((await shown()).why).toMatchObject({ cause: 'outcome_unknown', text: expect.stringContaining('charge#1') })
  const wrong = await client.admin.requests[':id'].resolve.$post({
    param: { id: parked },
    json: { kind: 'perhaps' } as never,
  })
  expect(wrong.status).toBe(400)
  const resolved = await parseResponse(
    client.admin.requests[':id'].resolve.$post({
      param: { id: parked },
      json: { kind: 'done', step: 'charge', value: 'charged once' },
    }),
  )
  expect(resolved).toEqual({ request: parked, result: 'queued' })
  await expect.poll(async () => (await shown()).request.status).toBe('completed')
  expect(await (await gateway.checkpoints.response(parked))?.json()).toEqual({ charged: 'charged once' })
})

async function exported(client: Awaited<ReturnType<typeof adminOf>>['client'], id: string) {
  return parseResponse(client.admin.requests[':id'].export.$get({ param: { id } }))
}

test('gateway G10: an exported request is imported elsewhere to the byte, once; an unfinished one goes on there', async () => {
  const here = await adminOf({}, routes)
  const there = await adminOf({}, routes)
  const done = await send(here.gateway, '/echo', { text: 'to go' })
  const waiting = await send(here.gateway, '/wait', {}, { prefer: 'respond-async' })
  await expect.poll(async () => (await here.gateway.checkpoints.get(waiting.id))?.status).toBe('waiting')
  const requests = [await exported(here.client, done.id), await exported(here.client, waiting.id)]
  const take = () => parseResponse(there.client.admin.requests.import.$post({ json: { requests } }))
  expect(await take()).toMatchObject({ imported: 2, present: 0 })
  expect(await take()).toMatchObject({ imported: 0, present: 2 })
  expect(await (await there.gateway.checkpoints.response(done.id))?.text()).toBe(await done.response.text())
  expect(await there.gateway.checkpoints.store.input(done.id)).toEqual(
    await here.gateway.checkpoints.store.input(done.id),
  )
  expect(await there.gateway.checkpoints.store.steps(done.id)).toEqual(
    await here.gateway.checkpoints.store.steps(done.id),
  )
  await there.gateway.checkpoints.signal(waiting.id, 'go', 'over there', { actor: 'test' })
  await expect.poll(async () => (await there.gateway.checkpoints.get(waiting.id))?.status).toBe('completed')
  const refused = await here.reader.admin.requests[':id'].export.$get({ param: { id: done.id } })
  expect(refused.status).toBe(403)
})

test('gateway G10: a bulk action counts first, needs what the dry run gave, and answers for each request; it can be made again', async () => {
  const { gateway, client, post } = await adminOf({}, routes)
  const ids: string[] = []
  for (let i = 0; i < 30; i++) ids.push((await send(gateway, '/wait', {}, { prefer: 'respond-async' })).id)
  await send(gateway, '/echo', { text: 'left alone' })
  const filter = { operation: 'wait' }
  const bulk = (json: Parameters<typeof client.admin.requests.bulk.$post>[0]['json']) =>
    client.admin.requests.bulk.$post({ json })
  const dry = await parseResponse(bulk({ filter, action: 'cancel', dryRun: true }))
  expect(dry).toMatchObject({ dryRun: true, count: 30, exact: true, done: 0, results: [] })
  expect(dry.sample).toHaveLength(20)
  const late = await send(gateway, '/wait', {}, { prefer: 'respond-async' })
  for (const [json, code] of [
    [{ filter, action: 'cancel' }, 'confirmation_missing'],
    [{ filter, action: 'cancel', expected: 30 }, 'count_changed'],
    [{ filter, action: 'retry', confirmation: dry.confirmation }, 'invalid_confirmation'],
    [{ filter: {}, action: 'cancel', confirmation: dry.confirmation }, 'invalid_confirmation'],
    [{ filter: { colour: 'red' }, action: 'cancel', dryRun: true }, 'invalid_body'],
  ] as const)
    expect((await (await post('/admin/requests/bulk', json)).json()).code).toBe(code)
  const confirmation = dry.confirmation!
  const first = await parseResponse(bulk({ filter, action: 'cancel', confirmation, limit: 12 }))
  expect(first).toMatchObject({ count: 30, done: 12, failed: 0, remaining: 18 })
  const second = await parseResponse(bulk({ filter, action: 'cancel', confirmation }))
  expect(second).toMatchObject({ count: 18, done: 18, failed: 0, remaining: 0 })
  const third = await parseResponse(bulk({ filter, action: 'cancel', confirmation }))
  expect(third).toMatchObject({ count: 0, done: 0, failed: 0 })
  const done = [...first.results, ...second.results].map(({ request }) => request)
  expect(done.sort()).toEqual([...ids].sort())
  for (const id of ids)
    expect(['cancelled', 'waiting', 'queued']).toContain((await gateway.checkpoints.get(id))?.status)
  expect((await gateway.checkpoints.get(late.id))?.cancelRequested).toBe(false)
  const events = (await gateway.events.query({ type: 'checkpoint.cancel' })).events
  expect(events).toHaveLength(30)
  expect((await gateway.events.query({ type: 'admin.requests.bulk' })).events).toHaveLength(3)
})

test('gateway D1: what a handler threw does not enter the trail, which keeps it for good', async () => {
  const { gateway } = await adminOf({}, (app) => {
    const retry = { maxAttempts: 2, initialMs: 1, retryable: () => true }
    app.post('/throw', app.durable({ operation: 'throw', retry }), () => {
      throw new Error('SECRET-IN-AN-ERROR-4f1c')
    })
  })
  const { id } = await send(gateway, '/throw')
  const types = async () => (await gateway.events.query({ subject: id })).events.map(({ type }) => type)
  await expect.poll(types, { timeout: 10_000 }).toContain('checkpoint.waiting')
  const trail = await gateway.events.query({ subject: id })
  expect(JSON.stringify(trail.events)).not.toContain('SECRET-IN-AN-ERROR')
  expect(trail.events.find(({ type }) => type === 'checkpoint.waiting')?.data).toMatchObject({
    reason: 'attempt 1 failed',
  })
})
