import { readFileSync, writeFileSync } from 'node:fs'
import { confirmed } from '../confirm.ts'
import { CommandError, exit, messageOf } from '../failure.ts'
import { progressOf } from '../progress.ts'
import { count, counted, paint, paintAside } from '../terminal.ts'
import { type Connection, connectionOf, type GatewayFlags } from './connection.ts'
import { type FilterFlags, filterOf, requestsTable } from './requests.ts'

export type Action = 'resume' | 'retry' | 'cancel'

/** Flags of an action on one request or many. */
export type ActionFlags = GatewayFlags &
  FilterFlags & { readonly dryRun?: boolean; readonly yes?: boolean; readonly json?: boolean }

/** `gw requests resume`, `retry` and `cancel`: of the ids, or of all that a filter shows. */
export async function actOnRequests(action: Action, ids: readonly string[], flags: ActionFlags): Promise<void> {
  const filter = filterOf(flags)
  const filtered = Object.keys(filter).length > 0
  if (ids.length > 0 === filtered)
    throw new CommandError(
      `Expected ids, or a filter such as --status parked, to say which requests to ${action}; not both`,
      exit.usage,
    )
  const connection = await connectionOf(flags)
  if (filtered) return actOnAll(connection, action, filter, flags)
  if (flags.dryRun === true) throw new CommandError('Expected --dry-run with a filter only', exit.usage)
  const { client, ask } = connection
  const results: { request: string; result: string | null; error: string | null }[] = []
  for (const id of ids) {
    try {
      const { result } = await ask(client.admin.requests[':id'][':action'].$post({ param: { id, action } }))
      results.push({ request: id, result, error: null })
      if (flags.json !== true) console.log(`${id}  ${result}`)
    } catch (error) {
      if (!(error instanceof CommandError) || error.exitCode !== exit.failed) throw error
      results.push({ request: id, result: null, error: messageOf(error) })
      if (flags.json !== true) console.error(`${id}  ${paintAside.red(messageOf(error))}`)
      process.exitCode = exit.failed
    }
  }
  if (flags.json === true) console.log(JSON.stringify({ results }))
}

async function actOnAll(
  { client, ask }: Connection,
  action: Action,
  filter: ReturnType<typeof filterOf>,
  {
    dryRun = false,
    yes = false,
    json = false,
  }: { readonly dryRun?: boolean; readonly yes?: boolean; readonly json?: boolean },
): Promise<void> {
  const call = (more: { readonly dryRun?: boolean; readonly confirmation?: string }) =>
    ask(client.admin.requests.bulk.$post({ json: { filter, action, ...more } }))
  const found = await call({ dryRun: true })
  const number = found.exact ? counted(found.count, 'request') : `${count(found.count)} requests or more`
  if (dryRun) {
    if (json) return console.log(JSON.stringify(found))
    if (found.sample.length > 0) console.log(`${requestsTable(found.sample)}\n`)
    return console.log(
      `${number} to ${action}${found.count > found.sample.length ? `, the newest ${found.sample.length} above` : ''}.`,
    )
  }
  if (found.count === 0) return json ? console.log(JSON.stringify(found)) : console.log(`Nothing to ${action}.`)
  if (!json) console.error(requestsTable(found.sample.slice(0, 5)))
  if (!(await confirmed(`${action[0]!.toUpperCase()}${action.slice(1)} ${number}?`, yes)))
    throw new CommandError('Nothing was done')
  const progress = progressOf(`${action}…`, { of: found.count, unit: 'requests' })
  let done = 0
  const failures = new Map<string, number>()
  try {
    // What cannot be done stays in the filter: a round without any that could is the last.
    for (;;) {
      const round = await call({ confirmation: found.confirmation! })
      done += round.done
      progress.at(done)
      if (round.remaining === 0 || round.done === 0) {
        for (const { code } of round.results) if (code !== null) failures.set(code, (failures.get(code) ?? 0) + 1)
        break
      }
    }
  } finally {
    progress.end()
  }
  const failed = [...failures.values()].reduce((sum, each) => sum + each, 0)
  if (json) console.log(JSON.stringify({ done, failed, codes: Object.fromEntries(failures) }))
  else {
    console.log(paint.green(`${count(done)} done`))
    for (const [code, number] of failures) console.log(paint.red(`${count(number)} not done: ${code}`))
  }
  if (failed > 0) process.exitCode = exit.failed
}

