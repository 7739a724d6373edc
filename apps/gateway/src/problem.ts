import type { Context } from 'hono'

/** What a problem says beside its code and title. */
export interface ProblemOptions {
  readonly detail?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Further members of the body (RFC 9457 §3.2). */
  readonly members?: Readonly<Record<string, unknown>>
}

/** Answers with `application/problem+json` (RFC 9457) in the shape that every package uses. */
export function problem(
  c: Context,
  status: number,
  code: string,
  title: string,
  { detail, headers, members }: ProblemOptions = {},
): Response {
  const requestId: unknown = c.get('requestId')
  return new Response(
    JSON.stringify({
      type: `urn:gw:problem:${code}`,
      title,
      status,
      ...(detail === undefined ? {} : { detail }),
      code,
      ...(requestId === undefined ? {} : { requestId }),
      ...members,
    }),
    { status, headers: { 'content-type': 'application/problem+json', 'cache-control': 'no-store', ...headers } },
  )
}
