import type { Context } from 'hono'
import type { Gateway } from '../gateway.ts'
import { AdminProblem } from './problems.ts'
import type { AdminEnv } from './visitor.ts'

/** What a person is about to do. */
export interface Intent {
  readonly type: string
  readonly subject?: string
  readonly data: Readonly<Record<string, unknown>>
}

/**
 * Does what somebody asked for, once it is in the audit trail that they did: where the trail cannot take it, nothing is done. What is
 * refused after all is an event too, so that the trail says how each one went.
 */
export async function audited<Result>(
  c: Context<AdminEnv>,
  gateway: Gateway,
  { type, subject, data }: Intent,
  act: () => Promise<Result> | Result,
): Promise<Result> {
  const { actor, requestId } = c.var
  const about = {
    actor,
    ...(subject === undefined ? {} : { subject }),
    ...(requestId === undefined ? {} : { requestId }),
  }
  const { id } = await gateway.events.append(type, data, about).catch((cause: unknown) => {
    throw unavailable(cause)
  })
  try {
    return await act()
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'internal_error'
    await gateway.events.append('admin.refused', { action: type, code }, { ...about, causationId: id }).catch(() => {})
    throw error
  }
}

function unavailable(cause: unknown): AdminProblem {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unavailable'
  return new AdminProblem(503, 'audit_unavailable', 'The audit trail does not take events now, so nothing was done', {
    headers: { 'retry-after': '1' },
    members: { cause: code, retryable: true },
  })
}
