/** An answer of `application/problem+json` (RFC 9457). */
export function problem(
  status: number,
  code: string,
  title: string,
  headers: Readonly<Record<string, string>> = {},
  members: Readonly<Record<string, unknown>> = {},
): Response {
  return new Response(JSON.stringify({ type: `urn:gw:problem:${code}`, title, status, code, ...members }), {
    status,
    headers: { 'content-type': 'application/problem+json', ...headers },
  })
}
