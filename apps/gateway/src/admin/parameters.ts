import { z } from '@hono/zod-openapi'

/** A time as people and the guide give it: ISO 8601, or seconds since 1970. In handlers it is milliseconds since 1970. */
export const Time = z
  .string()
  .transform((text, context) => {
    const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1_000 : Date.parse(text)
    if (Number.isFinite(ms)) return Math.round(ms)
    context.addIssue({ code: 'custom', message: `expected an ISO 8601 time or seconds since 1970, got \`${text}\`` })
    return z.NEVER
  })
  .openapi({ type: 'string', example: '2026-01-31T12:00:00Z' })

/** How many to show; from a query, where everything is text. */
export function limit(fallback: number, max = 1_000) {
  return z
    .string()
    .optional()
    .transform((text, context) => {
      const number = text === undefined ? fallback : Number(text)
      if (Number.isInteger(number) && number >= 1 && number <= max) return number
      context.addIssue({ code: 'custom', message: `expected a whole number from 1 to ${max}, got \`${text}\`` })
      return z.NEVER
    })
    .openapi({ type: 'integer', minimum: 1, maximum: max, default: fallback })
}

/** A yes or no in a query. */
export const Flag = z.enum(['true', 'false']).optional()

/** A position in the log: it may pass 2^53, so it is text. */
export const Position = z.string().regex(/^(0|[1-9]\d{0,19})$/, 'expected a position')

/** A name that stands in a path. */
export const Name = z.string().min(1).max(256)
