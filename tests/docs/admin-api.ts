import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createGateway } from '@gw/gateway'

interface Operation {
  readonly summary: string
  readonly tags?: readonly string[]
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly required?: boolean }[]
}
interface Document {
  readonly tags: readonly { readonly name: string; readonly description: string }[]
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
}

const head = `# The admin API

What operators and programs ask the admin listener. \`GET /openapi.json\` there has it in OpenAPI 3.1, with every schema; this page is made from it (\`npx pnpm@12.21.0 docs:write\`).

Every path needs a bearer token: \`GW_ADMIN_TOKEN\` may do everything, \`GW_ADMIN_READ_TOKEN\` may do what is a \`GET\`. What changes something is POST or DELETE, from the same origin, and is an audit event before it is done. Errors are \`application/problem+json\`: 400 a parameter that cannot be, 401 no token, 403 a role that may only look, 404 no such thing, 409 not now, 429 too many wrong tokens, 503 the trail or a store does not take it. Lists are pages: \`cursor\` of one gives the next.

In TypeScript the same routes are calls, with their types:

\`\`\`ts
import { adminClient, createGateway } from '@gw/gateway'

const token = 'an-operator-of-this-gateway-0123456789'
const gateway = await createGateway({ dataDir: './data', admin: { token } })
const { adminUrl = '', stop } = await gateway.run({ port: 8000 })

const client = adminClient({ url: adminUrl, token })
const answer = await client.admin.requests.$get({ query: { status: 'parked,dead' } })
if (answer.ok) console.log((await answer.json()).requests.length)

await stop({ drainDelayMs: 0 })
\`\`\`

`

/** The page of every path of the admin API, from its own OpenAPI document. */
export async function adminApiPage(): Promise<string> {
  const document = await openApi()
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), ...operation })),
  )
  const parts = [...document.tags, { name: '', description: 'Beside that' }].map(({ name, description }) => {
    const of = operations.filter(({ tags = [] }) => (name === '' ? tags.length === 0 : tags[0] === name))
    const rows = of.map(({ method, path, summary, parameters = [] }) => {
      const query = parameters
        .filter((parameter) => parameter.in === 'query')
        .map((parameter) => `\`${parameter.name}\``)
      return `| \`${method} ${path}\` | ${summary.replaceAll('|', '\\|')} | ${query.join(', ')} |`
    })
    return rows.length === 0 ? '' : `## ${description}\n\n| path | | query |\n|---|---|---|\n${rows.join('\n')}\n`
  })
  return head + parts.filter((part) => part !== '').join('\n')
}

async function openApi(): Promise<Document> {
  const folder = mkdtempSync(join(tmpdir(), 'gw-openapi-'))
  const token = 'the-one-who-writes-this-page-down'
  const gateway = await createGateway({ dataDir: join(folder, 'data'), admin: { port: 0, token } })
  const { adminUrl, stop } = await gateway.run({ port: 0 })
  try {
    const answer = await fetch(`${adminUrl}/openapi.json`, { headers: { authorization: `Bearer ${token}` } })
    return (await answer.json()) as Document
  } finally {
    await stop({ drainDelayMs: 0 })
    rmSync(folder, { recursive: true, force: true })
  }
}
