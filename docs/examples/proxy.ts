// A service that knows nothing of the gateway: it takes orders, and would take the same one twice.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createGateway } from '@gw/gateway'

let orders = 0
const service = createServer((request, response) => {
  request.resume()
  if (request.method === 'POST') orders++
  response.writeHead(request.method === 'POST' ? 201 : 200, { 'content-type': 'application/json' })
  response.end(JSON.stringify({ orders }))
})
service.listen(0, '127.0.0.1')
await once(service, 'listening')

const dataDir = mkdtempSync(join(tmpdir(), 'gw-proxy-'))
const gateway = await createGateway({ dataDir, admin: { enabled: false }, drainDelayMs: 0 })
gateway
  .upstream('orders', {
    url: `http://127.0.0.1:${(service.address() as AddressInfo).port}`,
    allowPrivate: true,
    breaker: { failureThreshold: 5, openMs: 30_000 },
  })
  .proxy('/orders', { upstream: 'orders', methods: ['POST'], durable: true, idempotency: 'required' })
  .proxy('/*', { upstream: 'orders' })
const { url, stop } = await gateway.run({ port: 0 })

const order = () => fetch(`${url}/orders`, { method: 'POST', headers: { 'idempotency-key': 'o-1' }, body: '{}' })
const [first, second] = [await order(), await order()]
console.log(first.status, await first.text())
console.log(second.status, await second.text(), `replayed: ${second.headers.get('idempotent-replayed')}`)
console.log((await fetch(`${url}/orders`, { method: 'POST', body: '{}' })).status, 'without a key')
console.log((await fetch(`${url}/count`)).status, 'straight through')

service.close()
service.closeAllConnections()
for (let i = 0; i < 5; i++) await fetch(`${url}/count`)
const refused = await fetch(`${url}/count`)
console.log(refused.status, 'with the service away', `Retry-After: ${refused.headers.has('retry-after')}`)

await stop()
rmSync(dataDir, { recursive: true })
