import type { RunRecord, StepRecord } from '@gw/checkpoint'
import type { EventRecord, EventStore } from '@gw/events'
import { createRoute, z } from '@hono/zod-openapi'
import type { Gateway } from '../gateway.ts'
import { EventShape } from './event-shapes.ts'
import { nodesOf } from './nodes.ts'
import { limit } from './parameters.ts'
import { adminRoutes, answer, refusals } from './problems.ts'
import { shownHeaders, shownPayload, shownText } from './redacted.ts'
import { findRequests, foundIn } from './request-search.ts'
import { RequestFilter, RequestId, RequestShape, requestOf, Status } from './request-shapes.ts'
import { standstillOf } from './standstill.ts'
import { Moment, timelineOf } from './timeline.ts'
import { traceIdOf } from './trace.ts'

const Step = z
  .object({
    name: z.string(),
    occurrence: z.int(),
    state: z.enum(['started', 'kept', 'signal', 'unwinding', 'undone']),
    attempt: z.int(),
    startedAt: z.number(),
    keptAt: z.number(),
    bytes: z.int(),
  })
  .openapi('Step')

const Payload = z
  .object({
    bytes: z.int(),
    kind: z.enum(['json', 'text', 'binary', 'empty']),
    value: z.unknown(),
    cut: z.boolean(),
  })
  .openapi('Payload', { description: 'With what is named like a secret masked, and what is long cut' })

const KeyOfRequest = z.object({
  hash: z.string(),
  state: z.enum(['in_flight', 'completed', 'corrupt']).nullable(),
  leaseRemainingMs: z.number().nullable(),
  windowRemainingMs: z.number().nullable(),
})

const Detail = z
  .object({
    request: RequestShape,
    why: z
      .object({ cause: z.string(), text: z.string() })
      .openapi({ description: 'Why it makes no progress, in a line' }),
    steps: z.array(Step),
    timeline: z
      .array(Moment)
      .openapi({ description: 'Steps, waits, owners and what people did, in the order of time' }),
    outcome: z.object({ status: z.int(), bytes: z.int(), retained: z.boolean() }).nullable(),
    key: KeyOfRequest.nullable(),
    traceId: z.string().nullable(),
    events: z.array(EventShape).openapi({ description: 'The first 200 of the audit trail about it' }),
  })
  .openapi('RequestDetail')

const list = createRoute({
  method: 'get',
  path: '/admin/requests',
  operationId: 'listRequests',
  summary: 'Lists durable requests, newest first',
  tags: ['requests'],
  request: { query: RequestFilter.extend({ cursor: z.string().optional(), limit: limit(50) }) },
  responses: {
    200: answer(
      z.object({
        requests: z.array(RequestShape),
        cursor: z.string().nullable().openapi({ description: 'Give it back for the next page; null at the end' }),
        counts: z.record(Status, z.int()),
      }),
      'A page of requests, and how many there are of each status',
    ),
    ...refusals,
  },
})

const show = createRoute({
  method: 'get',
  path: '/admin/requests/{id}',
  operationId: 'showRequest',
  summary: 'Shows one request: its steps, outcome, key, events, and why it makes no progress',
  tags: ['requests'],
  request: { params: RequestId },
  responses: { 200: answer(Detail, 'The request'), ...refusals },
})

const payloads = createRoute({
  method: 'get',
  path: '/admin/requests/{id}/payloads',
  operationId: 'showPayloads',
  summary: 'Shows what a request brought, what its steps kept and what was answered, secrets masked',
  tags: ['requests'],
  request: { params: RequestId },
  responses: {
    200: answer(
      z.object({
        input: z
          .object({ url: z.string(), headers: z.array(z.tuple([z.string(), z.string()])), body: Payload })
          .nullable(),
        data: Payload,
        steps: z.array(z.object({ name: z.string(), occurrence: z.int(), state: z.string(), value: Payload })),
        outcome: z
          .object({ status: z.int(), headers: z.array(z.tuple([z.string(), z.string()])), body: Payload })
          .nullable(),
      }),
      'The payloads',
    ),
    ...refusals,
  },
})

