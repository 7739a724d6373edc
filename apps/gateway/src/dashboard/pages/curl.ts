import type { Payload } from '../view/payload.tsx'

/** The request as a command for a shell, as far as it is shown. */
export function curlOf(
  method: string,
  {
    url,
    headers,
    body,
  }: { readonly url: string; readonly headers: readonly (readonly [string, string])[]; readonly body: Payload },
): string {
  const parts = [`curl -i -X ${method} ${quoted(url)}`]
  for (const [name, value] of headers) if (!skipped.has(name)) parts.push(`-H ${quoted(`${name}: ${value}`)}`)
  if (body.kind === 'json') parts.push(`--data-raw ${quoted(JSON.stringify(body.value))}`)
  if (body.kind === 'text' && typeof body.value === 'string') parts.push(`--data-raw ${quoted(body.value)}`)
  return parts.join(' \\\n  ')
}

/** What curl says itself. */
const skipped: ReadonlySet<string> = new Set(['host', 'content-length', 'connection', 'accept-encoding'])

/** One word of a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
