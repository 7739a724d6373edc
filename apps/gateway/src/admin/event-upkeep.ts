import { holds, liftHold, placeHold, retain } from '@gw/events/archive'
import { createRoute, z } from '@hono/zod-openapi'
import type { Gateway } from '../gateway.ts'
import { audited } from './audited.ts'
import { Name } from './parameters.ts'
import { AdminProblem, adminRoutes, answer, refusals } from './problems.ts'

const Retained = z.object({
  sealed: z.int(),
  archived: z.int(),
  dropped: z.int(),
  blocked: z.object({ first: z.string(), last: z.string(), by: z.string() }).nullable().openapi({
    description: 'What is due and held back by a hold or a consumer',
  }),
})

const archive = createRoute({
  method: 'post',
  path: '/admin/events/archive',
  operationId: 'archiveEvents',
  summary: 'Seals full segments and moves those that are due to the archive, now',
  tags: ['events'],
  request: {
    body: {
      required: false,
      content: {
        'application/json': {
          schema: z.strictObject({
            force: z
              .boolean()
              .optional()
              .openapi({ description: 'Whether to go past consumers that have not read so far' }),
          }),
        },
      },
    },
  },
  responses: { 200: answer(Retained, 'What left the store'), ...refusals },
})

const reanchor = createRoute({
  method: 'post',
  path: '/admin/events/reanchor',
  operationId: 'reanchorEvents',
  summary: 'Vouches anew for a log that is no longer what was put outside, as after a restore',
  description: 'What differs, who decided it and why becomes an event that the new checkpoint covers.',
  tags: ['events'],
  request: {
    body: {
      required: true,
      content: { 'application/json': { schema: z.strictObject({ reason: z.string().min(1).max(1_000) }) } },
    },
  },
  responses: { 200: answer(z.object({ checkpoint: z.string() }), 'The new signed checkpoint'), ...refusals },
})

const rebuild = createRoute({
  method: 'post',
  path: '/admin/events/rebuild',
  operationId: 'rebuildProjections',
  summary: 'Builds projections anew beside the old ones and swaps them in',
  tags: ['events'],
  request: {
    body: {
      required: false,
      content: {
        'application/json': {
          schema: z.strictObject({ projection: Name.optional().openapi({ description: 'All, unless given' }) }),
        },
      },
    },
  },
  responses: {
    200: answer(
      z.object({
        rebuilt: z.array(
          z.object({ projection: z.string(), generation: z.int(), position: z.string(), equal: z.boolean() }),
        ),
      }),
      'What was rebuilt, and whether it came out the same',
    ),
    ...refusals,
  },
})

const Hold = z
  .object({
    name: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, 'expected 1 to 64 of A-Z a-z 0-9 . _ -'),
    reason: z.string().min(1).max(1_000),
    filter: z
      .strictObject({ stream: z.string().optional(), subject: z.string().optional(), actor: z.string().optional() })
      .optional(),
  })
  .openapi('LegalHold')

const listHolds = createRoute({
  method: 'get',
  path: '/admin/events/holds',
  operationId: 'listHolds',
  summary: 'Lists the legal holds that stand',
  tags: ['events'],
  responses: { 200: answer(z.object({ holds: z.array(Hold) }), 'The holds'), ...refusals },
})

const place = createRoute({
  method: 'post',
  path: '/admin/events/holds',
  operationId: 'placeHold',
  summary: 'Keeps events in the store until the hold is lifted',
  tags: ['events'],
  request: { body: { required: true, content: { 'application/json': { schema: Hold } } } },
  responses: { 201: answer(Hold, 'The hold'), ...refusals },
})

const lift = createRoute({
  method: 'delete',
  path: '/admin/events/holds/{name}',
  operationId: 'liftHold',
  summary: 'Lifts a legal hold',
  tags: ['events'],
  request: { params: z.object({ name: Name }) },
  responses: { 200: answer(z.object({ lifted: z.string() }), 'It is lifted'), ...refusals },
})

