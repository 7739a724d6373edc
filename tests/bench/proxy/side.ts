/** One side of the bench: a proxy that says its port, and on SIGUSR2 and SIGTERM how many microseconds of CPU it took so far. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import httpProxy from '@fastify/http-proxy'
import { createGateway } from '@gw/gateway'
import { serve } from '@hono/node-server'
import fastify from 'fastify'
import { Hono } from 'hono'
import { proxy } from 'hono/proxy'

const [side = '', upstream = ''] = process.argv.slice(2)
const directory = mkdtempSync(join(tmpdir(), 'gw-bench-'))

const sides: Readonly<Record<string, () => Promise<number>>> = {
  async gateway() {
    const gateway = await createGateway({ dataDir: join(directory, 'data'), admin: { enabled: false } })
    gateway
      .upstream('service', { url: upstream, allowPrivate: true })
      .proxy('/durable', { upstream: 'service', methods: ['POST'], durable: true, idempotency: 'required' })
      .proxy('/*', { upstream: 'service' })
    return Number(new URL((await gateway.run({ port: 0 })).url).port)
  },
  hono() {
    const app = new Hono()
    app.all('/*', (c) =>
      proxy(`${upstream}${c.req.path}`, { ...c.req, headers: { ...c.req.header(), host: undefined } }),
    )
    return new Promise((resolve) =>
      serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, ({ port }) => resolve(port)),
    )
  },
  async fastify() {
    const app = fastify()
    await app.register(httpProxy, { upstream })
    return Number(new URL(await app.listen({ port: 0, host: '127.0.0.1' })).port)
  },
}

const say = () => {
  const { user, system } = process.cpuUsage()
  process.stdout.write(`${user + system}\n`)
}
process.on('SIGUSR2', say)
process.on('SIGTERM', () => {
  say()
  rmSync(directory, { recursive: true, force: true })
  process.exit()
})
process.stdout.write(`${await sides[side]!()}\n`)
