import { copyFileSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { checkConsistency, openNote, verifyBundle, verifyProof } from '@gw/events/proofs'
import { freshDatabase } from '@gw/services'
import { openDatabase } from '@gw/sqlite'
import { CloudEvent } from 'cloudevents'
import { parseResponse } from 'hono/client'
import { expect, onTestFinished, test } from 'vitest'
import { adminOf } from './admin-listener.ts'

const append = async (
  gateway: Awaited<ReturnType<typeof adminOf>>['gateway'],
  count: number,
  type = 'thing.happened',
) => {
  for (let i = 0; i < count; i++)
    await gateway.events.append(
      type,
      { i, password: 'hunter2' },
      { actor: i % 2 === 0 ? 'ann' : 'bob', subject: `s-${i % 3}` },
    )
}

/** Reads server-sent events until there are `count` of them. */
async function take(
  response: Response,
  count: number,
): Promise<{ id: string; event: string; data: { position: string } }[]> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  const found: { id: string; event: string; data: { position: string } }[] = []
  for (let text = ''; found.length < count; ) {
    const { done, value } = await reader.read()
    if (done) throw new Error(`The stream ended after ${found.length} events`)
    text += value
    const blocks = text.split('\n\n')
    text = blocks.pop()!
    for (const block of blocks) {
      const fields = new Map(block.split('\n').map((line) => line.split(/: (.*)/s).slice(0, 2) as [string, string]))
      if (fields.has('data'))
        found.push({ id: fields.get('id')!, event: fields.get('event')!, data: JSON.parse(fields.get('data')!) })
    }
  }
  await reader.cancel()
  return found
}

test('gateway G10: the audit trail has the guide’s parameters and answer, and pages that neither repeat nor skip', async () => {
  const { gateway, client, ask } = await adminOf()
  await append(gateway, 25)
  const start = new Date(Date.now() - 60_000).toISOString()
  const trail = await parseResponse(
    client.admin['audit-trail'].$get({
      query: {
        user_id: 'ann',
        event_type: 'thing.happened',
        start_time: start,
        end_time: String(Date.now() / 1_000 + 60),
      },
    }),
  )
  expect(trail.total_count).toBe(13)
  expect(trail.query_filters).toMatchObject({ user_id: 'ann', event_type: 'thing.happened', start_time: start })
  expect(JSON.stringify(trail)).not.toContain('hunter2')
  const positions: string[] = []
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const query = { subject: 's-1', limit: '3', ...(cursor === undefined ? {} : { cursor }) }
    const page = await parseResponse(client.admin['audit-trail'].$get({ query }))
    positions.push(...page.events.map(({ position }) => position))
    cursor = page.cursor
    await append(gateway, 1)
  }
  expect(positions).toEqual(['2', '5', '8', '11', '14', '17', '20', '23'])
  for (const query of ['limit=1001', 'start_time=soon', 'cursor=forged', 'cursor=']) {
    const response = await ask(`/admin/audit-trail?${query}`)
    expect([query, response.status, response.headers.get('content-type')]).toEqual([
      query,
      400,
      'application/problem+json',
    ])
  }
})

test('gateway G10: the newest events come first where that is asked for, by every filter', async () => {
  const { gateway, client } = await adminOf()
  await append(gateway, 30)
  const newest = async (query: Record<string, string>) => {
    const page = await parseResponse(client.admin['audit-trail'].$get({ query: { order: 'newest', ...query } }))
    return { positions: page.events.map(({ position }) => Number(position)), cursor: page.cursor }
  }
  expect((await newest({ limit: '3' })).positions).toEqual([30, 29, 28])
  const first = await newest({ user_id: 'bob', limit: '4' })
  expect(first.positions).toEqual([30, 28, 26, 24])
  await append(gateway, 3)
  const second = await newest({ user_id: 'bob', limit: '4', cursor: first.cursor! })
  expect(second.positions).toEqual([22, 20, 18, 16])
  const all: number[] = []
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = await newest({ subject: 's-2', limit: '4', ...(cursor === undefined ? {} : { cursor }) })
    all.push(...page.positions)
    cursor = page.cursor
  }
  expect(all).toEqual([33, 30, 27, 24, 21, 18, 15, 12, 9, 6, 3])
  // Further back than the first window, in a filter that shows little between and much before.
  const many = Array.from({ length: 1_000 }, (_, i) => ({ type: i % 500 === 0 ? 'rare' : 'often', data: i }))
  for (let batch = 0; batch < 6; batch++) await gateway.events.appendBatch('audit', many)
  expect((await newest({ event_type: 'rare' })).positions).toHaveLength(12)
  expect((await newest({ event_type: 'thing.happened', limit: '2' })).positions).toEqual([33, 32])
  const often = await newest({ event_type: 'often,thing.happened', limit: '1000' })
  expect([often.positions.length, often.positions[0]]).toEqual([1_000, 6_033])
})

