import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { blocksOf } from './blocks.ts'
import { fileOf, removeExtracted } from './programs.ts'

const cli = fileURLToPath(new URL('../../apps/gateway/dist/cli.js', import.meta.url))

test('the configuration of README.md, served by gw start, charges once a key at a service that knows nothing of keys', async () => {
  const block = blocksOf('README.md').find(({ text }) => text.includes('defineGateway({'))!
  let charges = 0
  const service = createServer((request, response) => {
    request.resume()
    if (request.method === 'POST') charges++
    response.writeHead(request.method === 'POST' ? 201 : 200).end(`${request.url} ${charges}`)
  }).listen(0, '127.0.0.1')
  await once(service, 'listening')
  const { port } = service.address() as AddressInfo

  const file = join(dirname(fileOf(block, 'config')), 'gateway.config.ts')
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, block.text.replace('http://127.0.0.1:9000', `http://127.0.0.1:${port}`))
  const home = mkdtempSync(join(tmpdir(), 'gw-config-'))
  const ports = { PORT: '0', GW_ADMIN_PORT: '0', GW_DATA_DIR: join(home, 'data'), NO_COLOR: '1' }
  const gateway = spawn(process.execPath, [cli, 'start', '--config', file], {
    env: { ...process.env, ...ports },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    let printed = ''
    for await (const chunk of gateway.stdout) {
      printed += chunk
      if (/Gateway +http\S+\n/.test(printed)) break
    }
    const url = /Gateway +(http\S+)/.exec(printed)?.[1]
    const charge = (headers: Record<string, string>) =>
      fetch(`${url}/api/charge`, { method: 'POST', headers, body: '{"amount":1}' })
    const key = { 'idempotency-key': 'order-1' }
    const [first, again] = [await charge(key), await charge(key)]
    expect([first.status, await first.text()]).toEqual([201, '/api/charge 1'])
    expect([again.status, await again.text(), again.headers.get('idempotent-replayed')]).toEqual([
      201,
      '/api/charge 1',
      'true',
    ])
    expect((await charge({})).status).toBe(400)
    expect(await (await fetch(`${url}/api/orders`)).text()).toBe('/api/orders 1')
  } finally {
    gateway.kill('SIGKILL')
    await once(gateway, 'exit')
    service.close()
    service.closeAllConnections()
    removeExtracted('config')
    rmSync(home, { recursive: true, force: true })
  }
})
