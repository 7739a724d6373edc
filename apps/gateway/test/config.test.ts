import { once } from 'node:events'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { loadConfig } from '../src/config/load.ts'
import { masked } from '../src/config/mask.ts'
import { configJsonSchema } from '../src/config/schema.ts'
import { durationMs, sizeBytes } from '../src/config/units.ts'
import { createConfiguredServer } from '../src/configured-server.ts'
import { noticesOf } from '../src/dashboard/notices.ts'

const closers: (() => unknown)[] = []

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

function folder(files: Readonly<Record<string, string>> = {}): string {
  const cwd = mkdtempSync(join(tmpdir(), 'gw-config-'))
  mkdirSync(cwd, { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(join(cwd, name), text)
  return cwd
}

async function upstreamSaying(text: string): Promise<string> {
  const server = createServer((_, response) => response.end(text)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  closers.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('G13: durations and sizes are read, and what is not one is not', () => {
  expect(['500ms', '30s', '1.5min', '2h', '1d'].map(durationMs)).toEqual([500, 30_000, 90_000, 7_200_000, 86_400_000])
  expect(['10', 's', '-1s', '1 week', ''].map(durationMs)).toEqual(Array(5).fill(undefined))
  expect(['512B', '64KB', '64KiB', '1.5MB', '2GiB'].map(sizeBytes)).toEqual([
    512, 64_000, 65_536, 1_500_000, 2_147_483_648,
  ])
  expect(['12', 'MB', '1XB'].map(sizeBytes)).toEqual([undefined, undefined, undefined])
})

test('G13: file, environment and flags win over each other in that order, in every form of file', async () => {
  const forms = {
    'gateway.config.ts': "export default { port: 1, host: 'a', lease: '20s', admin: { host: 'b', port: 9 } }",
    'gateway.config.mjs': "export default { port: 1, host: 'a', lease: '20s', admin: { host: 'b', port: 9 } }",
    'gateway.config.json': '{ "port": 1, "host": "a", "lease": "20s", "admin": { "host": "b", "port": 9 } }',
    'gateway.config.yaml': 'port: 1\nhost: a\nlease: 20s\nadmin:\n  host: b\n  port: 9\n',
  }
  for (const [name, text] of Object.entries(forms)) {
    const { config, file } = await loadConfig({
      cwd: folder({ [name]: text }),
      env: { HOST: 'c', GW_ADMIN_PORT: '10', PORT: '2' },
      flags: { port: 3 },
    })
    expect(config, name).toEqual({ port: 3, host: 'c', lease: 20_000, admin: { host: 'b', port: 10 } })
    expect(file, name).toContain(name)
  }
})

test('G13: every error of the whole is told at once, with its path, what was expected and where it came from', async () => {
  const cwd = folder({
    'gateway.config.json': JSON.stringify({
      lease: '15 parsecs',
      titel: 'x',
      upstreams: { billing: { url: 'ftp://x' } },
      routes: [{ path: 'api', upstream: 'biling' }],
    }),
  })
  const error = await loadConfig({ cwd, env: { PORT: 'eighty', GW_API_TOKENS: 'nonsense' } }).catch(
    (each: Error) => each,
  )
  const { message } = error as Error
  for (const line of [
    'lease: expected a duration',
    'titel: no such option',
    'upstreams.billing.url: expected http:// or https://',
    "routes[0].path: expected a path like '/api/*'",
    'port (PORT):',
    'apiTokens (GW_API_TOKENS):',
  ])
    expect(message).toContain(line)
  await expect(loadConfig({ cwd, file: 'absent.json', env: {} })).rejects.toMatchObject({
    code: 'invalid_configuration',
  })
})

test('G13: a database number on a Redis Cluster is refused with the reason; a route must name an upstream', async () => {
  const cwd = folder()
  const load = (env: Record<string, string>) => loadConfig({ cwd, env })
  await expect(load({ REDIS_URL: 'redis://cluster/1?cluster' })).rejects.toThrow('a Redis Cluster has database 0 only')
  expect((await load({ REDIS_URL: 'redis://one/1' })).config.redisUrl).toBe('redis://one/1')
  const routed = folder({
    'gateway.config.json': '{"upstreams":{"a":{"url":"http://x"}},"routes":[{"path":"/","upstream":"b"}]}',
  })
  await expect(loadConfig({ cwd: routed, env: {} })).rejects.toThrow(
    'routes[0].upstream: expected one of `upstreams`: a',
  )
})

test('G13: a duration that a timer cannot wait, a token that no field can hold or that two have, and a name given twice are refused', async () => {
  const url = 'http://127.0.0.1:1'
  const lines = async (config: object) => {
    const cwd = folder({ 'gateway.config.json': JSON.stringify(config) })
    const error = await loadConfig({ cwd, env: {} }).catch((each: Error) => each)
    return error instanceof Error ? error.message.split('\n').slice(1).join('\n') : ''
  }
  const long = {
    lease: '30d',
    requestTimeout: '30d',
    gracefulShutdown: '30d',
    drainDelay: '30d',
    coldTier: { url: 'https://k:s@h/b', backupInterval: '30d' },
    audit: { interval: '30d', verifyInterval: '30d' },
    telemetry: { otlp: 'http://x', metricsInterval: '30d' },
    alerts: { webhook: 'http://x', interval: '30d' },
    upstreams: { s: { url, timeout: '30d', connectTimeout: '30d', breaker: { callTimeout: '30d' } } },
  }
  const refused = await lines(long)
  for (const at of ['lease', 'requestTimeout', 'gracefulShutdown', 'drainDelay', 'coldTier.backupInterval'])
    expect(refused).toContain(`  ${at}: expected at most 24d`)
  for (const at of ['audit.interval', 'audit.verifyInterval', 'telemetry.metricsInterval', 'alerts.interval'])
    expect(refused).toContain(`  ${at}: expected at most 24d`)
  for (const at of ['timeout', 'connectTimeout', 'breaker.callTimeout'])
    expect(refused).toContain(`  upstreams.s.${at}: expected at most 24d`)
  const none = { timeout: '0s', breaker: { open: '0s', rollingWindow: '0s' } }
  expect(
    (await lines({ upstreams: { s: { url, ...none } }, lease: '0s' })).match(/expected more than 0s/g),
  ).toHaveLength(4)
  expect(await lines({ drainDelay: '0s', gracefulShutdown: '0s', coldTier: { url: 'https://k:s@h/b' } })).toBe('')
  expect(await lines({ apiTokens: { alice: 'pass word' }, admin: { token: 'ü'.repeat(32) } })).toBe(
    '  admin.token: expected letters, digits and ._~+/-, as a bearer token has them\n  apiTokens.alice: expected letters, digits and ._~+/-, as a bearer token has them',
  )
  expect(await lines({ apiTokens: { alice: 'one', bob: 'one' } })).toBe(
    '  apiTokens.bob: expected a token of its own, got the one of alice',
  )
  expect(await lines({ breakers: { s: {} }, upstreams: { s: { url, breaker: {} } } })).toContain('breakers.s: expected')
})

test('G13: a file that is empty, or no object, is not a configuration without routes', async () => {
  for (const [name, text] of [
    ['gateway.config.json', '[]'],
    ['gateway.config.json', 'null'],
    ['gateway.config.yaml', '\n'],
    ['gateway.config.mjs', ''],
  ] as const)
    await expect(loadConfig({ cwd: folder({ [name]: text }), env: {} }), name).rejects.toMatchObject({
      code: 'invalid_configuration',
    })
})

test('G13: the error of a file that cannot be read shows nothing of what is in it', async () => {
  for (const [name, text] of [
    ['gateway.config.json', '{ "secret": "tttttttt" "port": 1 }'],
    ['gateway.config.yaml', 'port: 1\nsecret: tttttttt: "\n  lease: 1s\n'],
    ['gateway.config.mjs', 'export default { secret: "tttttttt" port: 1 }'],
  ] as const) {
    const error = await loadConfig({ cwd: folder({ [name]: text }), env: {} }).catch((each: Error) => each)
    expect((error as Error).message, name).toContain('cannot be read')
    expect((error as Error).message, name).not.toContain('tttttttt')
  }
})

test('G13: secrets are masked in what is shown; the JSON Schema names every option', () => {
  const shown = JSON.stringify(
    masked({
      admin: { token: 'tttttttt' },
      secret: 'ssssssss',
      apiTokens: { alice: 'aaaaaaaa' },
      databaseUrl: 'postgres://user:pppppppp@host/db',
      title: 'Payments',
    }),
  )
  for (const secret of ['tttttttt', 'ssssssss', 'aaaaaaaa', 'pppppppp']) expect(shown).not.toContain(secret)
  expect(shown).toContain('postgres://user:')
  expect(shown).toContain('Payments')
  expect(configJsonSchema()).toMatchObject({
    type: 'object',
    additionalProperties: false,
    properties: { upstreams: {}, routes: {} },
  })
})

test('G13: a changed file takes over routes, breakers and limits; a bad one is refused, readiness says why, and the last good one stays', async () => {
  const [one, two] = [await upstreamSaying('one'), await upstreamSaying('two')]
  const cwd = folder()
  const file = join(cwd, 'gateway.config.json')
  const write = (url: string, threshold: number) =>
    writeFileSync(
      file,
      JSON.stringify({
        dataDir: join(cwd, 'data'),
        admin: { enabled: false },
        logLevel: 'silent',
        drainDelay: '0s',
        apiTokens: { alice: 'alices-token' },
        upstreams: { service: { url, breaker: { failureThreshold: threshold } } },
        routes: [{ path: '/api/*', upstream: 'service' }],
      }),
    )
  write(one, 5)
  const sources = { cwd, env: {} }
  const { gateway, live } = await createConfiguredServer(await loadConfig(sources), sources)
  const running = await gateway.run({ port: 0 })
  closers.push(() => running.stop())
  const ask = async () => {
    const response = await fetch(`${running.url}/api/x`, { headers: { authorization: 'Bearer alices-token' } })
    return response.text()
  }
  const ready = async () => (await fetch(`${running.url}/health/ready`)).json()
  expect((await fetch(`${running.url}/api/x`)).status).toBe(401)
  expect(await ask()).toBe('one')
  const breaker = gateway.breakers.get('service')

  write(two, 5)
  await live.reload()
  expect([await ask(), gateway.breakers.get('service') === breaker]).toEqual(['two', true])
  write(two, 7)
  await live.reload()
  expect(gateway.breakers.get('service') === breaker).toBe(false)

  writeFileSync(file, '{"routes":[{"path":"/api/*","upstream":"nowhere"}]}')
  await live.reload()
  expect([await ask(), await ready()]).toEqual([
    'two',
    expect.objectContaining({ status: 'ready', configuration: expect.stringContaining('routes[0].upstream') }),
  ])
  write(one, 7)
  await expect.poll(ask).toBe('one')
  expect(await ready()).not.toHaveProperty('configuration')
  expect((await fetch(`${running.url}/nothing`, { headers: { authorization: 'Bearer alices-token' } })).status).toBe(
    404,
  )
})

test('G13: a durable route that stays in the file keeps its runs through a reload', async () => {
  const url = await upstreamSaying('kept')
  const cwd = folder()
  const file = join(cwd, 'gateway.config.json')
  const route = { path: '/pay', methods: ['POST'], upstream: 'service', durable: true, idempotency: 'required' }
  const write = (routes: unknown[]) =>
    writeFileSync(
      file,
      JSON.stringify({
        dataDir: join(cwd, 'data'),
        admin: { enabled: false },
        logLevel: 'silent',
        drainDelay: '0s',
        upstreams: { service: { url } },
        routes,
      }),
    )
  write([route])
  const sources = { cwd, env: {} }
  const { gateway, live } = await createConfiguredServer(await loadConfig(sources), sources)
  const running = await gateway.run({ port: 0 })
  closers.push(() => running.stop())
  const pay = () => fetch(`${running.url}/pay`, { method: 'POST', headers: { 'idempotency-key': 'k' }, body: '{}' })
  const first = await pay()
  write([route, { path: '/other', upstream: 'service' }])
  await live.reload()
  const again = await pay()
  expect([live.refusal, first.status, await again.text(), again.headers.get('idempotent-replayed')]).toEqual([
    undefined,
    200,
    'kept',
    'true',
  ])
  expect(await (await fetch(`${running.url}/other`)).text()).toBe('kept')
})

interface Changed {
  readonly routes?: readonly object[]
  readonly upstreams?: object
  readonly [option: string]: unknown
}

/** A server behind whose configuration an upstream says which request it has got. */
async function configured(first: Changed) {
  const url = await upstreamSaying('up')
  const cwd = folder()
  const file = join(cwd, 'gateway.config.json')
  const text = ({ upstreams = { service: { url } }, ...rest }: Changed) =>
    JSON.stringify({
      dataDir: join(cwd, 'data'),
      admin: { enabled: false },
      logLevel: 'silent',
      drainDelay: '0s',
      upstreams,
      ...rest,
    })
  const write = (config: Changed) => writeFileSync(file, text(config))
  write(first)
  const sources = { cwd, env: {} }
  const { gateway, live } = await createConfiguredServer(await loadConfig(sources), sources)
  const running = await gateway.run({ port: 0 })
  closers.push(() => running.stop())
  let requests = 0
  const ask = async (path: string, init: RequestInit = {}) => {
    const headers = { 'idempotency-key': `k${requests++}`, ...init.headers }
    const response = await fetch(`${running.url}${path}`, { ...init, headers })
    await response.arrayBuffer()
    return response.status
  }
  const reloaded = async (config: Changed) => {
    write(config)
    await live.reload()
    return live.refusal
  }
  return { gateway, live, url, cwd, file, text, write, ask, reloaded }
}

const pay = { path: '/pay', methods: ['POST'], upstream: 'service', durable: true }

test('G13: a durable route answers after each reload, whether it stayed, changed, moved to another upstream, or was away', async () => {
  const { ask, reloaded } = await configured({ routes: [pay] })
  const post = { method: 'POST', body: '{}' }
  expect(await ask('/pay', post)).toBe(200)
  for (const routes of [
    [pay, { path: '/other', upstream: 'service' }],
    [{ ...pay, maxBody: '2MB' }],
    [{ ...pay, maxBody: '2MB', idempotency: 'required' }],
    [{ path: '/other', upstream: 'service' }],
    [pay],
  ]) {
    expect(await reloaded({ routes })).toBeUndefined()
    expect(await ask('/pay', post)).toBe(routes.some(({ path }) => path === '/pay') ? 200 : 404)
  }
  const elsewhere = await upstreamSaying('elsewhere')
  expect(await reloaded({ routes: [pay], upstreams: { service: { url: elsewhere } } })).toBeUndefined()
  expect(await ask('/pay', post)).toBe(200)
  expect(await reloaded({ routes: [pay, { ...pay, path: '/again', operation: 'POST_/pay' }] })).toContain(
    'Expected `operation` to be unique, got `POST_/pay` twice',
  )
  expect(await ask('/pay', post)).toBe(200)
  expect(await reloaded({ routes: [pay, { path: '/again', upstream: 'service' }] })).toBeUndefined()
  expect(await ask('/pay', post)).toBe(200)
})

test('G13: a configuration that is refused changes nothing, and a file that is gone is one', async () => {
  const routes = [{ path: '/old', upstream: 'service' }]
  const { gateway, ask, reloaded, live, file } = await configured({ routes })
  const broken = { failureRatio: 0.5, minimumCalls: 2 ** 53 }
  expect(await reloaded({ routes: [{ path: '/new', upstream: 'service' }], breakers: { broken } })).toContain(
    'minimumCalls',
  )
  expect([await ask('/old'), await ask('/new'), gateway.breakers.find('broken')]).toEqual([200, 404, undefined])
  rmSync(file)
  await live.reload()
  expect([live.refusal, await ask('/old')]).toEqual([expect.stringContaining('cannot be read'), 200])
  expect(await reloaded({ routes })).toBeUndefined()
})

test('G13: a limit that is no longer named is the usual one again, and what needs a restart is told and not shown as in force', async () => {
  const { gateway, reloaded, live } = await configured({ title: 'Before', maxConcurrentRequests: 7 })
  expect(gateway.admission.maxConcurrentRequests).toBe(7)
  expect(await reloaded({ title: 'After', maxBody: '2MB' })).toBeUndefined()
  expect([gateway.admission.maxConcurrentRequests, gateway.configPending]).toEqual([10_000, ['maxBody', 'title']])
  expect(gateway.configuration()).toEqual(expect.objectContaining({ title: 'Before' }))
  expect(noticesOf(gateway, {})[0]?.text).toBe(
    'Changed in the configuration, and in force with the next start: maxBody, title',
  )
  expect(live.current.config.title).toBe('After')
  expect(await reloaded({ title: 'Before' })).toBeUndefined()
  expect(gateway.configPending).toEqual([])
})

test('G13: a file behind a link that turns elsewhere, as a volume of Kubernetes does, is read again', async () => {
  const { cwd, file, text, ask } = await configured({ routes: [{ path: '/old', upstream: 'service' }] })
  const version = (name: string, path: string) => {
    mkdirSync(join(cwd, name))
    writeFileSync(join(cwd, name, 'gateway.config.json'), text({ routes: [{ path, upstream: 'service' }] }))
    symlinkSync(name, join(cwd, 'next'))
    renameSync(join(cwd, 'next'), join(cwd, 'data-link'))
  }
  version('one', '/one')
  symlinkSync(join('data-link', 'gateway.config.json'), join(cwd, 'link'))
  renameSync(join(cwd, 'link'), file)
  await expect.poll(() => ask('/one')).toBe(200)
  version('two', '/two')
  await expect.poll(() => ask('/two')).toBe(200)
})

test('G1: with tokens, nothing but the routes of health is open, whatever begins like them', async () => {
  const routes = ['/healthcare', '/health/records', '/health/ready'].map((path) => ({ path, upstream: 'service' }))
  const { ask } = await configured({ routes, apiTokens: { alice: 'alices-token' } })
  const headers = { authorization: 'Bearer alices-token' }
  for (const path of ['/healthcare', '/health/records'])
    expect([await ask(path), await ask(path, { headers })], path).toEqual([401, 200])
  expect([await ask('/health'), await ask('/health/ready'), await ask('/health/live')]).toEqual([200, 200, 200])
  expect(await ask('/health/ready', { method: 'POST' })).toBe(401)
})