test('gateway G10: the stream follows the log from where Last-Event-ID left off, by filter, and is bounded', async () => {
  const { gateway, ask } = await adminOf()
  await append(gateway, 5)
  const whole = await ask('/admin/events/stream?from=start')
  expect([whole.status, whole.headers.get('content-type')]).toEqual([200, 'text/event-stream'])
  expect((await take(whole, 5)).map(({ id }) => id)).toEqual(['1', '2', '3', '4', '5'])
  const later = await ask('/admin/events/stream?user_id=bob', { headers: { 'last-event-id': '2' } })
  const coming = take(later, 3)
  await append(gateway, 4)
  expect((await coming).map(({ id, event }) => [id, event])).toEqual([
    ['4', 'thing.happened'],
    ['7', 'thing.happened'],
    ['9', 'thing.happened'],
  ])
  expect((await ask('/admin/events/stream', { headers: { 'last-event-id': 'nonsense' } })).status).toBe(400)
  const open: Response[] = []
  for (;;) {
    const response = await ask('/admin/events/stream')
    if (response.status !== 200) {
      expect([response.status, response.headers.get('retry-after')]).toEqual([503, '5'])
      break
    }
    open.push(response)
  }
  expect(open).toHaveLength(100)
  await Promise.all(open.map((response) => response.body!.cancel()))
  await expect
    .poll(async () => {
      const response = await ask('/admin/events/stream')
      await response.body!.cancel()
      return response.status
    })
    .toBe(200)
})

test('gateway G10: proofs hold without the gateway: inclusion, consistency, and a checkpoint signed with a key of mode 0600', async () => {
  const { gateway, client, dataDir, ask } = await adminOf()
  await append(gateway, 10)
  const older = await parseResponse(client.admin.events.proof.$get({ query: {} }))
  expect(older).toMatchObject({ inclusion: null, consistency: null })
  await append(gateway, 7)
  const proof = await parseResponse(client.admin.events.proof.$get({ query: { position: '4', from: '10' } }))
  const checkpoint = await verifyProof(proof.inclusion!, [older.verifier])
  expect([checkpoint.size, checkpoint.origin]).toEqual([17n, older.origin])
  const before = await openNote(older.checkpoint, [older.verifier])
  expect(before.size).toBe(10n)
  checkConsistency(proof.consistency!, before, checkpoint)
  expect(() => checkConsistency(proof.consistency!, { ...before, size: 9n }, checkpoint)).toThrow()
  await expect(verifyProof({ ...proof.inclusion!, index: '4' }, [older.verifier])).rejects.toThrow()
  expect(statSync(join(dataDir, 'signing-key.pem')).mode & 0o777).toBe(0o600)
  expect((await ask('/admin/events/proof?position=99')).status).toBe(400)
  expect((await ask('/admin/events/proof?position=x')).status).toBe(400)
  expect((await ask('/admin/events/proof?from=99')).status).toBe(400)
})

test('gateway G10: verification compares with the checkpoints that were signed, so that a cut end is found', async () => {
  const directory = join(mkdtempSync(join(tmpdir(), 'gw-admin-')), 'data')
  const database = await openDatabase({ directory })
  onTestFinished(() => database.close())
  const { gateway, client } = await adminOf({ database, dataDir: directory })
  await append(gateway, 12)
  await parseResponse(client.admin.events.proof.$get({ query: {} }))
  expect(await parseResponse(client.admin.events.verify.$get())).toMatchObject({
    ok: true,
    events: 12,
    truncationChecked: true,
  })
  const { DatabaseSync } = await import('node:sqlite')
  const other = new DatabaseSync(database.file)
  other.exec('DELETE FROM gw_event WHERE position > 9')
  other.close()
  const found = await parseResponse(client.admin.events.verify.$post())
  expect(found.ok).toBe(false)
  expect(found.problems.map(({ kind }) => kind)).toContain('truncation')
})

