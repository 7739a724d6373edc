import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CircuitBreaker } from '@gw/breaker'
import { createGateway, type Gateway, type RunningGateway } from '@gw/gateway'
import { ConnectionPool } from '@gw/pool'
import { ensureInstalled, findProgram } from '@gw/services'
import { afterAll, beforeAll, expect, test } from 'vitest'

const token = 'an-operator-of-this-gateway-0123456789'
const rulesFile = fileURLToPath(new URL('../../docs/alerts.yml', import.meta.url))
let gateway: Gateway
let server: RunningGateway

beforeAll(async () => {
  await ensureInstalled(['promtool'])
  const pool = new ConnectionPool({ name: 'main', min: 1, max: 3 })
  pool.register<object>('main', { create: async () => ({}) })
  gateway = await createGateway({
    dataDir: join(mkdtempSync(join(tmpdir(), 'gw-metrics-')), 'data'),
    admin: { port: 0, token },
    breakers: { 'the "service"': new CircuitBreaker({ name: 'the "service"' }) },
    pools: [pool],
  })
  gateway.get('/users/:id', (c) => c.text(c.req.param('id')))
  gateway.post('/work', gateway.durable({ operation: 'work' }), async (c) =>
    c.json({ value: await c.var.run.step('step', () => 1) }),
  )
  gateway.post('/fails', gateway.durable({ operation: 'fails' }), () => {
    throw new Error('always')
  })
  server = await gateway.run({ port: 0 })
}, 300_000)

afterAll(() => server.stop({ drainDelayMs: 0 }))

/** What promtool says to a text, and how it ends. */
function promtool(
  args: readonly string[],
  input = '',
): Promise<{ readonly code: number | null; readonly said: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(findProgram('promtool')!, args)
    let said = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => {
        said += chunk.toString()
      })
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, said }))
    child.stdin.end(input)
  })
}

async function scrape(): Promise<string> {
  const answer = await fetch(`${server.adminUrl}/metrics`, { headers: { authorization: `Bearer ${token}` } })
  expect(answer.status).toBe(200)
  return answer.text()
}

test('G8: promtool check metrics passes on /metrics under load, and the set of labels does not grow with the requests', {
  timeout: 120_000,
}, async () => {
  const load = async (from: number) => {
    for (let i = from; i < from + 60; i++) {
      await fetch(`${server.url}/users/${i}`)
      await fetch(`${server.url}/nothing/${i}`, { method: i % 2 === 0 ? 'PUT' : 'GET' })
      await fetch(`${server.url}/${i % 10 === 0 ? 'fails' : 'work'}`, {
        method: 'POST',
        headers: { 'idempotency-key': `key-${i}` },
      })
    }
  }
  await load(0)
  gateway.recordMetric('orders_seconds', 0.2, { kind: 'new' })
  const before = await scrape()
  const more = load(1_000)
  const during = [await scrape(), await scrape()]
  await more
  const after = await scrape()
  for (const text of [before, ...during, after])
    expect(await promtool(['check', 'metrics'], text)).toEqual({ code: 0, said: '' })
  const series = (text: string) => text.split('\n').filter((line) => line.startsWith('gw_http_server')).length
  expect(series(after)).toBe(series(before))
  expect(after).toMatch(/gw_runs\{status="completed"\} 108/)
  expect(after).toMatch(/gw_runs\{status="failed"\} 12/)
  expect(after).toContain('gw_circuit_breaker_state{name="the \\"service\\"",state="closed"} 1')
  expect(after).toContain('gw_db_client_connections_max{pool_name="main"} 3')
  // Nobody has verified it yet.
  expect(after).not.toMatch(/^gw_audit_verified /m)
})

test('G8: promtool finds what is not well formed', async () => {
  const { code, said } = await promtool(['check', 'metrics'], '# TYPE gw_things_total gauge\ngw_things_total 1\n')
  expect([code, said]).toEqual([3, expect.stringContaining('gw_things_total')])
})

test('G18: promtool takes docs/alerts.yml, and every figure in it is there', async () => {
  expect(await promtool(['check', 'rules', rulesFile])).toMatchObject({ code: 0 })
  const figures = await scrape()
  const named = [...new Set(readFileSync(rulesFile, 'utf8').match(/\bgw_[a-z_]+/g))]
  expect(named.length).toBeGreaterThan(8)
  expect(named.filter((name) => !figures.includes(name))).toEqual([])
})

test('G18: the rules fire for what is wrong, on one of two nodes or in their storage, and not otherwise', async () => {
  const file = join(mkdtempSync(join(tmpdir(), 'gw-rules-')), 'tests.yml')
  const alerts = {
    GatewayStorageDown: ['gw_storage_up{instance="a"}', '1 0x20', '1x20'],
    GatewayRequestsParked: ['gw_runs{status="parked",instance="a"}', '2x20', '0x20'],
    GatewayBacklog: ['gw_runs{status="queued",instance="a"}', '2000x20', '20x20'],
    GatewayRequestsFailed: ['gw_runs{status="failed",instance="a"}', '0x5 1x15', '7x20'],
    GatewayBreakerOpen: ['gw_circuit_breaker_state{state="open",name="s",instance="a"}', '1x20', '0x20'],
    GatewayAuditDamaged: ['gw_audit_verified{instance="a"}', '0x20', '1x20'],
    GatewayAuditEventsDropped: ['gw_transitions_total{name="audit.dropped",instance="a"}', '0+1x20', '5x20'],
    GatewayWritesPending: ['gw_storage_pending_writes{instance="a"}', '2000x20', '20x20'],
  }
  const tests = Object.entries(alerts).flatMap(([alertname, [series, bad, good]]) =>
    [bad, good].map((values) => ({
      interval: '1m',
      input_series: [{ series, values }],
      promql_expr_test: [
        {
          expr: `count(ALERTS{alertname="${alertname}",alertstate="firing"}) or vector(0)`,
          eval_time: '10m',
          exp_samples: [{ labels: '{}', value: values === bad ? 1 : 0 }],
        },
      ],
    })),
  )
  // JSON is YAML.
  writeFileSync(file, JSON.stringify({ rule_files: [rulesFile], evaluation_interval: '1m', tests }))
  const { code, said } = await promtool(['test', 'rules', file])
  expect(code, said).toBe(0)
})
