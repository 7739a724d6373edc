import { createWriteStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { InferResponseType } from 'hono/client'
import type { AdminClient } from '../../admin/client.ts'
import { confirmed } from '../confirm.ts'
import { CommandError, exit } from '../failure.ts'
import { progressOf } from '../progress.ts'
import { facts, table } from '../table.ts'
import { count, paint, paintAside, plain, relative, terminalWidth } from '../terminal.ts'
import { connectionOf, type GatewayFlags } from './connection.ts'
import { serverSentEvents } from './server-sent-events.ts'

/** Which events, as flags say. */
export interface EventFlags {
  readonly actor?: string
  readonly type?: string
  readonly subject?: string
  readonly stream?: string
  readonly requestId?: string
}

function filterOf({ actor, type, subject, stream, requestId }: EventFlags): Record<string, string> {
  const all = { user_id: actor, event_type: type, subject, stream, request_id: requestId }
  return Object.fromEntries(Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined))
}

type Trail = InferResponseType<AdminClient['admin']['audit-trail']['$get'], 200>
type Event = Pick<Trail['events'][number], 'position' | 'type' | 'time' | 'actor' | 'subject' | 'data'>

/** `gw events query` */
export async function queryEvents(
  flags: GatewayFlags &
    EventFlags & {
      readonly from?: string
      readonly to?: string
      readonly limit: number
      readonly cursor?: string
      readonly json?: boolean
    },
): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const { from, to, limit, cursor } = flags
  const answer = await ask(
    client.admin['audit-trail'].$get({
      query: {
        ...filterOf(flags),
        limit: String(limit),
        ...(from === undefined ? {} : { start_time: from }),
        ...(to === undefined ? {} : { end_time: to }),
        ...(cursor === undefined ? {} : { cursor }),
      },
    }),
  )
  if (flags.json === true) return console.log(JSON.stringify(answer))
  if (answer.events.length === 0) return console.log('No such events.')
  const wide = terminalWidth() >= 110
  console.log(
    table(
      [
        { title: 'position', right: true },
        { title: 'at', right: true },
        { title: 'type', shrinksTo: 16 },
        { title: 'actor', shrinksTo: 8 },
        { title: 'subject', shrinksTo: 12 },
        ...(wide ? [{ title: 'data', shrinksTo: 4 }] : []),
      ],
      answer.events.map(({ position, time, type, actor, subject, data }) => [
        position,
        relative(Date.parse(time)),
        type,
        actor ?? '',
        subject ?? '',
        ...(wide ? [JSON.stringify(data)] : []),
      ]),
    ),
  )
  if (answer.cursor !== null) console.error(paintAside.dim(`There are more: --cursor ${answer.cursor}`))
}

const again = 1_000

/** `gw events tail`: follows the log until it is interrupted, through restarts of the gateway. */
export async function tailEvents(
  flags: GatewayFlags & EventFlags & { readonly fromStart?: boolean; readonly json?: boolean },
): Promise<void> {
  const connection = await connectionOf(flags)
  const query = new URLSearchParams({ ...filterOf(flags), from: flags.fromStart === true ? 'start' : 'end' })
  let last: string | undefined
  for (let connected = false; ; ) {
    try {
      const response = await connection.fetch(`/admin/events/stream?${query}`, {
        headers: last === undefined ? {} : { 'last-event-id': last },
      })
      connected = true
      for await (const { id, data } of serverSentEvents(response.body!)) {
        if (id !== '') last = id
        if (data === '') continue
        const event = JSON.parse(data) as Partial<Event>
        if (event.position !== undefined) console.log(flags.json === true ? data : lineOf(event as Event))
      }
    } catch (error) {
      const gone = !(error instanceof CommandError) || error.exitCode === exit.unavailable
      if (!connected || !gone) throw error
    }
    await new Promise((resolve) => setTimeout(resolve, again))
  }
}

function lineOf({ position, time, type, actor, subject, data }: Event): string {
  const clock = time.slice(11, 23)
  const head = `${paint.dim(`${position.padStart(6)} ${clock}`)} ${paint.bold(plain(type))}`
  const who = [actor, subject].filter((each) => each !== null && each !== '').map((each) => plain(each!))
  const used = 6 + 1 + clock.length + 1 + type.length + who.join(' ').length + 2
  const text = plain(JSON.stringify(data))
  const room = Math.max(0, terminalWidth() - used)
  return `${[head, ...who].join(' ')} ${paint.dim(text.length <= room ? text : `${text.slice(0, Math.max(0, room - 1))}…`)}`
}

/** `gw events verify` of a running gateway, which also compares the log with the checkpoints that it signed. */
export async function verifyOnline(flags: GatewayFlags & { readonly json?: boolean }): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const verification = await ask(client.admin.events.verify.$post())
  printVerification(verification, flags.json === true)
}

/** What a verification found, whoever did it. */
export interface Found {
  readonly ok: boolean
  readonly events: number
  readonly head: { readonly position: string; readonly hash: string }
  readonly root?: string | null | undefined
  readonly retentionCut: string
  readonly problems: readonly { readonly kind: string; readonly position: string; readonly detail: string }[]
  readonly truncationChecked: boolean
}

