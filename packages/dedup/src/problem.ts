import type { TypedResponse } from 'hono'
import { exposedFields } from './replay.ts'

/** The codes a client can meet, each with its status. */
export interface DedupProblemStatus {
  idempotency_key_missing: 400
  idempotency_key_invalid: 400
  content_digest_invalid: 400
  json_too_deep: 400
  idempotency_request_in_flight: 409
  idempotency_outcome_unknown: 409
  idempotency_response_unavailable: 409
  body_too_large: 413
  idempotency_key_reused: 422
  idempotency_store_unavailable: 503
}

/** Why a request was not run, or its answer not given. */
export type DedupProblemCode = keyof DedupProblemStatus

/** A problem (RFC 9457) that says whether to try again, and whether a new key would be safe. */
export interface DedupProblem<Code extends DedupProblemCode = DedupProblemCode> {
  type: `urn:gw:problem:${Code}`
  title: string
  status: DedupProblemStatus[Code]
  code: Code
  detail?: string
  instance?: string
  requestId?: string
  /** Whether the same request may be sent again with the same key. */
  retryable: boolean
  /** Whether sending the request with another key can do no harm. */
  safeToUseNewKey?: boolean
}

type Typed<Code extends DedupProblemCode> = Code extends DedupProblemCode
  ? Response & TypedResponse<DedupProblem<Code>, DedupProblemStatus[Code], 'json'>
  : never

/** Every answer that `dedup()` can give by itself, as typed clients see it. */
export type DedupProblemResponse = Typed<DedupProblemCode>

/** What an answer says beside its code. */
export interface ProblemOptions {
  readonly detail?: string
  readonly requestId?: string | undefined
  readonly retryable: boolean
  readonly safeToUseNewKey?: boolean
  readonly headers?: Readonly<Record<string, string>>
}

const statusOf: { readonly [Code in DedupProblemCode]: DedupProblemStatus[Code] } = {
  idempotency_key_missing: 400,
  idempotency_key_invalid: 400,
  content_digest_invalid: 400,
  json_too_deep: 400,
  idempotency_request_in_flight: 409,
  idempotency_outcome_unknown: 409,
  idempotency_response_unavailable: 409,
  body_too_large: 413,
  idempotency_key_reused: 422,
  idempotency_store_unavailable: 503,
}

/** Makes a problem+json answer. */
export function problem(
  code: DedupProblemCode,
  title: string,
  { detail, requestId, retryable, safeToUseNewKey, headers = {} }: ProblemOptions,
): DedupProblemResponse {
  const status = statusOf[code]
  const members = { type: `urn:gw:problem:${code}`, title, status, code, detail, requestId, retryable, safeToUseNewKey }
  return new Response(JSON.stringify(members), {
    status,
    headers: {
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      'access-control-expose-headers': exposedFields,
      ...headers,
    },
  }) as DedupProblemResponse
}
