import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { CircuitBreaker } from '@gw/breaker'
import { ConnectionPool } from '@gw/pool'
import { expect, test } from 'vitest'
import { type Admin, adminOf, operateToken, readToken } from './admin-listener.ts'
import { bareEnv, cli, type Ended, freshFolder, gw, shapeOf } from './cli-process.ts'

type Ask = (...args: readonly string[]) => Promise<Ended>

function asking({ url }: Admin, env: Readonly<Record<string, string>> = {}): Ask {
  return (...args) => gw([...args, '--url', url], { env: { GW_ADMIN_TOKEN: operateToken, COLUMNS: '120', ...env } })
}

/** A gateway with a route that fails until it is told not to, one that waits for a signal, and one that is done at once. */
async function withRoutes(): Promise<{ readonly admin: Admin; readonly ask: Ask; heal(): void }> {
  let healthy = false
  const admin = await adminOf({ drainDelayMs: 0 }, (gateway) => {
    gateway.post('/order', gateway.durable({ operation: 'order' }), async (c) => {
      const item = await c.var.run.step('pack', async () => 'packed')
      await c.var.run.update({ stage: 'packed', progress: 0.5 })
      return c.json({ item, body: await c.req.json() }, 201)
    })
    gateway.post('/flaky', gateway.durable({ operation: 'flaky', retry: { maxAttempts: 1 } }), async (c) => {
      await c.var.run.step('before', async () => 1)
      if (!healthy) throw new Error('not yet')
      return c.json({ healthy }, 200)
    })
    gateway.post('/approval', gateway.durable({ operation: 'approval' }), async (c) => {
      const said = await c.var.run.waitFor('approved', {})
      return c.json({ said }, 200)
    })
  })
  const heal = () => {
    healthy = true
  }
  return { admin, ask: asking(admin), heal }
}