/** Prints what a verification found, and sets the exit code. */
export function printVerification(found: Found, json: boolean): void {
  const { ok, events, head, root, retentionCut, problems, truncationChecked } = found
  if (!ok) process.exitCode = exit.failed
  if (json) {
    console.log(JSON.stringify({ ...found, root: root ?? null }))
    return
  }
  console.log(
    facts([
      ['events', `${count(events)}${retentionCut === '0' ? '' : `, after ${retentionCut} that were archived`}`],
      ['head', `${head.position} ${head.hash}`],
      ['root', root ?? undefined],
    ]),
  )
  console.log()
  if (!ok)
    console.log(
      table(
        [{ title: 'damage' }, { title: 'at', right: true }, { title: 'what', shrinksTo: 20 }],
        problems.map(({ kind, position, detail }) => [{ text: kind, colour: paint.red }, position, detail]),
      ),
    )
  else
    console.log(
      `${paint.green('Whole')}: every hash was recomputed.${truncationChecked ? ' Nothing is missing at its end, by a checkpoint that was signed before.' : paint.dim(' Whether its end was cut off shows only against a checkpoint that was kept elsewhere.')}`,
    )
}

/** `gw events prove` of a running gateway. */
export async function proveOnline(position: string, flags: GatewayFlags & { readonly output?: string }): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const proof = await ask(client.admin.events.proof.$get({ query: { position } }))
  await writeTo(flags.output, [`${JSON.stringify(proof, undefined, 2)}\n`])
}

/** `gw events export` of a running gateway. */
export async function exportOnline(
  flags: GatewayFlags & EventFlags & { readonly format: string; readonly output?: string },
): Promise<void> {
  const connection = await connectionOf(flags)
  const query = new URLSearchParams({ ...filterOf(flags), format: flags.format })
  const response = await connection.fetch(`/admin/events/export?${query}`)
  const progress = progressOf('Exporting', { unit: 'bytes' })
  let bytes = 0
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const chunk of response.body!) {
      bytes += chunk.length
      if (flags.output !== undefined) progress.at(bytes)
      yield chunk
    }
  }
  await writeTo(flags.output, counted()).finally(() => progress.end())
}

/** Writes to a file, which must not exist, or to stdout. */
export async function writeTo(
  file: string | undefined,
  chunks: AsyncIterable<string | Uint8Array> | Iterable<string | Uint8Array>,
): Promise<void> {
  try {
    if (file === undefined) await pipeline(Readable.from(chunks), process.stdout, { end: false })
    else await pipeline(Readable.from(chunks), createWriteStream(file, { flags: 'wx', mode: 0o600 }))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST')
      throw new CommandError(`${file} exists, and nothing is written over`, exit.failed)
    throw error
  }
}

/** `gw events archive` */
export async function archiveEvents(
  flags: GatewayFlags & { readonly force?: boolean; readonly json?: boolean },
): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const moved = await ask(client.admin.events.archive.$post({ json: flags.force === true ? { force: true } : {} }))
  if (flags.json === true) return console.log(JSON.stringify(moved))
  console.log(
    `${count(moved.sealed)} segments sealed, ${count(moved.archived)} archived, ${count(moved.dropped)} dropped from the store.`,
  )
  if (moved.blocked !== null) {
    const { first, last, by } = moved.blocked
    console.log(paint.yellow(`Events ${first} to ${last} are due, and held back by ${by}.`))
  }
}

/** `gw events erase` */
export async function eraseSubject(
  subject: string,
  flags: GatewayFlags & { readonly tenant?: string; readonly yes?: boolean; readonly json?: boolean },
): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  if (!(await confirmed(`Make everything that is kept of ${subject} unreadable for good?`, flags.yes === true)))
    throw new CommandError('Nothing was done')
  const { tenant } = flags
  const erased = await ask(client.admin.erase.$post({ json: { subject, ...(tenant === undefined ? {} : { tenant }) } }))
  if (flags.json === true) return console.log(JSON.stringify(erased))
  console.log(
    facts([
      ['receipt', erased.receipt],
      ['event', erased.position],
      ['requests', `${count(erased.requests)} unreadable`],
      ['keys', `${count(erased.keys)} removed`],
    ]),
  )
}

/** `gw events rebuild` */
export async function rebuildProjections(
  projection: string | undefined,
  flags: GatewayFlags & { readonly json?: boolean },
): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const { rebuilt } = await ask(
    client.admin.events.rebuild.$post({ json: projection === undefined ? {} : { projection } }),
  )
  if (flags.json === true) return console.log(JSON.stringify({ rebuilt }))
  if (rebuilt.length === 0) return console.log('There are no projections: audit.projections switches them on.')
  console.log(
    table(
      [
        { title: 'projection', shrinksTo: 12 },
        { title: 'generation', right: true },
        { title: 'up to', right: true },
        { title: 'same as before' },
      ],
      rebuilt.map(({ projection: name, generation, position, equal }) => [
        name,
        String(generation),
        position,
        equal ? 'yes' : { text: 'no', colour: paint.yellow },
      ]),
    ),
  )
}
