import type { EventFilter } from '@gw/events'
import { createRoute, z } from '@hono/zod-openapi'
import type { Gateway } from '../gateway.ts'
import { EventShape } from './event-shapes.ts'
import { newestPage } from './newest-events.ts'
import { limit, Time } from './parameters.ts'
import { adminRoutes, answer, refusals } from './problems.ts'

const filters = {
  user_id: z.string().optional().openapi({ description: 'Who did it' }),
  event_type: z.string().optional().openapi({ description: 'One type, or several separated by commas' }),
  request_id: z.string().optional(),
  stream: z.string().optional(),
  subject: z
    .string()
    .optional()
    .openapi({ description: 'What it was done to: the id of a request, the name of a breaker' }),
}

/** Which events; `from` and `to` are told apart, because a stream that is followed has no end. */
export const EventFilterQuery = z.object(filters)

const Query = z.object({
  ...filters,
  start_time: Time.optional(),
  end_time: Time.optional(),
  order: z.enum(['oldest', 'newest']).optional().openapi({ description: 'Which come first: the oldest, unless given' }),
  cursor: z.string().optional(),
  limit: limit(1_000),
})

const trail = createRoute({
  method: 'get',
  path: '/admin/audit-trail',
  operationId: 'auditTrail',
  summary: 'Lists events in the order of their positions, or the newest first',
  tags: ['events'],
  request: { query: Query },
  responses: {
    200: answer(
      z.object({
        events: z.array(EventShape),
        total_count: z.int().openapi({ description: 'How many there are in this answer' }),
        cursor: z.string().nullable().openapi({ description: 'Give it back for the next page; null at the end' }),
        as_of: z.string().openapi({ description: 'The last position that these pages will show' }),
        query_filters: z.object({
          user_id: z.string().nullable(),
          event_type: z.string().nullable(),
          start_time: z.string().nullable(),
          end_time: z.string().nullable(),
        }),
      }),
      'A page of events',
    ),
    ...refusals,
  },
})

/** What the event store calls the filters of a query. */
export function eventFilterOf(query: z.output<typeof EventFilterQuery>): EventFilter {
  const { user_id: actor, event_type: types, request_id: requestId, stream, subject } = query
  const type = types?.split(',').filter((name) => name !== '')
  return {
    ...(actor === undefined ? {} : { actor }),
    ...(type === undefined || type.length === 0 ? {} : { type: type.length === 1 ? type[0]! : type }),
    ...(requestId === undefined ? {} : { requestId }),
    ...(stream === undefined ? {} : { stream }),
    ...(subject === undefined ? {} : { subject }),
  }
}

/** `/admin/audit-trail`, with the guide's parameters and answer, and a cursor for what is beyond `limit`. */
export function auditTrailRoutes(gateway: Gateway) {
  return adminRoutes().openapi(trail, async (c) => {
    const { start_time: from, end_time: to, order, cursor, limit: most, ...wanted } = c.req.valid('query')
    const filter = {
      ...eventFilterOf(wanted),
      ...(from === undefined ? {} : { from }),
      ...(to === undefined ? {} : { to }),
    }
    const page =
      order === 'newest'
        ? await newestPage(gateway.events, filter, { cursor, limit: most })
        : await gateway.events.query({ ...filter, ...(cursor === undefined ? {} : { cursor }), limit: most })
    const given = c.req.query()
    return c.json(
      {
        events: [...page.events],
        total_count: page.events.length,
        cursor: page.cursor ?? null,
        as_of: page.asOf,
        query_filters: {
          user_id: given['user_id'] ?? null,
          event_type: given['event_type'] ?? null,
          start_time: given['start_time'] ?? null,
          end_time: given['end_time'] ?? null,
        },
      },
      200,
    )
  })
}
