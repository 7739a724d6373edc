import { type OpenAPIHono, z } from '@hono/zod-openapi'
import { answer, refusals } from './problems.ts'
import type { AdminEnv } from './visitor.ts'

/** What is the same in every document. */
const head = {
  openapi: '3.1.0',
  info: {
    title: 'Durable Gateway admin API',
    version: '1.0.0',
    description:
      'Looks at what a gateway keeps, and acts on it. Each change is an event of the audit trail that is durable before the change is made, and so before it is answered.',
    license: { name: 'MIT', identifier: 'MIT' },
  },
  servers: [{ url: '/', description: 'The admin listener that gave this document' }],
  security: [{ bearer: [] }, { session: [] }],
  tags: [
    { name: 'requests', description: 'Durable requests' },
    { name: 'events', description: 'The audit trail' },
    { name: 'privacy', description: 'Erasing what is kept of a person' },
    { name: 'keys', description: 'Idempotency keys' },
    { name: 'circuit breakers', description: 'Circuit breakers' },
    { name: 'connection pools', description: 'Connection pools' },
    { name: 'storage', description: 'Where everything lies' },
    { name: 'system', description: 'This process and its like' },
  ],
}

/** The OpenAPI 3.1 document of the admin API, from its own routes and schemas. */
export function openApiOf(api: OpenAPIHono<AdminEnv>): object {
  api.openAPIRegistry.registerComponent('securitySchemes', 'bearer', {
    type: 'http',
    scheme: 'bearer',
    description: '`GW_ADMIN_TOKEN` may do everything, `GW_ADMIN_READ_TOKEN` may look',
  })
  api.openAPIRegistry.registerComponent('securitySchemes', 'session', {
    type: 'apiKey',
    in: 'cookie',
    name: 'gw_admin',
    description: 'A browser’s session, which the log-in page begins',
  })
  const problem = Object.fromEntries(Object.entries(refusals).filter(([status]) => status < '404'))
  const described = { description: 'As text', content: { 'text/plain': { schema: { type: 'string' as const } } } }
  api.openAPIRegistry.registerPath({
    method: 'get',
    path: '/metrics',
    operationId: 'metrics',
    summary: 'The figures in the text format of Prometheus',
    tags: ['system'],
    responses: { 200: described, ...problem, 404: refusals[404] },
  })
  api.openAPIRegistry.registerPath({
    method: 'get',
    path: '/openapi.json',
    operationId: 'openApi',
    summary: 'This document',
    tags: ['system'],
    responses: { 200: answer(z.looseObject({}), 'OpenAPI 3.1'), ...problem },
  })
  return api.getOpenAPI31Document(head)
}