/** `gw requests fork` */
export async function forkRequest(
  id: string,
  flags: GatewayFlags & {
    readonly fromStep?: string
    readonly body?: string
    readonly asVersion?: string
    readonly json?: boolean
  },
): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const { fromStep, body, asVersion: version } = flags
  const json = {
    ...(fromStep === undefined ? {} : { fromStep }),
    ...(body === undefined ? {} : { body: textOf(body) }),
    ...(version === undefined ? {} : { version }),
  }
  const forked = await ask(client.admin.requests[':id'].fork.$post({ param: { id }, json }))
  console.log(flags.json === true ? JSON.stringify(forked) : forked.request)
}

/** `gw requests resolve` */
export async function resolveRequest(
  id: string,
  flags: GatewayFlags & {
    readonly rerun?: boolean
    readonly restart?: boolean
    readonly done?: string
    readonly value?: string
    readonly fail?: string
    readonly json?: boolean
  },
): Promise<void> {
  const { rerun, restart, done, value, fail } = flags
  if (
    [rerun, restart, done, fail].filter((given) => given !== undefined).length !== 1 ||
    (value !== undefined && done === undefined)
  )
    throw new CommandError(
      'Expected one decision: --rerun, --restart, --done <step> (with --value <json>), or --fail <reason>',
      exit.usage,
    )
  const decision =
    rerun === true
      ? { kind: 'rerun' as const }
      : restart === true
        ? { kind: 'restart' as const }
        : done !== undefined
          ? { kind: 'done' as const, step: done, ...(value === undefined ? {} : { value: jsonOf('--value', value) }) }
          : { kind: 'fail' as const, reason: fail! }
  const { client, ask } = await connectionOf(flags)
  const answer = await ask(client.admin.requests[':id'].resolve.$post({ param: { id }, json: decision }))
  console.log(flags.json === true ? JSON.stringify(answer) : `${id}  ${answer.result}`)
}

/** `gw requests signal` */
export async function signalRequest(
  id: string,
  name: string,
  value: string | undefined,
  flags: GatewayFlags & { readonly json?: boolean },
): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const json = { name, ...(value === undefined ? {} : { value: jsonOf('the value', value) }) }
  const answer = await ask(client.admin.requests[':id'].signal.$post({ param: { id }, json }))
  console.log(flags.json === true ? JSON.stringify(answer) : `${id}  ${answer.result}`)
}

/** `gw requests export` */
export async function exportRequest(id: string, flags: GatewayFlags & { readonly output?: string }): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const text = `${JSON.stringify(await ask(client.admin.requests[':id'].export.$get({ param: { id } })))}\n`
  if (flags.output === undefined) process.stdout.write(text)
  else writeFileSync(flags.output, text, { mode: 0o600 })
}

/** `gw requests import` */
export async function importRequests(
  files: readonly string[],
  flags: GatewayFlags & { readonly json?: boolean },
): Promise<void> {
  const bundles = files.map((file) => jsonOf(file, read(file)))
  const { client, ask } = await connectionOf(flags)
  const results: { request: string; result: string }[] = []
  for (let at = 0; at < bundles.length; at += 100) {
    const json = { requests: bundles.slice(at, at + 100) as never[] }
    results.push(...(await ask(client.admin.requests.import.$post({ json }))).results)
  }
  if (flags.json === true) console.log(JSON.stringify({ results }))
  else for (const { request, result } of results) console.log(`${request}  ${result}`)
}

/** What follows an option: the text, or what is in a file after `@`. */
export function textOf(given: string): string {
  return given.startsWith('@') ? read(given.slice(1)) : given
}

function read(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8')
  } catch (error) {
    throw new CommandError(`${file} cannot be read`, exit.usage, { cause: error })
  }
}

function jsonOf(what: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new CommandError(`Expected ${what} to be JSON, as in '{"id":1}' or '"text"'`, exit.usage)
  }
}