test('gateway G10: with an archive every checkpoint is put outside too: a log that was rolled back as a whole is found', async () => {
  const directory = join(mkdtempSync(join(tmpdir(), 'gw-admin-')), 'data')
  const archive = join(mkdtempSync(join(tmpdir(), 'gw-archive-')), 'archive')
  const open = async () => {
    const database = await openDatabase({ directory })
    const admin = await adminOf({ database, dataDir: directory, audit: { archive } })
    return { ...admin, database }
  }
  const first = await open()
  await append(first.gateway, 4)
  await first.gateway.keeping.sign(first.gateway.events)
  const copy = join(mkdtempSync(join(tmpdir(), 'gw-copy-')), 'gateway.db')
  await first.database.backup(copy)
  await append(first.gateway, 3)
  await first.gateway.keeping.sign(first.gateway.events)
  await first.running.stop({ drainDelayMs: 0 })
  await first.database.close()
  for (const name of ['gateway.db', 'gateway.db-wal', 'gateway.db-shm']) rmSync(join(directory, name), { force: true })
  copyFileSync(copy, join(directory, 'gateway.db'))
  const second = await open()
  const { ok, problems } = await parseResponse(second.client.admin.events.verify.$get())
  expect([ok, problems.map(({ kind }) => kind)]).toEqual([false, ['truncation']])
  // Another log of the same length is a fork, which is not signed over until somebody says why.
  await append(second.gateway, 3, 'thing.else')
  expect((await second.ask('/admin/events/proof')).status).toBe(409)
  const said = await second.post('/admin/events/reanchor', { reason: 'restored from a backup' })
  expect([said.status, await said.json()]).toEqual([200, { checkpoint: expect.stringContaining('gateway-events/') }])
  expect((await second.gateway.events.query({ type: 'log.reanchored' })).events).toMatchObject([
    { actor: expect.stringMatching(/^admin@/), data: { reason: 'restored from a backup' } },
  ])
  await second.running.stop({ drainDelayMs: 0 })
  await second.database.close()
})

test('gateway G10: gateways with keys of their own verify one log; the notes of another key say nothing', async () => {
  const databaseUrl = await freshDatabase()
  const [a, b] = [await adminOf({ databaseUrl, nodeId: 'a' }), await adminOf({ databaseUrl, nodeId: 'b' })]
  await append(a.gateway, 3)
  await parseResponse(a.client.admin.events.proof.$get({ query: {} }))
  expect(await parseResponse(b.client.admin.events.verify.$get())).toMatchObject({ ok: true, truncationChecked: false })
  expect(await parseResponse(a.client.admin.events.verify.$get())).toMatchObject({ ok: true, truncationChecked: true })
})

test('gateway G10: a stream that is open does not hold the drain, and no further one is begun', async () => {
  const { gateway, running, ask } = await adminOf({ gracefulShutdownMs: 60_000 })
  const response = await ask('/admin/events/stream')
  const reader = response.body!.getReader()
  await reader.read()
  const stopped = running.stop({ drainDelayMs: 300 })
  for (;;) if ((await reader.read()).done) break
  expect(gateway.admission.phase).toBe('draining')
  expect((await ask('/admin/events/stream')).status).toBe(503)
  await stopped
})

test('gateway G10: the export is read by the cloudevents package, comes as lines, and as a bundle that verifies offline', async () => {
  const { gateway, client, ask } = await adminOf()
  await append(gateway, 3)
  const batch = (await (await ask('/admin/events/export')).json()) as object[]
  const read = batch.map((event) => new CloudEvent(event))
  expect(read.map(({ type, source, sequence }) => [type, source, sequence])).toEqual(
    ['1', '2', '3'].map((position) => ['thing.happened', `/gateway-events/${gateway.events.id}`, position]),
  )
  const lines = (await (await ask('/admin/events/export?format=ndjson&user_id=bob')).text()).trim().split('\n')
  expect(lines.map((line) => JSON.parse(line).position)).toEqual(['2'])
  const bundle = await ask('/admin/events/export?format=bundle')
  expect(bundle.headers.get('content-type')).toBe('application/x-ndjson')
  const { verifier } = await parseResponse(client.admin.events.proof.$get({ query: {} }))
  const text = await bundle.text()
  expect(await verifyBundle([text], { verifiers: [verifier] })).toMatchObject({ ok: true, events: 3 })
  expect(await verifyBundle([text.replace('"i\\":1', '"i\\":7')], { verifiers: [verifier] })).toMatchObject({
    ok: false,
  })
  expect((await ask('/admin/events/export?format=bundle&user_id=bob')).status).toBe(400)
  expect((await ask('/admin/events/export?format=xml')).status).toBe(400)
})