const post = ({ running }: Admin, path: string, headers: Readonly<Record<string, string>> = {}) =>
  fetch(`${running.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: '{"n":1}',
  })

test('G12: requests as a table for people and as JSON for programs', async () => {
  const { admin, ask } = await withRoutes()
  const run = (await post(admin, '/order', { 'idempotency-key': 'k1' })).headers.get('gw-run')!
  await post(admin, '/flaky')
  const listed = await ask('requests', 'ls')
  expect([listed.code, listed.err]).toEqual([0, ''])
  expect(shapeOf(listed.out)).toEqual([
    'request  operation  status  stage  done  accepted',
    '<id>  flaky  failed  <time>',
    '<id>  order  completed  packed  100 %  <time>',
  ])
  const lines = listed.out.trimEnd().split('\n')
  expect(lines.map((line) => line.length)).toEqual(Array(3).fill(lines[0]!.length))
  expect(listed.out).not.toContain('\u001b')

  const json = JSON.parse((await ask('requests', 'ls', '--json', '--status', 'completed')).out)
  expect([json.requests.map(({ id }: { id: string }) => id), json.counts.failed]).toEqual([[run], 1])
  const page = await ask('requests', 'ls', '--limit', '1')
  expect(page.err).toMatch(/^There are more: --cursor \S+\n$/)
  const next = await ask('requests', 'ls', '--limit', '1', '--cursor', page.err.trim().split(' ').at(-1)!)
  expect(next.out).toContain(run)
  expect((await ask('requests', 'ls', '--operation', 'nothing')).out).toBe('No such requests.\n')

  const shown = await ask('requests', 'show', run)
  expect(shapeOf(shown.out)).toEqual(
    expect.arrayContaining([
      'request  <id>',
      'operation  order (version 1)',
      'route  POST /order',
      'status  completed',
      'why  It is completed',
      expect.stringMatching(/^answer {2}201, <size>$/),
      'step  state  attempt  took  size  at',
      expect.stringMatching(/^pack#1 {2}kept {2}1 {2}<time> {2}<size> {2}<time>$/),
      'event  type  actor  at',
    ]),
  )
  expect(JSON.parse((await ask('requests', 'show', run, '--json', '--payloads')).out)).toMatchObject({
    request: { id: run },
    payloads: { input: { url: expect.stringContaining('/order') } },
  })
})

test('G12: tables fit a terminal of 80 columns, and what clients wrote cannot speak to it', async () => {
  const { admin } = await withRoutes()
  await post(admin, '/order', { 'x-request-id': 'plain' })
  await admin.gateway.events.append('odd', {}, { actor: 'a\nb', subject: '\u001b[31mred\u0007\u202e' })
  const narrow = asking(admin, { COLUMNS: '80' })
  for (const line of (await narrow('requests', 'ls')).out.split('\n')) expect(line.length).toBeLessThanOrEqual(80)
  const events = await narrow('events', 'query')
  expect(events.out).toContain('odd')
  for (const obeyed of ['\u001b', '\u0007', '\u202e']) expect(events.out).not.toContain(obeyed)
  expect(events.out.trimEnd().split('\n').length).toBe(1 + (await admin.gateway.events.count()).count)
})

test('G12: retry, resume, cancel and signal by id; what is refused is a sentence and 1', async () => {
  const { admin, ask, heal } = await withRoutes()
  const failed = (await post(admin, '/flaky')).headers.get('gw-run')!
  heal()
  expect(await ask('requests', 'retry', failed)).toEqual({ code: 0, out: `${failed}  queued\n`, err: '' })
  await expect.poll(async () => (await admin.gateway.checkpoints.get(failed))?.status).toBe('completed')

  const waiting = (await post(admin, '/approval', { prefer: 'respond-async' })).headers.get('gw-run')!
  await expect.poll(async () => (await admin.gateway.checkpoints.get(waiting))?.status).toBe('waiting')
  expect((await ask('requests', 'signal', waiting, 'approved', '{"by":"ann"}')).out).toBe(`${waiting}  signalled\n`)
  await expect.poll(async () => (await admin.gateway.checkpoints.get(waiting))?.status).toBe('completed')
  expect(await (await admin.gateway.checkpoints.response(waiting))!.json()).toEqual({ said: { by: 'ann' } })

  const done = await ask('requests', 'cancel', waiting, 'no-such-request')
  expect([done.code, done.out]).toEqual([1, ''])
  expect(done.err).toContain(waiting)
  expect(done.err).toContain('no-such-request  There is no such request')
  expect((await ask('requests', 'show', 'nope')).code).toBe(1)
})

test('G12: a bulk action counts first, asks, and does all that the filter shows', async () => {
  const { admin, ask, heal } = await withRoutes()
  const ids = await Promise.all(
    Array.from({ length: 5 }, async () => (await post(admin, '/flaky')).headers.get('gw-run')!),
  )
  const counted = await ask('requests', 'retry', '--status', 'failed', '--dry-run')
  expect([counted.code, counted.out]).toEqual([0, expect.stringContaining('5 requests to retry.')])
  const unasked = await ask('requests', 'retry', '--status', 'failed')
  expect([unasked.code, unasked.err]).toEqual([64, expect.stringContaining('Retry 5 requests? Say so with --yes')])
  expect(await admin.gateway.checkpoints.counts()).toMatchObject({ failed: 5 })
  heal()
  const all = await ask('requests', 'retry', '--status', 'failed', '--yes')
  expect([all.code, all.out]).toEqual([0, '5 done\n'])
  for (const id of ids)
    await expect.poll(async () => (await admin.gateway.checkpoints.get(id))?.status).toBe('completed')
  expect((await ask('requests', 'retry', '--status', 'failed', '--yes')).out).toBe('Nothing to retry.\n')
  expect(await ask('requests', 'retry')).toMatchObject({
    code: 64,
    err: expect.stringContaining('Expected ids, or a filter'),
  })
  expect(await ask('requests', 'cancel', ids[0]!, '--status', 'queued')).toMatchObject({ code: 64 })
})

test('G12: fork prints the new id; export and import carry a request to another gateway', async () => {
  const { admin, ask } = await withRoutes()
  const run = (await post(admin, '/order')).headers.get('gw-run')!
  const forked = await ask('requests', 'fork', run, '--body', '{"n":2}')
  expect(forked.code).toBe(0)
  const id = forked.out.trim()
  await expect.poll(async () => (await admin.gateway.checkpoints.get(id))?.status).toBe('completed')
  expect(await (await admin.gateway.checkpoints.response(id))!.json()).toEqual({ item: 'packed', body: { n: 2 } })

  const file = `${freshFolder()}/request.json`
  expect(await ask('requests', 'export', run, '-o', file)).toEqual({ code: 0, out: '', err: '' })
  const other = await withRoutes()
  expect((await other.ask('requests', 'import', file)).out).toBe(`${run}  imported\n`)
  expect((await other.ask('requests', 'import', file)).out).toBe(`${run}  present\n`)
  expect(await (await other.admin.gateway.checkpoints.response(run))!.json()).toEqual({
    item: 'packed',
    body: { n: 1 },
  })
  expect(await ask('requests', 'resolve', run, '--rerun', '--restart')).toMatchObject({ code: 64 })
  expect(await ask('requests', 'resolve', run, '--rerun')).toMatchObject({
    code: 1,
    err: expect.stringContaining('not parked'),
  })
})

test('G12: no gateway is 69, a wrong token 77, a token that may only read 77, and no token is shown', async () => {
  const { admin } = await withRoutes()
  const token = 'wrong-0123456789abcdef0123456789abcdef'
  const [none, wrong, reader, listener, tokenless] = await Promise.all([
    gw(['requests', 'ls', '--url', 'http://127.0.0.1:1'], { env: { GW_ADMIN_TOKEN: token } }),
    asking(admin, { GW_ADMIN_TOKEN: token })('requests', 'ls'),
    asking(admin, { GW_ADMIN_TOKEN: readToken })('drain'),
    gw(['requests', 'ls', '--url', admin.running.url], { env: { GW_ADMIN_TOKEN: token } }),
    gw(['requests', 'ls', '--url', admin.url]),
  ])
  expect(none).toEqual({
    code: 69,
    out: '',
    err: expect.stringMatching(/^No gateway answers at http:\/\/127.0.0.1:1: .*\n$/),
  })
  expect(wrong).toEqual({
    code: 77,
    out: '',
    err: expect.stringMatching(/does not know the token: set GW_ADMIN_TOKEN/),
  })
  expect([reader.code, reader.out]).toEqual([77, ''])
  expect(listener).toMatchObject({ code: 69, err: expect.stringContaining('not the admin listener') })
  expect(tokenless).toMatchObject({ code: 77, err: expect.stringContaining('--data-dir') })
  for (const { out, err } of [none, wrong, reader, listener]) expect(out + err).not.toMatch(/[0-9a-f]{16}/)
})

test('G12: a reader that has seen enough ends the command quietly', async () => {
  const { admin } = await withRoutes()
  await Promise.all(Array.from({ length: 30 }, () => post(admin, '/order')))
  const child = spawn(
    'sh',
    ['-c', `"${process.execPath}" "${cli}" events tail --from-start --url ${admin.url} 2>&1 | head -1`],
    { env: { ...bareEnv, GW_ADMIN_TOKEN: operateToken }, stdio: ['ignore', 'pipe', 'inherit'] },
  )
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString()
  })
  // `head` has ended or is about to: one of the next events has nobody to read it.
  await expect
    .poll(async () => {
      await post(admin, '/order')
      return child.exitCode
    })
    .toBe(0)
  expect(out.trimEnd().split('\n')).toHaveLength(1)
})

test('G12: Ctrl-C ends a command that follows, without a word', async () => {
  const { admin } = await withRoutes()
  const child = spawn(process.execPath, [cli, 'events', 'tail', '--from-start', '--json', '--url', admin.url], {
    env: { ...bareEnv, GW_ADMIN_TOKEN: operateToken },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk.toString()
  })
  await post(admin, '/order')
  await expect.poll(() => out).toContain('operation_completed')
  for (const line of out.trimEnd().split('\n')) expect(JSON.parse(line)).toHaveProperty('position')
  child.kill('SIGINT')
  await once(child, 'close')
  expect(err).toBe('')
})

test('G12: breakers, pools and keys', async () => {
  const { admin, ask } = await withRoutes()
  await post(admin, '/order', { 'idempotency-key': 'order-1' })
  expect((await ask('breakers', 'ls')).out).toBe('This gateway has no circuit breakers.\n')
  expect((await ask('pools', 'ls')).out).toBe('This gateway has no connection pools.\n')
  expect(await ask('breakers', 'show', 'nothing')).toMatchObject({
    code: 1,
    err: "Circuit breaker 'nothing' not found\n",
  })
  const key = await ask('keys', 'show', 'order-1', '--route', '/order')
  expect(shapeOf(key.out)).toEqual([
    'key  <hash>',
    'state  completed',
    'request  <id>',
    'window  <time> left',
    'answer  201, <size>',
  ])
  expect(await ask('keys', 'show', 'order-2', '--route', '/order')).toMatchObject({
    code: 1,
    out: expect.stringContaining('no such key'),
  })
  expect(await ask('keys', 'show', 'order-1')).toMatchObject({ code: 64 })
  expect(await ask('keys', 'erase', 'anonymous')).toMatchObject({ code: 64, err: expect.stringContaining('--yes') })
  expect((await ask('keys', 'erase', 'anonymous', '--yes')).out).toBe('1 removed\n')
})

test('G12: drain makes readiness 503, and with --wait ends when the gateway has', async () => {
  const admin = await adminOf({ drainDelayMs: 1_500 })
  expect((await fetch(`${admin.running.url}/health/ready`)).status).toBe(200)
  const draining = asking(admin)('drain', '--wait')
  await expect.poll(async () => (await fetch(`${admin.running.url}/health/ready`)).status).toBe(503)
  expect(await draining).toEqual({ code: 0, out: `${admin.url} has stopped.\n`, err: '' })
})

test('G12: bench prints rate and percentiles, and 1 where answers are errors', async () => {
  const { admin } = await withRoutes()
  const { url } = admin.running
  const load = ['--duration', '300ms', '--connections', '4']
  const [good, bad, json] = [
    await gw(['bench', `${url}/health/live`, ...load]),
    await gw(['bench', `${url}/nothing`, ...load]),
    await gw(['bench', `${url}/order`, '--keys', '--body', '{"n":1}', '--json', ...load]),
  ]
  expect([good.code, shapeOf(good.out).at(-2)]).toEqual([0, 'latency  mean  p50  p90  p99  p99.9  max'])
  expect(bad).toMatchObject({ code: 1, out: expect.stringContaining('404 ×') })
  const { requests, statuses, latencyMs } = JSON.parse(json.out)
  expect([statuses, latencyMs.p99 >= latencyMs.p50]).toEqual([{ 201: requests }, true])
  expect(await gw(['bench', 'http://127.0.0.1:1/'])).toMatchObject({ code: 69 })
})

test('G12: a breaker is forced open, closed and reset; a pool is resized and refreshed', async () => {
  const admin = await adminOf({}, (gateway) => {
    gateway.breakers.add('billing', new CircuitBreaker({ name: 'billing' }))
    const pool = new ConnectionPool({ name: 'database', min: 0, max: 4 })
    pool.register('primary', { create: async () => ({}) })
    gateway.pools.add(pool)
  })
  const ask = asking(admin)
  expect(shapeOf((await ask('breakers', 'ls')).out)).toEqual([
    'breaker  state  failures  rate  last failure  next try',
    'billing  CLOSED  0  0 %',
  ])
  expect((await ask('breakers', 'open', 'billing')).out).toBe('billing  OPEN\n')
  expect((await ask('breakers', 'show', 'billing')).out).toMatch(/forced +open/)
  expect((await ask('breakers', 'reset', 'billing')).out).toBe('billing  CLOSED\n')
  expect((await ask('pools', 'resize', 'database', '--max', '9')).code).toBe(0)
  const { connection_pools: pools } = JSON.parse((await ask('pools', 'ls', '--json')).out)
  expect(pools.database.maxConnections).toBe(9)
  expect(shapeOf((await ask('pools', 'ls')).out)[0]).toBe('pool  lent  idle  min  max  waiting  timeouts  errors  wait')
  expect((await ask('pools', 'refresh', 'database')).out).toContain('refreshed successfully')
  const { events } = await admin.gateway.events.query({ subject: 'billing' })
  expect(events.map(({ type }) => type)).toEqual(
    expect.arrayContaining(['admin.circuit-breaker.open', 'admin.circuit-breaker.reset']),
  )
})

test('G12: events of a running gateway are verified, proved, exported, rebuilt, archived and erased', async () => {
  const archive = freshFolder()
  const admin = await adminOf({ audit: { archive, projections: true, maxSegmentBytes: 400, maxEvents: 1 } })
  const ask = asking(admin)
  for (let i = 0; i < 5; i++) await admin.gateway.events.append('noted', { i }, { actor: 'ann' })
  const folder = freshFolder()
  const [proof, bundle] = [`${folder}/proof.json`, `${folder}/events.ndjson`]
  expect(await ask('events', 'prove', '2', '-o', proof)).toEqual({ code: 0, out: '', err: '' })
  const { verifier } = JSON.parse(readFileSync(proof, 'utf8'))
  expect((await gw(['events', 'check', proof, '--verifier', verifier])).code).toBe(0)
  expect((await ask('events', 'verify')).out).toContain('Nothing is missing at its end')
  expect((await ask('events', 'export', '-o', bundle)).code).toBe(0)
  expect((await ask('events', 'export', '-o', bundle)).err).toContain('nothing is written over')
  expect((await gw(['events', 'verify', bundle, '--verifier', verifier])).code).toBe(0)
  expect((await ask('events', 'rebuild')).out).toMatch(/^projection {2}/)
  expect(await ask('events', 'erase', 'ann')).toMatchObject({ code: 64, err: expect.stringContaining('--yes') })
  expect((await ask('events', 'erase', 'ann', '--yes')).out).toMatch(/^receipt +[0-9a-f]{32}\n/)
  expect((await ask('events', 'archive', '--force')).out).toMatch(/^[1-9]\d* segments sealed, [1-9]\d* archived/)
  expect((await ask('events', 'query', '--actor', 'ann', '--json')).out).toContain('"noted"')
})

test('G12: erase takes away what was encrypted for a subject, and leaves what others gave', async () => {
  const admin = await adminOf({ privacy: { personal: { noted: ['/note'] } } })
  const ask = asking(admin)
  for (const subject of ['jane', 'john'])
    await admin.gateway.events.append('noted', { note: `of ${subject}` }, { subject })
  const notes = async () =>
    JSON.parse((await ask('events', 'query', '--type', 'noted', '--json')).out).events.map(
      ({ data }: { readonly data: { readonly note: string } }) => data.note,
    )
  expect(await notes()).toEqual(expect.arrayContaining(['of jane', 'of john']))
  const erased = await ask('events', 'erase', 'jane', '--yes')
  expect(erased).toMatchObject({ code: 0, out: expect.stringMatching(/^receipt +[0-9a-f]{32}\n/) })
  expect((await notes()).sort()).toEqual(['[erased]', 'of john'])
  expect((await ask('events', 'verify')).code).toBe(0)
})
