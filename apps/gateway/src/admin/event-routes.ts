import { eventStream, stats } from '@gw/events'
import { exportCloudEvents } from '@gw/events/cloudevents'
import { checkpoints, exportBundle, openNote, originOf, prove, proveConsistency } from '@gw/events/proofs'
import { createRoute, z } from '@hono/zod-openapi'
import type { Gateway } from '../gateway.ts'
import { EventFilterQuery, eventFilterOf } from './audit-trail.ts'
import { Position } from './parameters.ts'
import { AdminProblem, adminRoutes, answer, refusals } from './problems.ts'
import { streamOf, until } from './streams.ts'

const Head = z.object({ position: z.string(), hash: z.string() })

const Verification = z
  .object({
    ok: z.boolean(),
    events: z.int(),
    head: Head,
    root: z.string().nullable(),
    problems: z.array(z.object({ kind: z.string(), position: z.string(), detail: z.string() })),
    retentionCut: z.string(),
    truncationChecked: z
      .boolean()
      .openapi({ description: 'Whether the log was compared with a checkpoint that was signed before' }),
  })
  .openapi('Verification')

const overview = createRoute({
  method: 'get',
  path: '/admin/events',
  operationId: 'eventStats',
  summary: 'Says how the log is: its head, what retention took, its consumers',
  tags: ['events'],
  responses: {
    200: answer(
      z.object({
        id: z.string(),
        origin: z.string(),
        gapless: z.boolean(),
        head: z.string(),
        base: z.string(),
        lastTime: z.string().nullable(),
        buffered: z.int(),
        consumers: z.array(z.object({ name: z.string(), position: z.string(), working: z.boolean() })),
        parked: z.int(),
        dead: z.int(),
      }),
      'The figures of the log',
    ),
    ...refusals,
  },
})

const stream = createRoute({
  method: 'get',
  path: '/admin/events/stream',
  operationId: 'followEvents',
  summary: 'Follows the log as server-sent events; `Last-Event-ID` goes on exactly after an event',
  tags: ['events'],
  request: {
    query: EventFilterQuery.extend({
      from: z.enum(['start', 'end']).optional().openapi({ description: 'Where to begin without `Last-Event-ID`: end' }),
    }),
    headers: z.object({ 'last-event-id': Position.optional() }),
  },
  responses: {
    200: { description: 'Events as they come', content: { 'text/event-stream': { schema: z.string() } } },
    ...refusals,
  },
})

const verifyRoute = (method: 'get' | 'post', operationId: string) =>
  createRoute({
    method,
    path: '/admin/events/verify',
    operationId,
    summary: 'Recomputes every hash of the log, and compares it with the checkpoints that were signed',
    tags: ['events'],
    responses: { 200: answer(Verification, 'What was found'), ...refusals },
  })
const verifyGet = verifyRoute('get', 'verifyEvents')
const verifyPost = verifyRoute('post', 'verifyEventsNow')

const Proof = z
  .object({
    origin: z.string(),
    verifier: z.string().openapi({ description: 'The public key; keep it where you verify' }),
    checkpoint: z.string().openapi({ description: 'A signed note (C2SP tlog-checkpoint); keep it elsewhere' }),
    checkpoints: z
      .array(z.string())
      .openapi({ description: 'Those that were signed before, the newest 100, oldest first' }),
    inclusion: z
      .object({
        event: z.string(),
        before: z.string(),
        index: z.string(),
        size: z.string(),
        path: z.array(z.string()),
        note: z.string(),
      })
      .nullable(),
    consistency: z.object({ older: z.string(), newer: z.string(), path: z.array(z.string()) }).nullable(),
  })
  .openapi('Proof')

const proof = createRoute({
  method: 'get',
  path: '/admin/events/proof',
  operationId: 'proveEvents',
  summary: 'Signs what the log is now, and proves that an event is in it, or that it is an older one grown',
  tags: ['events'],
  request: {
    query: z.object({
      position: Position.optional().openapi({ description: 'Proves that this event is in the log' }),
      from: Position.optional().openapi({ description: 'Proves that the log of so many events is the beginning of' }),
      to: Position.optional().openapi({ description: 'the log of so many: all, unless given' }),
    }),
  },
  responses: { 200: answer(Proof, 'The signed checkpoint and the proofs'), ...refusals },
})

