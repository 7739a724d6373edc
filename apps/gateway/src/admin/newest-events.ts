import { createHmac, timingSafeEqual } from 'node:crypto'
import type { EventFilter, EventRecord, EventStore } from '@gw/events'
import { AdminProblem } from './problems.ts'

/** A page of events, newest first. */
export interface NewestPage {
  readonly events: readonly EventRecord[]
  /** Where to go on; a page may be short of its limit, or empty, and still have one. */
  readonly cursor: string | undefined
  readonly asOf: string
}

const smallest = 1_000n
const readsAtMost = 200

/** Reads the log backwards, in windows of positions that grow where the filter shows little. */
export async function newestEvents(
  events: EventStore,
  filter: EventFilter,
  { cursor, limit }: { readonly cursor?: string | undefined; readonly limit: number },
): Promise<NewestPage> {
  await events.start()
  const scope = JSON.stringify(filter)
  const asOf = cursor === undefined ? (await events.store.head()).position : read(cursor, scope, events.secret)
  const found: EventRecord[] = []
  let upTo = asOf
  let window = smallest
  for (let reads = 0; reads < readsAtMost && upTo > 0n; reads++) {
    const after = upTo > window ? upTo - window : 0n
    const page = await events.readStored({ ...filter, after, asOf: upTo, limit: Number(smallest) })
    // A full page may lack the newest of its window; in the smallest window there cannot be more.
    if (page.length === Number(smallest) && window > smallest) {
      window /= 4n
      continue
    }
    for (const event of page.reverse()) {
      found.push(await events.recordOf(event))
      if (found.length === limit) return pageOf(event.position - 1n)
    }
    upTo = after
    if (page.length < 200) window *= 4n
  }
  return pageOf(upTo)

  function pageOf(rest: bigint): NewestPage {
    return { events: found, cursor: rest > 0n ? written(rest, scope, events.secret) : undefined, asOf: asOf.toString() }
  }
}

function written(position: bigint, scope: string, secret: Uint8Array): string {
  return `${position}.${macOf(position, scope, secret).toString('base64url')}`
}

function read(cursor: string, scope: string, secret: Uint8Array): bigint {
  const [, position, mac] = /^(\d{1,20})\.([\w-]{43})$/.exec(cursor) ?? []
  if (position !== undefined && mac !== undefined) {
    const [given, right] = [Buffer.from(mac, 'base64url'), macOf(BigInt(position), scope, secret)]
    if (given.length === right.length && timingSafeEqual(given, right)) return BigInt(position)
  }
  throw new AdminProblem(400, 'invalid_cursor', 'Expected a cursor of this listing')
}

function macOf(position: bigint, scope: string, secret: Uint8Array): Buffer {
  return createHmac('sha256', secret).update(`newest ${position} ${scope}`).digest()
}
