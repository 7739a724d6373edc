import { execFile } from 'node:child_process'
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { findProgram, freshDatabase } from '@gw/services'
import { parseResponse } from 'hono/client'
import { expect, test } from 'vitest'
import type { Gateway, GatewayOptions } from '../src/index.ts'
import { adminOf } from './admin-listener.ts'

const marker = 'PLAINTEXT-OF-JANE-9b1f73ce5a2d4480'

/** The marker as it could lie in bytes: plain, in hex, in base64 at each of its three offsets, and inside gzip. */
function isIn(bytes: Buffer): boolean {
  const forms = [marker, Buffer.from(marker).toString('hex'), Buffer.from(marker).toString('hex').toUpperCase()]
  for (const pad of ['', 'x', 'xx'])
    forms.push(
      Buffer.from(pad + marker)
        .toString('base64')
        .slice(4, -4),
    )
  if (forms.some((form) => bytes.includes(form))) return true
  for (let at = bytes.indexOf('1f8b08', 0, 'hex'); at !== -1; at = bytes.indexOf('1f8b08', at + 1, 'hex')) {
    try {
      if (isIn(gunzipSync(bytes.subarray(at), { finishFlush: 2 }))) return true
    } catch {
      // Not the beginning of a gzip.
    }
  }
  return false
}

function filesWith(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => isIn(readFileSync(file)))
}

/** Registers what keeps the marker everywhere: request, steps, data, answer, key and an event of the application's own. */
function routes(gateway: Gateway): void {
  const subject = (c: { req: { header(name: string): string | undefined } }) => c.req.header('x-user-id')
  gateway.post('/profile', gateway.durable({ operation: 'profile', subject }), async (c) => {
    const { run } = c.var
    const { note } = (await c.req.json()) as { readonly note: string }
    await run.step('keep', () => ({ note }))
    await run.update({ stage: 'kept', note })
    await gateway.events.append('profile.kept', { note, size: note.length }, { subject: run.subject ?? 'nobody' })
    c.header('x-note', note)
    return c.json({ note })
  })
  gateway.post('/plain', gateway.durable({ operation: 'plain' }), async (c) => c.json({ note: await c.req.text() }))
}

const options: GatewayOptions = {
  principal: (c) => c.req.header('x-user-id'),
  privacy: { personal: { 'profile.kept': ['/note'] } },
}

async function send(gateway: Gateway, path: string, user: string, key: string, note = marker) {
  const response = await gateway.request(path, {
    method: 'POST',
    body: JSON.stringify({ note }),
    headers: { 'content-type': 'application/json', 'x-user-id': user, 'idempotency-key': key },
  })
  return { response, id: response.headers.get('gw-run')! }
}

