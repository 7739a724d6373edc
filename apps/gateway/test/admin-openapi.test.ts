import { createConfig, lintFromString } from '@redocly/openapi-core'
import { expect, test } from 'vitest'
import { adminOf } from './admin-listener.ts'

test('gateway G10: /openapi.json is OpenAPI 3.1 and lints clean under the recommended rules', async () => {
  const { ask } = await adminOf()
  const response = await ask('/openapi.json')
  expect(response.status).toBe(200)
  const source = await response.text()
  expect(JSON.parse(source).openapi).toBe('3.1.0')
  const config = await createConfig({ extends: ['recommended-strict'] })
  const problems = await lintFromString({ source, absoluteRef: '/openapi.json', config })
  expect(problems.map(({ ruleId, message, location }) => `${ruleId} ${message} ${location[0]?.pointer}`)).toEqual([])
})

test('gateway G10: the linter finds what is wrong: an operation without an id and a path whose parameter is not declared', async () => {
  const { ask } = await adminOf()
  const document = await (await ask('/openapi.json')).json()
  delete document.paths['/admin/requests'].get.operationId
  delete document.paths['/admin/requests/{id}'].get.parameters
  const config = await createConfig({ extends: ['recommended-strict'] })
  const problems = await lintFromString({ source: JSON.stringify(document), absoluteRef: '/openapi.json', config })
  expect(problems.map(({ ruleId }) => ruleId)).toEqual(
    expect.arrayContaining(['operation-operationId', 'path-parameters-defined']),
  )
})

test('gateway G10: every path of the admin API is in the document', async () => {
  const { ask } = await adminOf()
  const { paths } = await (await ask('/openapi.json')).json()
  expect(Object.keys(paths)).toEqual(
    expect.arrayContaining([
      '/metrics',
      '/openapi.json',
      '/admin/requests',
      '/admin/requests/{id}',
      '/admin/requests/{id}/{action}',
      '/admin/audit-trail',
      '/admin/events/stream',
      '/admin/events/verify',
      '/admin/events/proof',
      '/admin/keys',
      '/admin/circuit-breakers',
      '/admin/circuit-breaker/{name}/{action}',
      '/admin/connection-pools',
      '/admin/connection-pools/{name}/resize',
      '/admin/connection-pools/{name}/refresh',
      '/admin/storage',
      '/admin/system',
    ]),
  )
})
