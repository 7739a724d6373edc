import type { RunQuery, RunRecord } from '@gw/checkpoint'
import { z } from '@hono/zod-openapi'
import { Time } from './parameters.ts'

/** The id of a durable request in a path. */
export const RequestId = z.object({ id: z.string().min(1).max(128) })

export const Status = z
  .enum(['queued', 'running', 'waiting', 'parked', 'completed', 'failed', 'cancelled', 'dead'])
  .openapi('RequestStatus')

/** A durable request. Times are milliseconds since 1970. */
export const RequestShape = z
  .object({
    id: z.string(),
    requestId: z.string().nullable().openapi({ description: 'The `X-Request-ID` it came with' }),
    operation: z.string(),
    version: z.string(),
    method: z.string(),
    route: z.string(),
    principal: z.string().nullable(),
    subject: z.string().nullable(),
    status: Status,
    owner: z.string().nullable().openapi({ description: 'Who runs it, as `<node>/<start>`' }),
    attempt: z.int(),
    recoveries: z.int(),
    revision: z.int(),
    stage: z.string().nullable(),
    progress: z.number().nullable(),
    reason: z.string().nullable(),
    wakeAt: z.number().nullable(),
    cancelRequested: z.boolean(),
    signals: z.int(),
    settled: z.boolean(),
    forkedFrom: z.string().nullable(),
    createdAt: z.number(),
    updatedAt: z.number(),
    expiresAt: z.number().nullable(),
  })
  .openapi('Request')

/** A record as the admin API shows it: without what keys and links hold. */
export function requestOf(run: RunRecord): z.infer<typeof RequestShape> {
  const { data: _data, links, fence: _fence, idempotencySeed: _seed, ...shown } = run
  const forkedFrom = links['forkedFrom']
  return {
    ...shown,
    requestId: run.requestId ?? null,
    principal: run.principal ?? null,
    subject: run.subject ?? null,
    owner: run.owner ?? null,
    stage: run.stage ?? null,
    progress: run.progress ?? null,
    reason: run.reason ?? null,
    wakeAt: run.wakeAt ?? null,
    forkedFrom: typeof forkedFrom === 'string' ? forkedFrom : null,
    expiresAt: run.expiresAt ?? null,
  }
}

const statuses = z
  .string()
  .transform((text, context) => {
    const names = text.split(',')
    const known = names.map((name) => Status.safeParse(name)).filter(({ success }) => success)
    if (known.length === names.length) return names as z.infer<typeof Status>[]
    context.addIssue({ code: 'custom', message: `expected statuses (${Status.options.join(', ')}), got \`${text}\`` })
    return z.NEVER
  })
  .openapi({ type: 'string', description: 'One status, or several separated by commas', example: 'parked,dead' })

/** Which requests; the same in a query and in the body of a bulk action. */
export const RequestFilter = z.strictObject({
  status: statuses.optional(),
  operation: z.string().optional(),
  principal: z.string().optional(),
  request_id: z.string().optional(),
  stage: z.string().optional(),
  from: Time.optional().openapi({ description: 'Accepted at this time or later' }),
  to: Time.optional().openapi({ description: 'Accepted before this time' }),
  text: z
    .string()
    .min(1)
    .max(256)
    .optional()
    .openapi({ description: 'Part of the id, operation, route, principal or reason' }),
})

export type RequestFilter = z.output<typeof RequestFilter>

/** The part of a filter that the store answers. */
export function storeQuery(filter: RequestFilter): Partial<RunQuery> {
  const { status, operation, principal, request_id: requestId, stage, from, to } = filter
  return {
    ...(status === undefined ? {} : { status }),
    ...(operation === undefined ? {} : { operation }),
    ...(principal === undefined ? {} : { principal }),
    ...(requestId === undefined ? {} : { requestId }),
    ...(stage === undefined ? {} : { stage }),
    ...(from === undefined ? {} : { createdFrom: from }),
    ...(to === undefined ? {} : { createdTo: to }),
  }
}
