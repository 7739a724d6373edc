import type { CheckpointStore, Outcome, Past, RunInput, RunRecord } from '@gw/checkpoint'
import { z } from '@hono/zod-openapi'
import { Status } from './request-shapes.ts'

const Headers = z.array(z.tuple([z.string(), z.string()]))
const Base64 = z.string().regex(/^[A-Za-z0-9+/]*={0,2}$/, 'expected base64')
const Whole = z.int().min(0)

const Record = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9._:-]{1,128}$/, 'expected an id'),
  requestId: z.string().nullable(),
  operation: z.string(),
  version: z.string(),
  method: z.string(),
  route: z.string(),
  principal: z.string().nullable(),
  subject: z.string().nullable(),
  status: Status,
  fence: Whole,
  revision: z.int().min(1),
  attempt: z.int().min(1),
  recoveries: Whole,
  stage: z.string().nullable(),
  progress: z.number().min(0).max(1).nullable(),
  data: z.string().nullable(),
  reason: z.string().nullable(),
  wakeAt: z.number().nullable(),
  cancelRequested: z.boolean(),
  signals: Whole,
  links: z.record(z.string(), z.unknown()),
  idempotencySeed: z.string().nullable(),
  settled: z.boolean(),
  expiresAt: z.number().nullable(),
  createdAt: z.number(),
  updatedAt: z.number(),
})

/** A request whole, as JSON: its row, its input, its steps and its outcome; bytes in base64. */
export const RequestBundle = z
  .strictObject({
    format: z.literal('gw-request-1'),
    record: Record,
    input: z.strictObject({ url: z.string(), headers: Headers, variables: z.string(), body: Base64 }),
    steps: z.array(
      z.strictObject({
        name: z.string(),
        occurrence: z.int(),
        state: z.enum(['started', 'kept', 'signal', 'unwinding', 'undone']),
        text: z.string().optional(),
        bytes: Base64.optional(),
        attempt: z.int(),
        startedAt: z.number(),
        keptAt: z.number(),
      }),
    ),
    outcome: z.strictObject({ status: z.int(), headers: Headers, body: Base64, retained: z.boolean() }).nullable(),
  })
  .openapi('RequestBundle')

export type RequestBundle = z.infer<typeof RequestBundle>

/** Grown past every owner that the request may still have where it was exported. */
const fenceGap = 1_000_000
const ended: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled', 'dead'])

/** Reads a request whole; again where it changed meanwhile. `undefined` where it is not there. */
export async function readStored(store: CheckpointStore, id: string): Promise<RequestBundle | undefined> {
  for (let tries = 0; tries < 10; tries++) {
    const run = await store.get(id)
    const [input, steps, outcome] = await Promise.all([store.input(id), store.steps(id), store.outcome(id)])
    if (run === undefined || input === undefined) return undefined
    if ((await store.get(id))?.revision === run.revision) return bundleOf(run, input, steps, outcome)
  }
  return undefined
}

function bundleOf(
  run: RunRecord,
  input: RunInput,
  steps: NonNullable<Past['steps']>,
  outcome: Outcome | undefined,
): RequestBundle {
  const { owner: _owner, links, ...record } = run
  const {
    requestId = null,
    principal = null,
    subject = null,
    stage = null,
    progress = null,
    data = null,
    reason = null,
    wakeAt = null,
    idempotencySeed = null,
    expiresAt = null,
  } = run
  const absent = { requestId, principal, subject, stage, progress, data, reason, wakeAt, idempotencySeed, expiresAt }
  return {
    format: 'gw-request-1',
    record: { ...record, ...absent, links: { ...links } },
    input: { ...input, headers: pairs(input.headers), body: base64(input.body) },
    steps: steps.map(({ value, ...step }) => ({
      ...step,
      ...(value === undefined ? {} : typeof value === 'string' ? { text: value } : { bytes: base64(value) }),
    })),
    outcome: outcome === undefined ? null : { ...outcome, headers: pairs(outcome.headers), body: base64(outcome.body) },
  }
}

/** What a store takes for a bundle: what ran is queued, and nobody's. */
export function storedOf({ record, input, steps, outcome }: RequestBundle): {
  readonly record: RunRecord
  readonly input: RunInput
  readonly past: Past
} {
  const over = ended.has(record.status)
  const present = Object.fromEntries(Object.entries(record).map(([name, value]) => [name, value ?? undefined]))
  return {
    record: {
      ...(present as unknown as RunRecord),
      owner: undefined,
      ...(over ? {} : { fence: record.fence + fenceGap, revision: record.revision + 1 }),
      ...(record.status === 'running' ? { status: 'queued' as const } : {}),
    },
    input: { ...input, body: bytes(input.body) },
    past: {
      steps: steps.map(({ text, bytes: base64, ...step }) => ({
        ...step,
        value: base64 === undefined ? text : bytes(base64),
      })),
      ...(outcome === null ? {} : { outcome: { ...outcome, body: bytes(outcome.body) } }),
    },
  }
}

function pairs(headers: readonly (readonly [string, string])[]): [string, string][] {
  return headers.map(([name, value]) => [name, value])
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'base64'))
}
