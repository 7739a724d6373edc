import { createRoute, z } from '@hono/zod-openapi'
import type { Gateway } from '../gateway.ts'
import { audited } from './audited.ts'
import { adminRoutes, answer, refusals } from './problems.ts'
import { foundIn } from './request-search.ts'
import { RequestId } from './request-shapes.ts'

const Acted = z.object({ request: z.string(), result: z.string() })

const act = createRoute({
  method: 'post',
  path: '/admin/requests/{id}/{action}',
  operationId: 'actOnRequest',
  summary: 'Resumes, retries now, or cancels a request',
  tags: ['requests'],
  request: { params: RequestId.extend({ action: z.enum(['resume', 'retry', 'cancel']) }) },
  responses: { 200: answer(Acted, 'What became of it'), ...refusals },
})

const fork = createRoute({
  method: 'post',
  path: '/admin/requests/{id}/fork',
  operationId: 'forkRequest',
  summary: 'Runs a request again as one of its own, from a step on, with its body edited if wanted',
  tags: ['requests'],
  request: {
    params: RequestId,
    body: {
      required: true,
      content: {
        'application/json': {
          schema: z.strictObject({
            fromStep: z
              .string()
              .optional()
              .openapi({ description: 'The first step that runs again, as `charge#2`; all, unless given' }),
            body: z
              .unknown()
              .optional()
              .openapi({ description: 'The new body: a text as it is, anything else as JSON' }),
            version: z.string().optional(),
          }),
        },
      },
    },
  },
  responses: { 201: answer(z.object({ request: z.string(), forkedFrom: z.string() }), 'The new request'), ...refusals },
})

const resolve = createRoute({
  method: 'post',
  path: '/admin/requests/{id}/resolve',
  operationId: 'resolveRequest',
  summary: 'Decides about a parked request',
  tags: ['requests'],
  request: {
    params: RequestId,
    body: {
      required: true,
      content: {
        'application/json': {
          schema: z.discriminatedUnion('kind', [
            z.strictObject({ kind: z.literal('rerun') }),
            z.strictObject({ kind: z.literal('restart') }),
            z.strictObject({ kind: z.literal('done'), step: z.string(), value: z.unknown().optional() }),
            z.strictObject({ kind: z.literal('fail'), reason: z.string().min(1) }),
          ]),
        },
      },
    },
  },
  responses: { 200: answer(Acted, 'What became of it'), ...refusals },
})

const signal = createRoute({
  method: 'post',
  path: '/admin/requests/{id}/signal',
  operationId: 'signalRequest',
  summary: 'Sends a signal to a request that waits for it, now or later',
  tags: ['requests'],
  request: {
    params: RequestId,
    body: {
      required: true,
      content: {
        'application/json': {
          schema: z.strictObject({
            name: z.string().regex(/^[A-Za-z0-9._:-]{1,128}$/, 'expected 1 to 128 of A-Z a-z 0-9 . _ : -'),
            value: z.unknown().optional(),
          }),
        },
      },
    },
  },
  responses: { 202: answer(Acted, 'The signal is kept'), ...refusals },
})

/** What may be done to one request. */
export function requestActionRoutes(gateway: Gateway) {
  const { checkpoints } = gateway
  const found = foundIn(checkpoints)
  return adminRoutes()
    .openapi(fork, async (c) => {
      const { id } = await found(c.req.valid('param').id)
      const { fromStep, body, version } = c.req.valid('json')
      const intent = {
        type: 'checkpoint.fork',
        subject: id,
        data: { run: id, fromStep: fromStep ?? null, edited: body !== undefined, version: version ?? null },
      }
      const forked = await audited(c, gateway, intent, () =>
        checkpoints.fork(id, {
          actor: c.var.actor,
          ...(fromStep === undefined ? {} : { fromStep }),
          ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
          ...(version === undefined ? {} : { version }),
        }),
      )
      return c.json({ request: forked, forkedFrom: id }, 201)
    })
    .openapi(resolve, async (c) => {
      const { id } = await found(c.req.valid('param').id)
      const decision = c.req.valid('json')
      const { value: _, ...said } = { value: undefined, ...decision }
      const intent = { type: 'checkpoint.resolve', subject: id, data: { run: id, decision: said } }
      const result = await audited(c, gateway, intent, () =>
        checkpoints.resolve(id, decision.kind === 'done' ? { ...decision, value: decision.value } : decision, {
          actor: c.var.actor,
        }),
      )
      return c.json({ request: id, result }, 200)
    })
    .openapi(signal, async (c) => {
      const { id } = await found(c.req.valid('param').id)
      const { name, value = null } = c.req.valid('json')
      const intent = { type: 'checkpoint.signal', subject: id, data: { run: id, signal: name } }
      await audited(c, gateway, intent, () => checkpoints.signal(id, name, value, { actor: c.var.actor }))
      return c.json({ request: id, result: 'signalled' }, 202)
    })
    .openapi(act, async (c) => {
      const { id, action } = c.req.valid('param')
      await found(id)
      const result = await audited(c, gateway, { type: `checkpoint.${action}`, subject: id, data: { run: id } }, () =>
        checkpoints[action](id, { actor: c.var.actor }),
      )
      return c.json({ request: id, result }, 200)
    })
}