const exportRoute = createRoute({
  method: 'get',
  path: '/admin/events/export',
  operationId: 'exportEvents',
  summary:
    'Gives the log as a stream: CloudEvents 1.0, one event a line, or a bundle that can be verified without this gateway',
  tags: ['events'],
  request: {
    query: EventFilterQuery.extend({ format: z.enum(['cloudevents', 'ndjson', 'bundle']).optional() }),
  },
  responses: {
    200: {
      description: 'The events; a bundle takes no filter',
      content: {
        'application/cloudevents-batch+json': { schema: z.array(z.object({ specversion: z.literal('1.0') }).loose()) },
        'application/x-ndjson': { schema: z.string() },
      },
    },
    ...refusals,
  },
})

const maxStreams = 100

/** `/admin/events`: following, verifying, proving and exporting the log. */
export function eventRoutes(gateway: Gateway) {
  const { events } = gateway
  let streams = 0

  async function verification() {
    const { problems, root, ...found } = await gateway.keeping.verify(events)
    return { ...found, root: root ?? null, problems: [...problems] }
  }

  return adminRoutes()
    .openapi(overview, async (c) => {
      const { lastTime, consumers, ...figures } = await stats(events)
      return c.json(
        { ...figures, origin: originOf(events), lastTime: lastTime ?? null, consumers: [...consumers] },
        200,
      )
    })
    .openapi(stream, async (c) => {
      const { from = 'end', ...filter } = c.req.valid('query')
      if (streams >= maxStreams)
        throw new AdminProblem(503, 'too_many_streams', 'As many event streams are open as may be', {
          headers: { 'retry-after': '5' },
        })
      if (gateway.closing.aborted)
        throw new AdminProblem(503, 'draining', 'This gateway shuts down', { headers: { 'retry-after': '1' } })
      const response = eventStream(events, c.req.raw, { from, filter: eventFilterOf(filter) })
      streams++
      return new Response(
        until(gateway.closing, response.body!, () => streams--),
        response,
      ) as never
    })
    .openapi(verifyGet, async (c) => c.json(await verification(), 200))
    .openapi(verifyPost, async (c) => c.json(await verification(), 200))
    .openapi(proof, async (c) => {
      const { position, from, to } = c.req.valid('query')
      const signer = await gateway.keeping.signer()
      const inclusion = position === undefined ? null : await prove(events, BigInt(position), signer)
      const checkpoint = inclusion?.note ?? (await gateway.keeping.sign(events))
      const size = (await openNote(checkpoint, [signer.verifier])).size
      const consistency =
        from === undefined ? null : await proveConsistency(events, BigInt(from), to === undefined ? size : BigInt(to))
      return c.json(
        {
          origin: originOf(events),
          verifier: signer.verifier,
          checkpoint,
          checkpoints: (await checkpoints(events)).slice(-100),
          inclusion: inclusion && { ...inclusion, path: [...inclusion.path] },
          consistency: consistency && { ...consistency, path: [...consistency.path] },
        },
        200,
      )
    })
    .openapi(exportRoute, async (c) => {
      const { format = 'cloudevents', ...query } = c.req.valid('query')
      const filter = eventFilterOf(query)
      await events.start()
      if (format === 'bundle' && Object.keys(filter).length > 0)
        throw new AdminProblem(
          400,
          'invalid_parameter',
          'Expected no filter with `format=bundle`: the chain is whole or none',
        )
      const notes = format === 'bundle' ? [await gateway.keeping.sign(events)] : []
      const lines =
        format === 'bundle'
          ? exportBundle(events, { notes })
          : format === 'ndjson'
            ? ndjson()
            : exportCloudEvents(events, { filter })
      const type = format === 'cloudevents' ? 'application/cloudevents-batch+json' : 'application/x-ndjson'
      return new Response(streamOf(lines), {
        headers: {
          'content-type': type,
          'content-disposition': `attachment; filename="events.${format === 'cloudevents' ? 'json' : 'ndjson'}"`,
        },
      }) as never

      async function* ndjson(): AsyncGenerator<string> {
        for await (const batch of events.subscribe({ live: false, batch: 1_000, filter }))
          for (const event of batch.events) yield `${JSON.stringify(event)}\n`
      }
    })
}
