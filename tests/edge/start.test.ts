import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { type ServerProcess, startServer } from '../crash/server.ts'

const running: ServerProcess[] = []

afterEach(async () => {
  for (const server of running.splice(0)) {
    server.process.kill('SIGKILL')
    await server.exited
  }
})

async function started(env: Readonly<Record<string, string>>): Promise<ServerProcess> {
  const server = await startServer(join(mkdtempSync(join(tmpdir(), 'gw-start-')), 'data'), env)
  running.push(server)
  return server
}

test('G10: an admin listener that others can reach does not start without a token of 32 characters: exit 78', {
  timeout: 120_000,
}, async () => {
  for (const env of [
    { GW_ADMIN_HOST: '0.0.0.0' },
    { GW_ADMIN_HOST: '::' },
    { GW_ADMIN_HOST: '0.0.0.0', GW_ADMIN_TOKEN: 'x'.repeat(31) },
    { GW_ADMIN_TOKEN: 'x'.repeat(31) },
  ]) {
    const server = await started(env)
    expect(await server.exited, JSON.stringify(env)).toEqual({ code: 78, signal: null })
    expect(server.errors()).toContain('admin.token')
    expect(server.errors()).not.toContain('x'.repeat(31))
  }
  const server = await started({ GW_ADMIN_HOST: '0.0.0.0', GW_ADMIN_TOKEN: 'x'.repeat(32) })
  expect((await fetch(`${server.url}/health/ready`)).status).toBe(200)
  expect((await fetch(`${server.adminUrl}/admin/system`)).status).toBe(401)
  const headers = { authorization: `Bearer ${'x'.repeat(32)}` }
  expect((await fetch(`${server.adminUrl}/admin/system`, { headers })).status).toBe(200)
})

test('reliability 3.6: a request of another principal is answered like one that is not there, on every path', {
  timeout: 120_000,
}, async () => {
  const [ann, bob] = ['a'.repeat(32), 'b'.repeat(32)]
  const server = await started({ GW_API_TOKENS: `ann:${ann},bob:${bob}` })
  const ask = (token: string, path: string, init: RequestInit = {}) =>
    fetch(`${server.url}${path}`, { ...init, headers: { authorization: `Bearer ${token}`, ...init.headers } })
  const job = { type: 'report', user_id: 'ann', items: 1_000, item_ms: 50 }
  const accepted = await ask(ann, '/api/long-running-process', {
    method: 'POST',
    headers: { 'content-type': 'application/json', prefer: 'respond-async' },
    body: JSON.stringify(job),
  })
  const run = accepted.headers.get('gw-run')!
  const paths: [method: string, path: string][] = [
    ['GET', ''],
    ['GET', '/response'],
    ['GET', '/events'],
    ['POST', '/signals/go'],
    ['DELETE', ''],
  ]
  const absent = run.replace(/.{6}$/, '000000')
  for (const [method, path] of paths) {
    const [foreign, missing] = await Promise.all(
      [run, absent].map(async (id) => {
        const answer = await ask(bob, `/requests/${id}${path}`, { method })
        const body = (await answer.text()).replaceAll(id, 'id')
        return [answer.status, answer.headers.get('content-type'), body.replace(/"requestId":"[^"]*"/, '')]
      }),
    )
    expect([method, path, foreign]).toEqual([method, path, missing])
    expect(foreign![0], `${method} ${path}`).toBe(404)
  }
  expect((await ask(ann, `/requests/${run}`)).status).toBe(200)
})
