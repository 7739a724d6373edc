import type { KeyRecord } from '@gw/dedup'
import { createRoute, z } from '@hono/zod-openapi'
import type { Gateway } from '../gateway.ts'
import { audited } from './audited.ts'
import { AdminProblem, adminRoutes, answer, refusals } from './problems.ts'

const Hash = z.string().regex(/^[0-9a-f]{64}$/, 'expected the 64 hexadecimal digits of a stored key')

const Key = z
  .object({
    hash: z.string().openapi({ description: 'The name under which it is stored; the client’s own text is not kept' }),
    state: z.enum(['in_flight', 'completed', 'corrupt']),
    fence: z.int(),
    request: z.string().nullable().openapi({ description: 'The durable request behind it' }),
    owner: z.string().nullable().openapi({ description: 'Who runs that request' }),
    lapsed: z.boolean(),
    leaseRemainingMs: z.number(),
    windowRemainingMs: z.number(),
    response: z.object({ status: z.int(), bytes: z.int().nullable() }).nullable(),
  })
  .openapi('IdempotencyKey')

const scope = {
  key: z
    .string()
    .max(255)
    .optional()
    .openapi({ description: 'The client’s `Idempotency-Key`, with `principal`, `method` and `route`' }),
  principal: z.string().optional().openapi({ description: 'anonymous, unless given' }),
  method: z.string().optional().openapi({ description: 'POST, unless given' }),
  route: z.string().optional().openapi({ description: 'The route’s pattern' }),
  tenant: z.string().optional(),
}

const Scope = z.object({ hash: Hash.optional().openapi({ description: 'The stored name' }), ...scope })

const find = createRoute({
  method: 'get',
  path: '/admin/keys',
  operationId: 'findKey',
  summary: 'Finds an idempotency key by its stored name, or by key, principal and route',
  tags: ['keys'],
  request: { query: Scope },
  responses: { 200: answer(z.object({ keys: z.array(Key) }), 'The key, or nothing'), ...refusals },
})

const release = createRoute({
  method: 'post',
  path: '/admin/keys/release',
  operationId: 'releaseKey',
  summary: 'Frees a key that is under way, so that the next request with it runs',
  description: 'Its request may have had effects: find out first. A completed key stays; erase its scope instead.',
  tags: ['keys'],
  request: { body: { required: true, content: { 'application/json': { schema: Scope.strict() } } } },
  responses: { 200: answer(z.object({ hash: z.string(), result: z.literal('released') }), 'It is free'), ...refusals },
})

const erase = createRoute({
  method: 'post',
  path: '/admin/keys/erase',
  operationId: 'eraseKeys',
  summary: 'Removes every kept answer of a principal; keys under way stay',
  tags: ['keys'],
  request: {
    body: {
      required: true,
      content: {
        'application/json': { schema: z.strictObject({ principal: z.string(), tenant: z.string().optional() }) },
      },
    },
  },
  responses: { 200: answer(z.object({ erased: z.int() }), 'How many records went'), ...refusals },
})

/** `/admin/keys`. */
export function keyRoutes(gateway: Gateway) {
  const { idempotency } = gateway

  async function nameOf({ hash, key, principal = 'anonymous', method = 'POST', route, tenant }: z.infer<typeof Scope>) {
    await idempotency.start()
    if (hash !== undefined) return hash
    if (key === undefined || route === undefined)
      throw new AdminProblem(400, 'invalid_parameter', 'Expected `hash`, or `key` and `route`')
    return idempotency.storageKey({ principal, method, path: route, ...(tenant === undefined ? {} : { tenant }) }, key)
  }

  async function keyOf(record: KeyRecord): Promise<z.infer<typeof Key>> {
    const run = record.link === undefined ? undefined : await gateway.checkpoints.get(record.link)
    const { key, state, fence, link = null, leaseRemainingMs, windowRemainingMs, response } = record
    return {
      hash: key,
      state,
      fence,
      request: link,
      owner: run?.owner ?? null,
      lapsed: state === 'in_flight' && link === null && leaseRemainingMs <= 0,
      leaseRemainingMs,
      windowRemainingMs,
      response: response === undefined ? null : { status: response.status, bytes: response.body?.length ?? null },
    }
  }

  return adminRoutes()
    .openapi(find, async (c) => {
      const record = await idempotency.keyStore.get(await nameOf(c.req.valid('query')))
      return c.json({ keys: record === undefined ? [] : [await keyOf(record)] }, 200)
    })
    .openapi(release, async (c) => {
      const hash = await nameOf(c.req.valid('json'))
      const record = await idempotency.keyStore.get(hash)
      if (record === undefined) throw new AdminProblem(404, 'not_found', 'There is no such key')
      if (record.state === 'completed')
        throw new AdminProblem(409, 'key_completed', 'The key has its answer; erase its scope to remove it')
      const intent = { type: 'admin.key.release', subject: hash, data: { key: hash, run: record.link ?? null } }
      const result = await audited(c, gateway, intent, () => idempotency.release(record))
      if (result === 'stale') throw new AdminProblem(409, 'stale', 'The key was settled or taken over meanwhile')
      return c.json({ hash, result: 'released' as const }, 200)
    })
    .openapi(erase, async (c) => {
      const { principal, tenant } = c.req.valid('json')
      const intent = { type: 'admin.key.erase', subject: principal, data: { tenant: tenant ?? null } }
      const erased = await audited(c, gateway, intent, () =>
        idempotency.erase({ principal, ...(tenant === undefined ? {} : { tenant }) }),
      )
      return c.json({ erased }, 200)
    })
}
