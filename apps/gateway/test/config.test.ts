import { once } from 'node:events'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
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
