import type { InferResponseType } from 'hono/client'
import type { AdminClient } from '../../admin/client.ts'
import { type Cell, facts, table } from '../table.ts'
import { count, paint, paintAside, period, relative, size, terminalWidth } from '../terminal.ts'
import { connectionOf, type GatewayFlags } from './connection.ts'

type Listing = InferResponseType<AdminClient['admin']['requests']['$get'], 200>
export type ListedRequest = Listing['requests'][number]

/** Which requests, as flags say. */
export interface FilterFlags {
  readonly status?: string
  readonly operation?: string
  readonly principal?: string
  readonly requestId?: string
  readonly stage?: string
  readonly from?: string
  readonly to?: string
  readonly text?: string
}

/** A filter as the admin API takes it. */
export function filterOf({ requestId, ...flags }: FilterFlags) {
  const { status, operation, principal, stage, from, to, text } = flags
  const all = { status, operation, principal, request_id: requestId, stage, from, to, text }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as {
    [Name in keyof typeof all]?: string
  }
}

const tones: Readonly<Record<string, (text: string) => string>> = {
  completed: paint.green,
  running: paint.cyan,
  failed: paint.red,
  dead: paint.red,
  parked: paint.yellow,
  waiting: paint.yellow,
  cancelled: paint.dim,
}

function statusCell(status: string): Cell {
  const colour = tones[status]
  return colour === undefined ? status : { text: status, colour }
}

/** Requests as a table. */
export function requestsTable(requests: readonly ListedRequest[]): string {
  const wide = terminalWidth() >= 100
  return table(
    [
      { title: 'request' },
      { title: 'operation', shrinksTo: 9 },
      { title: 'status' },
      ...(wide ? [{ title: 'stage', shrinksTo: 5 }] : []),
      { title: 'done', right: true },
      { title: 'accepted', right: true },
    ],
    requests.map(({ id, operation, status, stage, progress, createdAt }) => [
      id,
      operation,
      statusCell(status),
      ...(wide ? [stage ?? ''] : []),
      progress === null ? '' : `${Math.round(progress * 100)} %`,
      relative(createdAt),
    ]),
  )
}

/** `gw requests ls` */
export async function listRequests(
  flags: GatewayFlags & FilterFlags & { readonly limit: number; readonly cursor?: string; readonly json?: boolean },
): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const { limit, cursor } = flags
  const query = { ...filterOf(flags), limit: String(limit), ...(cursor === undefined ? {} : { cursor }) }
  const answer = await ask(client.admin.requests.$get({ query }))
  if (flags.json === true) return console.log(JSON.stringify(answer))
  if (answer.requests.length === 0) return console.log('No such requests.')
  console.log(requestsTable(answer.requests))
  if (answer.cursor !== null) console.error(paintAside.dim(`There are more: --cursor ${answer.cursor}`))
}

/** `gw requests show` */
export async function showRequest(
  id: string,
  flags: GatewayFlags & { readonly payloads?: boolean; readonly json?: boolean },
): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const param = { id }
  const detail = await ask(client.admin.requests[':id'].$get({ param }))
  const payloads =
    flags.payloads === true ? await ask(client.admin.requests[':id'].payloads.$get({ param })) : undefined
  if (flags.json === true) return console.log(JSON.stringify({ ...detail, ...(payloads && { payloads }) }))
  const { request, why, steps, outcome, key, traceId, events } = detail
  const sections = [
    facts([
      ['request', request.id],
      ['operation', `${request.operation} (version ${request.version})`],
      ['route', `${request.method} ${request.route}`],
      ['status', statusCell(request.status)],
      ['why', why.text],
      ['principal', request.principal ?? undefined],
      ['subject', request.subject ?? undefined],
      ['request id', request.requestId ?? undefined],
      ['trace', traceId ?? undefined],
      ['forked from', request.forkedFrom ?? undefined],
      ['stage', stageOf(request)],
      ['attempt', request.attempt > 1 ? String(request.attempt) : undefined],
      ['recoveries', request.recoveries > 0 ? String(request.recoveries) : undefined],
      ['accepted', `${new Date(request.createdAt).toISOString()} (${relative(request.createdAt)})`],
      ['changed', relative(request.updatedAt)],
      ['goes on', request.wakeAt === null ? undefined : relative(request.wakeAt)],
      ['kept until', request.expiresAt === null ? undefined : relative(request.expiresAt)],
      [
        'answer',
        outcome === null
          ? undefined
          : `${outcome.status}, ${size(outcome.bytes)}${outcome.retained ? '' : ' (not kept)'}`,
      ],
      ['key', key === null ? undefined : `${key.hash} ${key.state ?? 'gone'}`],
    ]),
    steps.length > shownSteps
      ? paint.dim(`${count(steps.length - shownSteps)} earlier steps are not shown; --json has them.`)
      : '',
    steps.length === 0
      ? ''
      : table(
          [
            { title: 'step', shrinksTo: 12 },
            { title: 'state' },
            { title: 'attempt', right: true },
            { title: 'took', right: true },
            { title: 'size', right: true },
            { title: 'at', right: true },
          ],
          steps
            .slice(-shownSteps)
            .map(({ name, occurrence, state, attempt, startedAt, keptAt, bytes }) => [
              `${name}#${occurrence}`,
              state,
              String(attempt),
              state === 'started' ? '' : period(keptAt - startedAt),
              size(bytes),
              relative(keptAt),
            ]),
        ),
    events.length === 0
      ? ''
      : table(
          [
            { title: 'event', right: true },
            { title: 'type', shrinksTo: 12 },
            { title: 'actor', shrinksTo: 8 },
            { title: 'at', right: true },
          ],
          events
            .slice(-shownSteps)
            .map(({ position, type, actor, time }) => [position, type, actor ?? '', relative(Date.parse(time))]),
        ),
    payloads === undefined ? '' : JSON.stringify(payloads, undefined, 2),
  ]
  console.log(sections.filter((section) => section !== '').join('\n\n'))
}

/** What fits on a screen. */
const shownSteps = 20

function stageOf({ stage, progress }: ListedRequest): string | undefined {
  if (stage === null && progress === null) return undefined
  const done = progress === null ? '' : `${Math.round(progress * 100)} %`
  return [stage ?? '', done].filter((part) => part !== '').join(', ')
}
