import { freshDatabase } from '@gw/services'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { adminOf } from './admin-listener.ts'

const bodies = [
  '',
  'null',
  '[]',
  '{}',
  '"text"',
  '{"a":',
  '{"__proto__":{"admin":true}}',
  '{"subject":null}',
  '{"filter":{},"action":"cancel","expected":-1}',
  `${'['.repeat(5_000)}${']'.repeat(5_000)}`,
  '{"max":1e999}',
  '\u0000',
]

/** The operations of the document, without those that end the gateway or do not end by themselves. */
async function operationsOf(ask: (path: string) => Promise<Response>) {
  const { paths } = (await (await ask('/openapi.json')).json()) as {
    paths: Record<string, Record<string, { parameters?: { name: string; in: string }[] }>>
  }
  return Object.entries(paths)
    .flatMap(([path, operations]) =>
      Object.entries(operations).map(([method, { parameters = [] }]) => ({
        method: method.toUpperCase(),
        path,
        query: parameters.filter((parameter) => parameter.in === 'query').map(({ name }) => name),
      })),
    )
    .filter(({ path }) => !['/admin/system/drain', '/admin/events/stream'].includes(path))
}

test.each(['sqlite', 'postgres'])(
  'gateway G10: on %s no body, parameter or path makes a 500: what is wrong is a problem with a code',
  async (engine) => {
    const { ask, gateway } = await adminOf(engine === 'sqlite' ? {} : { databaseUrl: await freshDatabase() })
    const operations = await operationsOf(ask)
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.constantFrom(
        '../../etc',
        '%00',
        '__proto__',
        'constructor',
        '-1',
        '1e400',
        '9'.repeat(40),
        "'; DROP TABLE gw_run; --",
        '0',
        'true',
      ),
    )
    const attempt = async (method: string, path: string, init: RequestInit) => {
      const response = await ask(path, { method, ...init })
      const answer = await response.text()
      const { status } = response
      expect([method, path, status, answer.slice(0, 200)]).toSatisfy(() => status < 500)
      if (status < 400) return { status, code: undefined }
      expect([path, response.headers.get('content-type')]).toEqual([path, 'application/problem+json'])
      const problem = JSON.parse(answer) as { readonly status: number; readonly code: string }
      expect(problem).toMatchObject({ status, code: expect.stringMatching(/^[a-z][a-z0-9_]*$/) })
      return problem
    }
    for (const { method, path } of operations) {
      if (method === 'GET') continue
      for (const body of bodies)
        for (const type of ['application/json', 'text/plain'])
          await attempt(method, path.replaceAll(/\{\w+\}/g, 'x').replace('/x/x', '/x/cancel'), {
            headers: { 'content-type': type },
            ...(method === 'DELETE' ? {} : { body }),
          })
    }
    for (const { method, path, query } of operations)
      for (const bad of ['%00', '%ED%A0%80', '%F0%9F%98%80'])
        for (const name of ['', ...query])
          await attempt(method, `${path.replaceAll(/\{\w+\}/g, name === '' ? bad : 'x')}?${name}=${bad}`, {})
    for (const [path, body] of [
      ['/admin/erase', { subject: 'a\u0000b' }],
      ['/admin/keys/erase', { principal: 'a\u0000b' }],
      ['/admin/keys/release', { key: '\u0000', principal: '\ud800', route: '/\u0000' }],
      ['/admin/events/holds', { name: 'h', reason: 'a\u0000b', filter: { subject: '\u0000' } }],
      ['/admin/requests/bulk', { filter: { operation: '\u0000', text: '\u0000' }, action: 'cancel', dryRun: true }],
      ['/admin/requests/bulk', { filter: { principal: '\ud800' }, action: 'cancel', dryRun: true }],
    ] as const) {
      const { status, code } = await attempt('POST', path, {
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
      expect([path, status, code]).toEqual([path, 400, 'invalid_body'])
    }
    for (const { method, path, query } of operations)
      for (const bad of ['%00', '%ED%A0%80', '%F0%9F%98%80'])
        for (const name of ['', ...query])
          await attempt(method, `${path.replaceAll(/\{\w+\}/g, name === '' ? bad : 'x')}?${name}=${bad}`, {})
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...operations),
        text,
        fc.array(text, { maxLength: 5 }),
        async ({ method, path, query }, name, values) => {
          const filled = path.replaceAll(/\{\w+\}/g, () =>
            encodeURIComponent(name.replaceAll(/[\ud800-\udfff]/g, '') || 'x'),
          )
          const search = new URLSearchParams(values.map((value, i) => [query[i] ?? `p${i}`, value]))
          await attempt(method, `${filled}?${search}`, {})
        },
      ),
      { numRuns: 200 },
    )
    expect((await gateway.events.verify()).ok).toBe(true)
    expect(Object.keys(Object.prototype)).toEqual([])
  },
)
