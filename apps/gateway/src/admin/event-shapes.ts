import { z } from '@hono/zod-openapi'

/** An event of the audit trail. */
export const EventShape = z
  .object({
    position: z.string(),
    id: z.string(),
    stream: z.string(),
    version: z.int(),
    type: z.string(),
    time: z.string(),
    actor: z.string().nullable(),
    subject: z.string().nullable(),
    requestId: z.string().nullable(),
    correlationId: z.string().nullable(),
    causationId: z.string().nullable(),
    traceparent: z.string().nullable(),
    occurredAt: z.number().nullable(),
    schemaVersion: z.int(),
    redaction: z.int(),
    data: z.unknown(),
    hash: z.string(),
  })
  .openapi('Event')
