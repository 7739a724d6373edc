import { createHmac, timingSafeEqual } from 'node:crypto'
import type { EventFilter, EventRecord, EventStore } from '@gw/events'
import { newestEvents } from '../newest-events.ts'
import { AdminProblem } from './problems.ts'

/** A page of events, newest first. */
export interface NewestPage {
  readonly events: readonly EventRecord[]
  /** Where to go on; a page may be short of its limit, or empty, and still have one. Signed, for this filter only. */
  readonly cursor: string | undefined
  /** The newest position that the page could have shown. */
  readonly asOf: string
}

/** Pages through the log from its end. */
export async function newestPage(
  events: EventStore,
  filter: EventFilter,
  { cursor, limit }: { readonly cursor?: string | undefined; readonly limit: number },
): Promise<NewestPage> {
  await events.start()
  const scope = JSON.stringify(filter)
  const end = cursor === undefined ? (await events.store.head()).position + 1n : beforeOf(cursor, scope, events.secret)
  const { events: found, before } = await newestEvents(events, filter, { before: end, limit })
  return {
    events: found,
    cursor: before === undefined ? undefined : `${before}.${macOf(before, scope, events.secret).toString('base64url')}`,
    asOf: (end - 1n).toString(),
  }
}

function beforeOf(cursor: string, scope: string, secret: Uint8Array): bigint {
  const [, before, mac] = /^(\d{1,20})\.([\w-]{43})$/.exec(cursor) ?? []
  if (before !== undefined && mac !== undefined) {
    const [given, right] = [Buffer.from(mac, 'base64url'), macOf(before, scope, secret)]
    if (given.length === right.length && timingSafeEqual(given, right)) return BigInt(before)
  }
  throw new AdminProblem(400, 'invalid_cursor', 'Expected a cursor of this listing')
}

function macOf(before: string, scope: string, secret: Uint8Array): Buffer {
  return createHmac('sha256', secret).update(`newest ${before} ${scope}`).digest()
}