/** `/admin/requests`: looking at durable requests. */
export function requestRoutes(gateway: Gateway) {
  const { checkpoints } = gateway
  const found = foundIn(checkpoints)

  return adminRoutes()
    .openapi(list, async (c) => {
      const { cursor, limit: most, ...filter } = c.req.valid('query')
      const [page, counts] = await Promise.all([
        findRequests(checkpoints, filter, { cursor, limit: most }),
        checkpoints.counts(),
      ])
      return c.json({ requests: page.runs.map(requestOf), cursor: page.cursor ?? null, counts }, 200)
    })
    .openapi(show, async (c) => {
      const run = await found(c.req.valid('param').id)
      const [steps, outcome, input] = await Promise.all([
        checkpoints.store.steps(run.id),
        checkpoints.outcome(run.id),
        checkpoints.store.input(run.id).catch(() => undefined),
      ])
      const link = run.links['key'] as { readonly key: string } | undefined
      const key = link === undefined ? undefined : await gateway.idempotency.keyStore.get(link.key)
      const events = await eventsOf(gateway.events, run)
      const owners = await nodesOf(gateway)
      const why = standstillOf({
        run,
        now: checkpoints.now(),
        leaseRemainingMs: owners.find(({ owner }) => owner === run.owner)?.leaseRemainingMs,
        here: checkpoints.isLive(run.id),
        openSteps: openStepsOf(steps),
        served: checkpoints.serves(run.operation),
        room: checkpoints.hasRoom,
        draining: checkpoints.stopping,
        storage: gateway.engine.health.state,
      })
      return c.json(
        {
          request: requestOf(run),
          why,
          steps: steps.map(({ value, ...step }) => ({ ...step, bytes: sizeOf(value) })),
          timeline: timelineOf(run, steps, events),
          outcome:
            outcome === undefined
              ? null
              : { status: outcome.status, bytes: outcome.body.byteLength, retained: outcome.retained },
          key:
            link === undefined
              ? null
              : {
                  hash: link.key,
                  state: key?.state ?? null,
                  leaseRemainingMs: key?.leaseRemainingMs ?? null,
                  windowRemainingMs: key?.windowRemainingMs ?? null,
                },
          traceId: traceIdOf(run, input),
          events,
        },
        200,
      )
    })
    .openapi(payloads, async (c) => {
      const run = await found(c.req.valid('param').id)
      const [input, steps, outcome] = await Promise.all([
        checkpoints.store.input(run.id),
        checkpoints.store.steps(run.id),
        checkpoints.outcome(run.id),
      ])
      return c.json(
        {
          input:
            input === undefined
              ? null
              : { url: shownUrl(input.url), headers: pairs(input.headers), body: shownPayload(input.body) },
          data: shownText(run.data ?? '', sizeOf(run.data)),
          steps: steps.map(({ name, occurrence, state, value }) => ({
            name,
            occurrence,
            state,
            value:
              typeof value === 'string' ? shownText(value, sizeOf(value)) : shownPayload(value ?? new Uint8Array()),
          })),
          outcome:
            outcome === undefined
              ? null
              : { status: outcome.status, headers: pairs(outcome.headers), body: shownPayload(outcome.body) },
        },
        200,
      )
    })
}

/** Its first events; from its acceptance on, so that what came before it is not looked at. */
async function eventsOf(events: EventStore, { id, createdAt }: RunRecord): Promise<EventRecord[]> {
  const page = await events.query({ subject: id, from: createdAt - clockSkewMs, limit: 200 })
  return [...page.events]
}

const clockSkewMs = 60_000

function openStepsOf(steps: readonly StepRecord[]): string[] {
  const kept = new Set(
    steps.filter(({ state }) => state === 'kept').map(({ name, occurrence }) => `${name}#${occurrence}`),
  )
  return steps
    .filter(({ state }) => state === 'started')
    .map(({ name, occurrence }) => `${name}#${occurrence}`)
    .filter((step) => !kept.has(step))
}

function sizeOf(value: string | Uint8Array | undefined): number {
  return typeof value === 'string' ? Buffer.byteLength(value) : (value?.length ?? 0)
}

function pairs(headers: readonly (readonly [string, string])[]): [string, string][] {
  return shownHeaders(headers).map(([name, value]) => [name, value])
}

/** Without the values of parameters that are named like secrets. */
function shownUrl(url: string): string {
  return url.replace(/([?&][^=&#]{0,64}(?:token|key|sig|password|secret)[^=&#]{0,64}=)[^&#]*/gi, '$1[redacted]')
}