test('gateway G10: the archive takes what is due, a hold keeps it back, reads go across the tiers, and verification still passes', async () => {
  const archive = join(mkdtempSync(join(tmpdir(), 'gw-archive-')), 'archive')
  const { gateway, client, ask } = await adminOf({ audit: { archive, maxEvents: 5, maxSegmentBytes: 1_000 } })
  await append(gateway, 40)
  const hold = { name: 'case-7', reason: 'a court asked', filter: { subject: 's-0' } }
  expect((await client.admin.events.holds.$post({ json: hold })).status).toBe(201)
  expect(await parseResponse(client.admin.events.holds.$get())).toEqual({ holds: [hold] })
  const held = await parseResponse(client.admin.events.archive.$post({ json: {} }))
  expect(held).toMatchObject({ dropped: 0, blocked: { by: 'hold case-7' } })
  expect(await parseResponse(client.admin.events.holds[':name'].$delete({ param: { name: 'case-7' } }))).toEqual({
    lifted: 'case-7',
  })
  expect((await client.admin.events.holds[':name'].$delete({ param: { name: 'case-7' } })).status).toBe(404)
  const moved = await parseResponse(client.admin.events.archive.$post({ json: {} }))
  expect(moved.dropped).toBeGreaterThan(2)
  expect(moved.blocked).toBeNull()
  expect(readdirSync(archive, { recursive: true }).length).toBeGreaterThan(2)
  const page = await parseResponse(client.admin['audit-trail'].$get({ query: { event_type: 'thing.happened' } }))
  expect(page.total_count).toBe(40)
  const { base } = await parseResponse(client.admin.events.$get())
  expect(Number(base)).toBeGreaterThan(5)
  const { ok, events } = await parseResponse(client.admin.events.verify.$get())
  expect([ok, events]).toEqual([true, Number((await gateway.events.store.head()).position)])
  const storage = await parseResponse(client.admin.storage.$get())
  expect(storage.events.archivedSegments).toBe(moved.dropped)
  const off = await adminOf()
  expect((await off.post('/admin/events/archive', {})).status).toBe(409)
  expect(
    (
      await ask('/admin/events/holds', {
        method: 'POST',
        body: '{"name":"../x","reason":"y"}',
        headers: { 'content-type': 'application/json' },
      })
    ).status,
  ).toBe(400)
})

test('gateway G10: projections show the states of requests and the figures of operations, and come out the same when rebuilt', async () => {
  const { gateway, client } = await adminOf({ audit: { projections: true } }, (app) => {
    app.post('/pay', app.durable({ operation: 'pay' }), (c) => c.text('paid'))
  })
  for (let i = 0; i < 5; i++) await gateway.request('/pay', { method: 'POST', headers: { 'x-request-id': `r-${i}` } })
  const shown = async () => (await parseResponse(client.admin.projections.$get())).projections
  await expect
    .poll(async () => (await shown())['performance-figures']?.state)
    .toMatchObject({ pay: { requests: 5, successes: 5 } })
  expect((await shown())['request-states']?.state).toMatchObject({
    'r-0': { operation: 'pay', state: 'completed', status: 200 },
  })
  const { rebuilt } = await parseResponse(client.admin.events.rebuild.$post({ json: {} }))
  expect(rebuilt).toMatchObject([
    { projection: 'request-states', generation: 2, equal: true },
    { projection: 'performance-figures', generation: 2, equal: true },
  ])
  const refused = await client.admin.events.rebuild.$post({ json: { projection: 'nothing' } })
  expect(refused.status).toBe(404)
})

test('gateway G10: a signing key that is given signs, and one that is none is refused without being shown', async () => {
  const { generateKeyPairSync } = await import('node:crypto')
  const { privateKey } = generateKeyPairSync('ed25519')
  const signingKey = String(privateKey.export({ format: 'pem', type: 'pkcs8' }))
  const { client, dataDir, ask } = await adminOf({ audit: { signingKey } })
  expect((await parseResponse(client.admin.events.proof.$get({ query: {} }))).verifier).toMatch(/^durable-gateway\+/)
  expect(readdirSync(dataDir)).not.toContain('signing-key.pem')
  const system = await (await ask('/admin/system')).text()
  expect(system).not.toContain(signingKey.split('\n')[1])
  const wrong = await adminOf({ audit: { signingKey: 'not-a-key-at-all' } }).catch((error: Error) => error)
  expect(wrong).toMatchObject({ code: 'invalid_option', message: expect.stringContaining('`audit.signingKey`') })
  expect(String(wrong)).not.toContain('not-a-key')
})
