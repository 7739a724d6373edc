import type { TierFigures } from '@gw/checkpoint/tiered'
import { segmentsOf } from '@gw/events/archive'
import { createRoute, z } from '@hono/zod-openapi'
import type { Gateway } from '../gateway.ts'
import { audited } from './audited.ts'
import { AdminProblem, adminRoutes, answer, refusals } from './problems.ts'

const Storage = z
  .object({
    kind: z.enum(['memory', 'sqlite', 'postgres']),
    state: z.string(),
    reason: z.string().nullable(),
    pendingWrites: z.int(),
    commits: z.int(),
    directory: z.string(),
    files: z
      .array(z.object({ name: z.string(), bytes: z.int() }))
      .openapi({ description: 'Of this process’s directory' }),
    databaseBytes: z.int().nullable(),
    requests: z.record(z.string(), z.int()).openapi({ description: 'How many of each status' }),
    tiers: z
      .object({
        memory: z.object({ entries: z.int(), bytes: z.int(), hits: z.int(), misses: z.int() }),
        cold: z.object({
          state: z.enum(['off', 'unknown', 'ready', 'refused']),
          backlog: z
            .int()
            .openapi({ description: 'Completed requests that are due and not moved yet, counted up to 10,000' }),
          moved: z.int(),
          failures: z.int(),
          conflicts: z.int(),
          lastError: z.string().nullable(),
        }),
        backup: z
          .object({
            cutAt: z.number().nullable().openapi({ description: 'Every acknowledged write before this is backed up' }),
            segments: z.int(),
            runs: z.int(),
            bytes: z.int(),
            failures: z.int(),
            pendingRuns: z.int(),
          })
          .nullable(),
      })
      .nullable()
      .openapi({ description: 'What lies where and what is still to move, with a cold tier' }),
    events: z.object({
      head: z.string(),
      base: z.string(),
      segments: z.int(),
      archivedSegments: z.int(),
      archivedBytes: z.int(),
    }),
    backups: z.array(z.object({ name: z.string(), bytes: z.int(), at: z.number() })),
  })
  .openapi('Storage')

const show = createRoute({
  method: 'get',
  path: '/admin/storage',
  operationId: 'showStorage',
  summary: 'Shows what lies where, how much it is, and what is still to be done',
  tags: ['storage'],
  responses: { 200: answer(Storage, 'The storage'), ...refusals },
})

const collect = createRoute({
  method: 'post',
  path: '/admin/storage/collect',
  operationId: 'collectGarbage',
  summary: 'Deletes finished requests past their time, now',
  tags: ['storage'],
  responses: { 200: answer(z.object({ collected: z.int() }), 'How many went'), ...refusals },
})

const backup = createRoute({
  method: 'post',
  path: '/admin/storage/backup',
  operationId: 'backUp',
  summary:
    'Backs up now: to the cold tier where there is one, else a consistent copy of the embedded database into a file',
  tags: ['storage'],
  responses: {
    200: answer(
      z.object({
        kind: z.enum(['cold', 'file']),
        file: z.string().nullable(),
        bytes: z.int(),
      }),
      'It is there',
    ),
    ...refusals,
  },
})

const tier = createRoute({
  method: 'post',
  path: '/admin/storage/tier',
  operationId: 'moveToColdTier',
  summary: 'Moves what is due to the cold tier, now',
  tags: ['storage'],
  responses: { 200: answer(z.object({ backlog: z.int(), moved: z.int() }), 'How far it is'), ...refusals },
})

/** `/admin/storage`. */
export function storageRoutes(gateway: Gateway) {
  const { engine, checkpoints, events } = gateway
  return adminRoutes()
    .openapi(show, async (c) => {
      const [requests, head, base, segments, files] = await Promise.all([
        checkpoints.counts(),
        events.store.head(),
        events.store.base(),
        segmentsOf(events.store),
        gateway.storage.files(),
      ])
      const archived = segments.filter(({ segment }) => segment.stored !== undefined)
      const { state, reason = null, pendingWrites, commits } = engine.health
      return c.json(
        {
          kind: engine.kind,
          state,
          reason,
          pendingWrites,
          commits,
          directory: engine.directory,
          files,
          databaseBytes: await gateway.storage.databaseBytes(),
          requests,
          tiers: tiersOf(engine.tiers),
          events: {
            head: head.position.toString(),
            base: base.position.toString(),
            segments: segments.length,
            archivedSegments: archived.length,
            archivedBytes: archived.reduce((sum, { segment }) => sum + segment.bytes, 0),
          },
          backups: await gateway.storage.backups(),
        },
        200,
      )
    })
    .openapi(collect, async (c) => {
      const collected = await audited(c, gateway, { type: 'admin.storage.collect', data: {} }, () =>
        checkpoints.collect(),
      )
      return c.json({ collected }, 200)
    })
    .openapi(backup, async (c) => {
      if (!gateway.storage.canBackUp)
        throw new AdminProblem(
          409,
          'backup_elsewhere',
          'This storage is backed up by its own means: pg_dump, or the snapshots of its server',
        )
      const made = await audited(c, gateway, { type: 'admin.storage.backup', data: {} }, () => gateway.storage.backUp())
      return c.json(made, 200)
    })
    .openapi(tier, async (c) => {
      const moved = await audited(c, gateway, { type: 'admin.storage.tier', data: {} }, () =>
        gateway.storage.moveCold(),
      )
      if (moved === undefined)
        throw new AdminProblem(409, 'cold_tier_off', 'There is no cold tier: give `coldTier` in the options')
      return c.json(moved, 200)
    })
}

function tiersOf(tiers: TierFigures | undefined): z.infer<typeof Storage>['tiers'] {
  if (tiers === undefined) return null
  const { memory, cold, backup } = tiers
  return {
    memory: { ...memory },
    cold: { ...cold, lastError: cold.lastError ?? null },
    backup: backup === undefined ? null : { ...backup, cutAt: backup.cutAt ?? null },
  }
}
