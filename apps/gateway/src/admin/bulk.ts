import { createHmac, timingSafeEqual } from 'node:crypto'
import type { RunRecord, RunStatus } from '@gw/checkpoint'
import { createRoute, z } from '@hono/zod-openapi'
import type { Gateway } from '../gateway.ts'
import { audited } from './audited.ts'
import { AdminProblem, adminRoutes, answer, refusals } from './problems.ts'
import { findRequests } from './request-search.ts'
import { RequestFilter, RequestShape, requestOf } from './request-shapes.ts'

const Action = z.enum(['resume', 'retry', 'cancel'])

const Body = z.strictObject({
  filter: RequestFilter,
  action: Action,
  dryRun: z.boolean().optional().openapi({ description: 'Only counts, and gives the confirmation for the real run' }),
  expected: z
    .int()
    .min(0)
    .optional()
    .openapi({ description: 'How many there must be now; any other number is refused' }),
  confirmation: z.string().optional().openapi({
    description:
      'What the dry run gave: requests that came after it are left alone, and fewer than it counted are no reason to refuse',
  }),
  limit: z.int().min(1).max(10_000).optional().openapi({ description: 'How many at most in one call: 1,000' }),
})

const Answer = z.object({
  dryRun: z.boolean(),
  count: z.int().openapi({ description: 'How many the filter shows that the action applies to' }),
  exact: z.boolean().openapi({ description: 'Whether that is all; counted up to 10,000' }),
  sample: z.array(RequestShape),
  confirmation: z.string().nullable(),
  done: z.int(),
  failed: z.int(),
  remaining: z.int().openapi({ description: 'What `limit` left for the next call' }),
  results: z.array(z.object({ request: z.string(), result: z.string().nullable(), code: z.string().nullable() })),
})

const bulk = createRoute({
  method: 'post',
  path: '/admin/requests/bulk',
  operationId: 'actOnRequests',
  summary: 'Does one thing to every request that a filter shows',
  description:
    'Ask with `dryRun` first, then with the `confirmation` that it gave or with the `expected` count. Each request is done on its own and has its own result; a call that was cut off can be made again.',
  tags: ['requests'],
  request: { body: { required: true, content: { 'application/json': { schema: Body } } } },
  responses: { 200: answer(Answer, 'The count and a sample, or what became of each'), ...refusals },
})

const applicable: Readonly<Record<z.infer<typeof Action>, readonly RunStatus[]>> = {
  cancel: ['queued', 'running', 'waiting', 'parked'],
  resume: ['waiting', 'parked', 'failed', 'dead', 'cancelled'],
  retry: ['waiting', 'parked', 'failed', 'dead', 'cancelled'],
}
const maxCounted = 10_000
const sampleSize = 20
const atOnce = 16

/** `/admin/requests/bulk`. */
export function bulkRoutes(gateway: Gateway) {
  const { checkpoints } = gateway

  async function matching(filter: RequestFilter, action: z.infer<typeof Action>, upTo?: string): Promise<RunRecord[]> {
    const wanted = applicable[action].filter((status) => filter.status === undefined || filter.status.includes(status))
    if (wanted.length === 0) return []
    const runs: RunRecord[] = []
    for (let cursor: string | undefined; ; ) {
      const page = await findRequests(checkpoints, { ...filter, status: wanted }, { cursor, limit: 1_000 })
      for (const run of page.runs) if (upTo === undefined || run.id <= upTo) runs.push(run)
      cursor = page.cursor
      if (cursor === undefined || runs.length > maxCounted) return runs
    }
  }

  return adminRoutes().openapi(bulk, async (c) => {
    const { filter, action, dryRun = false, expected, confirmation, limit = 1_000 } = c.req.valid('json')
    const scope = JSON.stringify([action, filter])
    const upTo = confirmation === undefined ? undefined : confirmedUpTo(confirmation, scope, gateway.events.secret)
    if (!dryRun && expected === undefined && confirmation === undefined)
      throw new AdminProblem(
        400,
        'confirmation_missing',
        'Expected `confirmation` or `expected`: ask with `dryRun` first',
      )
    const runs = await matching(filter, action, upTo)
    const count = Math.min(runs.length, maxCounted)
    const nothing = { done: 0, failed: 0, remaining: count, results: [] }
    const found = { count, exact: runs.length <= maxCounted, sample: runs.slice(0, sampleSize).map(requestOf) }
    if (dryRun) {
      const newest = runs[0]?.id ?? ''
      return c.json(
        { dryRun, ...found, confirmation: confirmationOf(newest, scope, gateway.events.secret), ...nothing },
        200,
      )
    }
    if (expected !== undefined && expected !== runs.length)
      throw new AdminProblem(409, 'count_changed', `Expected ${expected} requests, there are ${runs.length} now`, {
        members: { count },
      })
    const chosen = runs.slice(0, limit)
    const results = await audited(
      c,
      gateway,
      { type: 'admin.requests.bulk', data: { action, filter, count, limit: chosen.length } },
      async () => {
        const all: z.infer<typeof Answer>['results'] = []
        for (let at = 0; at < chosen.length; at += atOnce)
          all.push(...(await Promise.all(chosen.slice(at, at + atOnce).map(({ id }) => one(id)))))
        return all
      },
    )
    const failed = results.filter(({ code }) => code !== null).length
    const remaining = runs.length - chosen.length
    return c.json(
      { dryRun, ...found, confirmation: null, done: results.length - failed, failed, remaining, results },
      200,
    )

    async function one(id: string): Promise<z.infer<typeof Answer>['results'][number]> {
      try {
        const result = await audited(
          c,
          gateway,
          { type: `checkpoint.${action}`, subject: id, data: { run: id, bulk: true } },
          () => checkpoints[action](id, { actor: c.var.actor }),
        )
        return { request: id, result, code: null }
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? String(error.code) : 'internal_error'
        return { request: id, result: null, code }
      }
    }
  })
}

/** Binds a dry run's filter and action, and the newest request that it saw, to this gateway's log. */
function confirmationOf(newest: string, scope: string, secret: Uint8Array): string {
  return `${newest}.${macOf(newest, scope, secret).toString('base64url')}`
}

function confirmedUpTo(confirmation: string, scope: string, secret: Uint8Array): string {
  const [newest = '', mac = ''] = confirmation.split('.')
  const [given, right] = [Buffer.from(mac, 'base64url'), macOf(newest, scope, secret)]
  if (given.length === right.length && timingSafeEqual(given, right)) return newest
  throw new AdminProblem(400, 'invalid_confirmation', 'The confirmation is of another filter or another action')
}

function macOf(newest: string, scope: string, secret: Uint8Array): Buffer {
  return createHmac('sha256', secret).update(`bulk ${newest} ${scope}`).digest()
}
