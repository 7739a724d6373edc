import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** A node of the JSON Schema of a configuration. */
interface Schema {
  readonly type?: string
  readonly enum?: readonly string[]
  readonly description?: string
  readonly secret?: boolean
  readonly environment?: string
  readonly unit?: string
  readonly fallback?: unknown
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: Schema | false
  readonly items?: Schema
  readonly minimum?: number
  readonly maximum?: number
  readonly minLength?: number
}

const cli = fileURLToPath(new URL('../../apps/gateway/dist/cli.js', import.meta.url))

const printed = new Map<string, unknown>()

/** What `gw` prints where nothing is configured. */
function gw(...args: readonly string[]): never {
  const { PATH = '' } = process.env
  const line = args.join(' ')
  if (!printed.has(line)) printed.set(line, run(args, PATH))
  return printed.get(line) as never
}

function run(args: readonly string[], PATH: string): unknown {
  return JSON.parse(
    execFileSync(process.execPath, [cli, ...args], { cwd: '/', env: { PATH }, encoding: 'utf8' }),
  ) as never
}

const head = `# Configuration

\`gateway.config.{ts,js,json,yaml}\`, then the environment, then flags: a later one wins. \`gw config check\` says everything that is wrong at once, with path and expected value; \`gw config print\` shows what the three come to, secrets masked. A changed file, or SIGHUP, puts new routes, upstreams, breakers and \`maxConcurrentRequests\` in force without dropping a request; anything else takes effect with the next start, and the dashboard and \`gw doctor\` say what waits for it. A file that is not valid, or gone, changes nothing, and \`/health/ready\` says why.

Durations are texts such as \`'500ms'\`, \`'30s'\`, \`'5min'\`, \`'2h'\`; sizes \`'64KB'\`, \`'512MB'\`. Editors get the JSON Schema from \`gw config schema\`. This page is made from it (\`npx pnpm@12.21.0 docs:write\`).

`

const sections: readonly (readonly [path: string, title: string])[] = [
  ['', 'The file'],
  ['admin', '`admin`'],
  ['coldTier', '`coldTier`'],
  ['audit', '`audit`'],
  ['privacy', '`privacy`'],
  ['metrics', '`metrics`'],
  ['telemetry', '`telemetry`'],
  ['alerts', '`alerts`'],
  ['upstreams.*', 'One of `upstreams`'],
  ['routes.*', 'One of `routes`'],
  ['breakers.*', 'One of `breakers`, and `breaker` of an upstream'],
]

/** The page of every option, from the schema, the defaults and the environment's names. */
export function configurationPage(): string {
  const schema = gw('config', 'schema') as Schema
  const defaults = gw('config', 'print', '--json') as Readonly<Record<string, unknown>>
  const parts = sections.map(([path, title]) => {
    const node = path === '' ? schema : at(schema, path.split('.'))
    const rows = Object.entries(node.properties ?? {}).map(([name, option]) => {
      const full = path === '' ? name : `${path}.${name}`
      return `| \`${name}\` | ${kindOf(option)} | ${defaultOf(defaults, full, option)} | ${option.environment === undefined ? '' : `\`${option.environment}\``} | ${sentence(option)} |`
    })
    return `## ${title}\n\n| option | | default | environment | |\n|---|---|---|---|---|\n${rows.join('\n')}\n`
  })
  return head + parts.join('\n')
}

/** Every object of options that the schema has must have a section. */
export function unlisted(schema: Schema = gw('config', 'schema') as Schema, path = ''): string[] {
  const inner = Object.entries(schema.properties ?? {}).flatMap(([name, option]) => {
    const here = path === '' ? name : `${path}.${name}`
    if (option.properties !== undefined) return unlisted(option, here)
    const each = option.items ?? (option.additionalProperties || undefined)
    return each?.properties === undefined ? [] : unlisted(each, `${here}.*`)
  })
  const known = new Set([...sections.map(([listed]) => listed), 'upstreams.*.breaker', 'routes.*.retry'])
  return [...(known.has(path) ? [] : [path]), ...inner]
}

function at(schema: Schema, [first, ...rest]: readonly string[]): Schema {
  if (first === undefined) return schema
  if (first === '*') return at((schema.items ?? schema.additionalProperties) as Schema, rest)
  return at(schema.properties![first]!, rest)
}

function kindOf({ type, enum: choices, unit, items, properties, additionalProperties, secret }: Schema): string {
  const kind =
    choices !== undefined
      ? choices.map((choice) => `\`${choice}\``).join(', ')
      : unit !== undefined
        ? unit
        : type === 'array'
          ? items?.type === 'object'
            ? 'a list'
            : 'a list of texts'
          : properties !== undefined
            ? Object.keys(properties).length === 1
              ? `\`{ ${Object.keys(properties)[0]} }\``
              : 'see below'
            : additionalProperties
              ? 'by name'
              : { string: 'text', boolean: 'yes or no', integer: 'number', number: 'number' }[type ?? 'string']
  return secret === true ? `${kind}, secret` : String(kind)
}

function defaultOf(defaults: Readonly<Record<string, unknown>>, path: string, option: Schema): string {
  const value = path
    .split('.')
    .reduce<unknown>((object, name) => (object as Record<string, unknown> | undefined)?.[name], defaults)
  const inner = Object.values(option.properties ?? {})
  const said = value ?? option.fallback ?? (inner.length === 1 ? inner[0]!.fallback : undefined)
  return said === undefined || typeof said === 'object' ? '' : `\`${said}\``
}

function sentence({ description = '', properties }: Schema): string {
  if (description !== '' || properties === undefined) return description.replaceAll('|', '\\|')
  return Object.values(properties).length === 1 ? (Object.values(properties)[0]!.description ?? '') : ''
}
