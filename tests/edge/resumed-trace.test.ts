import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { type ServerProcess, startServer } from '../crash/server.ts'

const closers: (() => unknown)[] = []

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

const app = `import { existsSync, writeFileSync } from 'node:fs'
export function register(gateway) {
  gateway.post('/work', gateway.durable({ operation: 'work' }), async (c) => {
    await c.var.run.step('first', () => 1)
    if (!existsSync(process.env.STARTED)) {
      writeFileSync(process.env.STARTED, '')
      await new Promise(() => {})
    }
    return c.json({ traceparent: gateway.traceparentOf(c) })
  })
}
`
interface SentSpan {
  readonly traceId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly attributes: readonly { readonly key: string; readonly value: object }[]
}

test('G8: a run that a kill -9 interrupted goes on in the trace of its request, in the collector, its handler and the audit trail', {
  timeout: 120_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gw-trace-'))
  const spans: SentSpan[] = []
  const collector = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk) => {
      text += chunk
    })
    request.on('end', () => {
      for (const { scopeSpans } of JSON.parse(text).resourceSpans ?? [])
        for (const scope of scopeSpans) spans.push(...scope.spans)
      response.end('{}')
    })
  })
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve))
  closers.push(() => {
    collector.closeAllConnections()
    collector.close()
  })
  writeFileSync(join(folder, 'app.mjs'), app)
  writeFileSync(join(folder, 'gateway.config.json'), JSON.stringify({ app: './app.mjs' }))
  const started = join(folder, 'started')
  const start = async (): Promise<ServerProcess> => {
    const server = await startServer(join(folder, 'data'), {
      GW_CONFIG: join(folder, 'gateway.config.json'),
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}`,
      STARTED: started,
    })
    closers.push(() => {
      server.process.kill('SIGKILL')
      return server.exited
    })
    return server
  }
  const first = await start()
  const traceId = '0af7651916cd43dd8448eb211c80319c'
  const lost = fetch(`${first.url}/work`, {
    method: 'POST',
    headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01`, 'x-request-id': 'the-request' },
  }).catch(() => undefined)
  await expect.poll(() => existsSync(started), { timeout: 60_000 }).toBe(true)
  first.process.kill('SIGKILL')
  await Promise.all([lost, first.exited])

  const second = await start()
  await expect.poll(() => spans.filter(({ name }) => name === 'run work').length, { timeout: 60_000 }).toBe(1)
  const [resumed] = spans.filter(({ name }) => name === 'run work')
  expect(resumed).toMatchObject({ traceId })
  expect(resumed!.attributes).toContainEqual({ key: 'gw.run.recoveries', value: { intValue: '1' } })
  const run = (resumed!.attributes.find(({ key }) => key === 'gw.run.id')!.value as { stringValue: string }).stringValue
  const answer = (await (await fetch(`${second.url}/requests/${run}/response`)).json()) as { traceparent: string }
  expect(answer.traceparent.split('-')[1]).toBe(traceId)
  const trail = await (await second.admin(`/admin/audit-trail?subject=${run}`)).text()
  expect(trail).toContain(traceId)
  expect(await (await second.admin(`/admin/requests/${run}`)).json()).toMatchObject({ traceId })
})