const projections = createRoute({
  method: 'get',
  path: '/admin/projections',
  operationId: 'listProjections',
  summary: 'Shows what was projected from the events: the states of requests, the figures of operations',
  tags: ['events'],
  responses: {
    200: answer(
      z.object({
        projections: z.record(
          z.string(),
          z.object({
            position: z.string(),
            consumer: z.string(),
            parked: z.int(),
            skipped: z.int(),
            state: z.unknown(),
          }),
        ),
      }),
      'The projections by name',
    ),
    ...refusals,
  },
})

/** Retention, legal holds and projections. */
export function eventUpkeepRoutes(gateway: Gateway) {
  const { events } = gateway
  return adminRoutes()
    .openapi(archive, async (c) => {
      const { force = false } = c.req.valid('json') ?? {}
      const { segments, retention } = gateway.keeping
      if (segments === undefined) throw archiveOff()
      const { blocked, ...moved } = await audited(c, gateway, { type: 'admin.events.archive', data: { force } }, () =>
        retain(events, { archive: segments, ...retention, force }),
      )
      return c.json({ ...moved, blocked: blocked ?? null }, 200)
    })
    .openapi(reanchor, async (c) => {
      const { reason } = c.req.valid('json')
      const { actor } = c.var
      const checkpoint = await audited(c, gateway, { type: 'admin.events.reanchor', data: { reason } }, () =>
        gateway.keeping.reanchor(events, { actor, reason }),
      )
      if (checkpoint === undefined) throw archiveOff()
      return c.json({ checkpoint }, 200)
    })
    .openapi(rebuild, async (c) => {
      const { projection } = c.req.valid('json') ?? {}
      const all = gateway.keeping.projections
      if (projection !== undefined && !all.has(projection))
        throw new AdminProblem(404, 'not_found', `There is no projection \`${projection}\``)
      const chosen = projection === undefined ? [...all.values()] : [all.get(projection)!]
      const intent = { type: 'admin.events.rebuild', data: { projection: projection ?? null } }
      const rebuilt = await audited(c, gateway, intent, async () => {
        const done = []
        for (const each of chosen) done.push({ projection: each.name, ...(await each.rebuild()) })
        return done
      })
      return c.json({ rebuilt }, 200)
    })
    .openapi(listHolds, async (c) => c.json({ holds: (await holds(events)).map(plain) }, 200))
    .openapi(place, async (c) => {
      const hold = c.req.valid('json')
      const { filter, ...named } = hold
      const chosen = Object.fromEntries(Object.entries(filter ?? {}).filter(([, value]) => value !== undefined))
      // That it was placed, and by whom, is an event that comes first.
      await placeHold(events, { ...named, ...(filter === undefined ? {} : { filter: chosen }) }, c.var.actor)
      return c.json(hold, 201)
    })
    .openapi(lift, async (c) => {
      const { name } = c.req.valid('param')
      if (!(await liftHold(events, name, c.var.actor)))
        throw new AdminProblem(404, 'not_found', `There is no hold \`${name}\``)
      return c.json({ lifted: name }, 200)
    })
    .openapi(projections, async (c) => {
      const shown: Record<
        string,
        { position: string; consumer: string; parked: number; skipped: number; state: unknown }
      > = {}
      for (const [name, projection] of gateway.keeping.projections) {
        const { position, ...health } = await projection.health()
        shown[name] = { ...health, position: position.toString() }
      }
      return c.json({ projections: shown }, 200)
    })
}

function archiveOff(): AdminProblem {
  return new AdminProblem(409, 'archive_off', 'There is no archive: give `audit.archive` in the options')
}

function plain({ name, reason, filter }: Awaited<ReturnType<typeof holds>>[number]): z.infer<typeof Hold> {
  return { name, reason, ...(filter === undefined ? {} : { filter: { ...filter } }) }
}