test('gateway G10: what a subject gave is in no file and no backup while its key is elsewhere, and after its erasure nobody can read it', async () => {
  const keysFile = join(mkdtempSync(join(tmpdir(), 'gw-keys-')), 'keys.db')
  const archive = join(mkdtempSync(join(tmpdir(), 'gw-archive-')), 'archive')
  const { gateway, client, dataDir } = await adminOf(
    {
      ...options,
      privacy: { ...options.privacy, keysFile },
      audit: { archive, maxEvents: 1, maxSegmentBytes: 500 },
    },
    routes,
  )
  const { response, id } = await send(gateway, '/profile', 'jane', 'k-1')
  expect([response.status, await response.text(), response.headers.get('x-note')]).toEqual([
    200,
    JSON.stringify({ note: marker }),
    marker,
  ])
  const other = await send(gateway, '/profile', 'john', 'k-1', 'of john')
  const event = async () => (await gateway.events.query({ type: 'profile.kept' })).events.map(({ data }) => data)
  expect(await event()).toEqual([
    { note: marker, size: marker.length },
    { note: 'of john', size: 7 },
  ])
  const backup = await parseResponse(client.admin.storage.backup.$post())
  expect(backup).toMatchObject({ kind: 'file', bytes: expect.any(Number) })
  await parseResponse(client.admin.events.archive.$post({ json: {} }))
  expect(filesWith(dataDir)).toEqual([])
  expect(filesWith(archive)).toEqual([])
  expect(readdirSync(join(dataDir, 'backups')).length).toBe(1)
  expect(statSync(keysFile).mode & 0o777).toBe(0o600)

  const erased = await parseResponse(client.admin.erase.$post({ json: { subject: 'jane' } }))
  expect(erased).toMatchObject({ receipt: expect.stringMatching(/^[0-9a-f]{32}$/), keys: 1 })
  expect(await parseResponse(client.admin.events.verify.$get())).toMatchObject({ ok: true, problems: [] })
  expect(await event()).toEqual([
    { note: '[erased]', size: marker.length },
    { note: 'of john', size: 7 },
  ])
  expect((await gateway.checkpoints.response(id))?.status).toBe(410)
  expect(await (await gateway.checkpoints.response(other.id))?.json()).toEqual({ note: 'of john' })
  expect((await parseResponse(client.admin.requests[':id'].$get({ param: { id } }))).request.reason).toBe(
    'payload_erased',
  )
  for (const directory of [dataDir, archive]) expect(filesWith(directory)).toEqual([])
  const trail = JSON.stringify((await gateway.events.query({ type: ['subject.erased', 'admin.subject.erase'] })).events)
  expect(trail).toContain(erased.receipt)
  expect(trail).not.toContain('jane')
  // Again is no error, and the same receipt; a new request of hers is refused rather than kept in the clear.
  expect((await parseResponse(client.admin.erase.$post({ json: { subject: 'jane' } }))).receipt).toBe(erased.receipt)
  expect((await send(gateway, '/profile', 'jane', 'k-2')).response.status).toBeGreaterThanOrEqual(400)
  expect(filesWith(dataDir)).toEqual([])
})

test('gateway G10: a subject’s answer is kept once, under its key: replays are the same to the byte, also of another principal’s request, and end with the erasure', async () => {
  const directory = join(mkdtempSync(join(tmpdir(), 'gw-admin-')), 'data')
  const keysFile = join(mkdtempSync(join(tmpdir(), 'gw-keys-')), 'keys.db')
  const open = () =>
    adminOf({ ...options, dataDir: directory, privacy: { keysFile } }, (app) => {
      const subject = () => 'patient-7'
      app.post('/record', app.durable({ operation: 'record', subject }), (c) => {
        c.header('x-note', marker)
        return c.json({ note: marker }, 201)
      })
      app.post('/touch', app.durable({ operation: 'touch', subject }), (c) => {
        c.header('x-note', marker)
        return c.body(null, 204)
      })
    })
  const first = await open()
  const seen = async ({ response }: { response: Response }) => ({
    status: response.status,
    note: response.headers.get('x-note'),
    type: response.headers.get('content-type'),
    run: response.headers.get('gw-run'),
    body: await response.text(),
  })
  for (const path of ['/record', '/touch']) {
    const original = await seen(await send(first.gateway, path, 'doctor', `k${path}`))
    expect(original.note).toBe(marker)
    const again = await send(first.gateway, path, 'doctor', `k${path}`)
    expect(again.response.headers.get('idempotent-replayed')).toBe('true')
    expect(await seen(again)).toEqual(original)
  }
  expect(filesWith(directory)).toEqual([])
  const { file } = await parseResponse(first.client.admin.storage.backup.$post())
  const kept = new DatabaseSync(file!, { readOnly: true })
  // Its secret lies in the backup too: what it seals there is no more than a mark.
  const sizes = kept.prepare('SELECT length(body) AS bytes FROM gw_key').all()
  kept.close()
  expect(sizes).toHaveLength(2)
  for (const { bytes } of sizes) expect(Number(bytes ?? 0)).toBeLessThan(100)
  await parseResponse(first.client.admin.erase.$post({ json: { subject: 'patient-7' } }))
  const replayed = await send(first.gateway, '/record', 'doctor', 'k/record')
  expect(replayed.response.status).toBe(410)
  expect(await replayed.response.text()).not.toContain(marker)
  // Nor does the backup bring it back, once the key is gone.
  await first.running.stop({ drainDelayMs: 0 })
  for (const name of ['gateway.db', 'gateway.db-wal', 'gateway.db-shm']) rmSync(join(directory, name), { force: true })
  copyFileSync(file!, join(directory, 'gateway.db'))
  const second = await open()
  expect((await send(second.gateway, '/record', 'doctor', 'k/record')).response.status).toBe(410)
})

