import { createRoute, z } from '@hono/zod-openapi'
import { erase, receiptOf } from '../erasure.ts'
import type { Gateway } from '../gateway.ts'
import { audited } from './audited.ts'
import { adminRoutes, answer, refusals } from './problems.ts'

const route = createRoute({
  method: 'post',
  path: '/admin/erase',
  operationId: 'eraseSubject',
  summary:
    'Makes everything that is kept of a subject unreadable for good, in events, requests and idempotency records',
  tags: ['privacy'],
  request: {
    body: {
      required: true,
      content: {
        'application/json': {
          schema: z.strictObject({ subject: z.string().min(1).max(1_024), tenant: z.string().max(1_024).optional() }),
        },
      },
    },
  },
  responses: {
    200: answer(
      z.object({
        receipt: z.string().openapi({ description: 'Names the erasure in the trail without naming the subject' }),
        position: z.string(),
        keys: z.int().openapi({ description: 'Idempotency records that were removed' }),
        requests: z
          .int()
          .openapi({ description: 'Its finished requests that nothing had encrypted; they were removed' }),
        unfinished: z.int().openapi({ description: 'Those that still go on; erase again when they are finished' }),
      }),
      'It is erased, and the event that says so is durable',
    ),
    ...refusals,
  },
})

/** `POST /admin/erase`. */
export function eraseRoutes(gateway: Gateway) {
  return adminRoutes().openapi(route, async (c) => {
    const { subject, tenant } = c.req.valid('json')
    await gateway.events.start()
    const intent = { type: 'admin.subject.erase', data: { receipt: receiptOf(gateway, subject) } }
    const erased = await audited(c, gateway, intent, () =>
      erase(gateway, subject, { actor: c.var.actor, ...(tenant === undefined ? {} : { tenant }) }),
    )
    return c.json(erased, 200)
  })
}
