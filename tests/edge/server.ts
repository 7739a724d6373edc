/** A gateway under attack, in a process of its own: `/h/*` says what it heard, `/p/*` goes to the upstream of `argv[3]`. `bare` serves the same app without the guard. */
import { join } from 'node:path'
import { createGateway } from '@gw/gateway'
import { serve } from '@hono/node-server'
import type { Context } from 'hono'

const [kind, upstream, directory, settings = '{}'] = process.argv.slice(2) as [string, string, string, string?]
const { maxBodyBytes, ...options } = JSON.parse(settings) as { readonly maxBodyBytes?: number }
const gateway = await createGateway({
  dataDir: join(directory, 'data'),
  admin: { enabled: false },
  drainDelayMs: 0,
  gracefulShutdownMs: 1_000,
  ...(maxBodyBytes === undefined ? {} : { maxBodyBytes }),
  ...options,
})
gateway.get('/canary', (c) => c.text('alive'))
gateway.all('/h/*', async (c: Context) => {
  const bytes = (await c.req.arrayBuffer()).byteLength
  const { method, url = '' } = (c.env as { incoming: { method: string; url: string } }).incoming
  return c.json([method, url, bytes])
})
gateway.post('/json', async (c) => c.json(await c.req.json()))
gateway.post('/durable', gateway.durable({ operation: 'durable' }), async (c) => c.json(await c.req.json(), 201))
gateway.get('/long', (c) =>
  c.body(
    new ReadableStream({
      pull(controller) {
        controller.enqueue(new Uint8Array(65_536))
      },
    }),
  ),
)
gateway.upstream('service', { url: upstream })
gateway.proxy('/p/*', { upstream: 'service', maxBodyBytes: 1_073_741_824 })
gateway.proxy('/kept/*', { upstream: 'service', methods: ['POST'], durable: true })

let port = 0
if (kind === 'bare') {
  await gateway.start()
  const server = serve({ fetch: gateway.fetch, port: 0, hostname: '127.0.0.1' }, (info) => {
    port = info.port
  })
  await new Promise((resolve) => (server.listening ? resolve(undefined) : server.once('listening', resolve)))
} else {
  port = Number(new URL((await gateway.run({ port: 0 })).url).port)
}
process.on('message', () => {
  const collect = (globalThis as { gc?: () => void }).gc
  collect?.()
  collect?.()
  process.send?.({ rss: process.memoryUsage().rss })
})
process.on('disconnect', () => process.exit(0))
process.send?.({ port })