test('gateway G10: the check finds what is not encrypted, so that its silence means something', async () => {
  const { gateway, dataDir } = await adminOf(options, routes)
  await send(gateway, '/plain', 'jane', 'k-1')
  expect(filesWith(dataDir).length).toBeGreaterThan(0)
})

test('gateway G10: finished requests of a subject that nothing had encrypted are removed from the store, others stay', async () => {
  const { gateway, client } = await adminOf(options, routes)
  const hers = [await send(gateway, '/plain', 'jane', 'k-1'), await send(gateway, '/plain', 'jane', 'k-2')]
  const his = await send(gateway, '/plain', 'john', 'k-1')
  const erased = await parseResponse(client.admin.erase.$post({ json: { subject: 'jane' } }))
  expect(erased).toMatchObject({ keys: 2, requests: 2, unfinished: 0 })
  for (const { id } of hers) expect(await gateway.checkpoints.get(id)).toBeUndefined()
  expect((await gateway.checkpoints.get(his.id))?.status).toBe('completed')
  expect(await parseResponse(client.admin.events.verify.$get())).toMatchObject({ ok: true })
})

test('gateway G10: on PostgreSQL the dump has none of it, before and after; without a keyring erasure says what is missing', async () => {
  const databaseUrl = await freshDatabase()
  const keysFile = join(mkdtempSync(join(tmpdir(), 'gw-keys-')), 'keys.db')
  const { gateway, client } = await adminOf(
    { ...options, databaseUrl, privacy: { ...options.privacy, keysFile } },
    routes,
  )
  const dump = async () => {
    const { stdout } = await promisify(execFile)(findProgram('pg_dump')!, ['--inserts', databaseUrl], {
      maxBuffer: 100_000_000,
    })
    return stdout
  }
  const { id } = await send(gateway, '/profile', 'jane', 'k-1')
  const before = await dump()
  expect(before).toContain(id)
  expect(isIn(Buffer.from(before))).toBe(false)
  expect(await (await gateway.checkpoints.response(id))?.json()).toEqual({ note: marker })
  await parseResponse(client.admin.erase.$post({ json: { subject: 'jane' } }))
  expect((await gateway.checkpoints.response(id))?.status).toBe(410)
  expect(await parseResponse(client.admin.events.verify.$get())).toMatchObject({ ok: true })
  expect(isIn(Buffer.from(await dump()))).toBe(false)
  await send(gateway, '/plain', 'john', 'k-1')
  expect(isIn(Buffer.from(await dump()))).toBe(true)

  const bare = await adminOf({ databaseUrl, nodeId: 'bare' })
  const refused = await bare.post('/admin/erase', { subject: 'jane' })
  expect([refused.status, (await refused.json()).code]).toEqual([409, 'privacy_off'])
})

test('gateway G10: privacy options that cannot be right are refused when the gateway is made', async () => {
  for (const privacy of [{ personal: { request_received: ['/x'] } }, { personal: { mine: ['x'] } }, { keyfile: 'x' }])
    await expect(adminOf({ privacy: privacy as never })).rejects.toMatchObject({
      code: expect.stringMatching(/_option$/),
    })
})
