/** A problem+json answer (RFC 9457) that says whether to try again, and whether with a new key. */
export function problem(
  status: number,
  code: string,
  title: string,
  members: Readonly<Record<string, unknown>>,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return new Response(JSON.stringify({ type: `urn:gw:problem:${code}`, title, status, code, ...members }), {
    status,
    headers: { 'content-type': 'application/problem+json', 'cache-control': 'no-store', ...headers },
  })
}
