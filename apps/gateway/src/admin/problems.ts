import { OpenAPIHono, z } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { type ProblemOptions, problem } from '../problem.ts'
import type { AdminEnv } from './visitor.ts'

/** A problem answer (RFC 9457). */
export const Problem = z
  .object({
    type: z.string().openapi({ example: 'urn:gw:problem:not_found' }),
    title: z.string(),
    status: z.int(),
    detail: z.string().optional(),
    code: z.string().openapi({ description: 'In lower snake case; branch on this.' }),
    requestId: z.string().optional(),
  })
  .openapi('Problem')

/** Thrown by a handler to answer with a problem. */
export class AdminProblem extends Error {
  override readonly name = 'AdminProblem'
  readonly status: number
  readonly code: string
  readonly options: ProblemOptions

  constructor(status: number, code: string, title: string, options: ProblemOptions = {}) {
    super(title)
    this.status = status
    this.code = code
    this.options = options
  }
}

const refusal = (description: string) => ({ description, content: { 'application/problem+json': { schema: Problem } } })

/** The problem answers that every route of the admin API can give. */
export const refusals = {
  400: refusal('A parameter or the body is not what it should be; `detail` says where and what was expected'),
  401: refusal('No token, or a wrong one'),
  403: refusal('The role may only look, or the request comes from elsewhere'),
  404: refusal('There is no such thing'),
  409: refusal('What is there does not allow it now'),
  429: refusal('Too many wrong tokens from this address'),
  503: refusal('A store, or the audit trail, does not take it now'),
} as const

/** An answer in JSON. */
export function answer<Schema extends z.ZodType>(schema: Schema, description: string) {
  return { description, content: { 'application/json': { schema } } }
}

/** A part of the admin API; what does not fit a schema is a 400 that names every place. */
export function adminRoutes(): OpenAPIHono<AdminEnv> {
  return new OpenAPIHono<AdminEnv>({
    defaultHook: (result) => {
      if (result.success) {
        const place = unstorable(result.data, '')
        if (place === undefined) return
        const detail = `${place.slice(1)}: expected text without NUL and without half of a surrogate pair`
        const at = result.target === 'json' ? 'invalid_body' : 'invalid_parameter'
        throw new AdminProblem(400, at, 'The request is not what it should be', { detail })
      }
      const errors = result.error.issues.map(({ path, message }) => ({
        [result.target === 'json' ? 'path' : 'parameter']: path.map(String).join('.'),
        message,
      }))
      const where = errors.map(({ message, ...at }) => `${Object.values(at)[0] || 'body'}: ${message}`).join('; ')
      // What stands in a path names a thing.
      if (result.target === 'param')
        throw new AdminProblem(404, 'not_found', 'There is nothing at this path', { detail: where })
      const code = result.target === 'json' ? 'invalid_body' : 'invalid_parameter'
      throw new AdminProblem(400, code, 'The request is not what it should be', { detail: where, members: { errors } })
    },
  })
}

/** What is kept as bytes or as JSON in JSON may hold any text. */
const anyText: ReadonlySet<string> = new Set(['value', 'body', 'text', 'data', 'variables'])

/** Where a text stands that not every store can keep: one with NUL, or that is not well-formed Unicode. */
function unstorable(value: unknown, place: string): string | undefined {
  if (typeof value === 'string') return /\0|\p{Surrogate}/u.test(value) ? place : undefined
  if (typeof value !== 'object' || value === null) return undefined
  for (const [name, inner] of Object.entries(value)) {
    const found = anyText.has(name)
      ? undefined
      : (unstorable(name, `${place}.${name}`) ?? unstorable(inner, `${place}.${name}`))
    if (found !== undefined) return found
  }
  return undefined
}

/** The status that an error of any package means for whoever asked. */
const statuses: Readonly<Record<string, number>> = {
  not_found: 404,
  already_finished: 409,
  not_resumable: 409,
  stale: 409,
  version_conflict: 409,
  id_conflict: 409,
  register_conflict: 409,
  archive_conflict: 409,
  subject_erased: 409,
  payload_erased: 409,
  not_supported: 409,
  privacy_off: 409,
  invalid_query: 400,
  invalid_cursor: 400,
  invalid_option: 400,
  invalid_proof: 409,
  unknown_factory: 404,
  unknown_pool: 404,
  unknown_breaker: 404,
  write_queue_full: 503,
  storage_full: 507,
  unavailable: 503,
  unknown: 503,
  stopped: 503,
  stopping: 503,
  closed: 503,
  failed: 503,
  store_full: 507,
}

/** Turns what a handler threw into a problem; what nobody expected is told to `onUnexpected` and to nobody else. */
export function adminError(error: Error, c: Context, onUnexpected: (error: Error) => void): Response {
  if (error instanceof AdminProblem) return problem(c, error.status, error.code, error.message, error.options)
  if (error instanceof HTTPException) {
    const code = error.status === 400 ? 'invalid_json' : error.status === 413 ? 'body_too_large' : 'bad_request'
    return problem(c, error.status, code, error.message || 'The request was refused')
  }
  const code = 'code' in error ? String(error.code) : 'internal_error'
  const status = Object.hasOwn(statuses, code) ? statuses[code]! : 500
  if (status >= 500) onUnexpected(error)
  if (status === 500) return problem(c, 500, 'internal_error', 'The request failed')
  const headers = status === 503 ? { 'retry-after': '1' } : {}
  return problem(c, status, code, error.message, { headers })
}
