import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { EventLog } from '@gw/events'
import { eventOfLine } from '@gw/events/proofs'
import { CommandError } from '../failure.ts'
import { fixedLog } from './fixed-log.ts'

type StoredEvent = Awaited<ReturnType<EventLog['read']>>[number]

/** Where every so many events begin in the file. */
const stride = 256n

/** What a bundle carries beside its events. */
export interface Bundle {
  readonly log: EventLog
  readonly notes: readonly string[]
}

/** The log of a bundle, as it lies in a file, for proofs. What is damaged in it is for a verification to say. */
export async function openBundle(file: string): Promise<Bundle> {
  const offsets: number[] = []
  let header:
    | {
        log: string
        base: { position: string; time: number; hash: string }
        frontier: string[] | null
        notes: string[]
      }
    | undefined
  let last: StoredEvent | undefined
  let at = 0
  for await (const line of linesFrom(file, 0)) {
    if (header === undefined) header = headerOf(file, line)
    else {
      const event = eventOfLine(line)
      if (event === undefined) break
      const first = BigInt(header.base.position) + 1n
      if ((event.position - first) % stride === 0n) offsets.push(at)
      last = event
    }
    at += Buffer.byteLength(line) + 1
  }
  if (header === undefined) throw new CommandError(`${file} is empty`)
  const { log: id, base: from, frontier, notes } = header
  const base = { position: BigInt(from.position), time: from.time, hash: Buffer.from(from.hash, 'hex') }
  const head = last ?? base
  const edge = JSON.stringify({ size: from.position, roots: frontier ?? [] })
  const log = fixedLog({
    id,
    base,
    head: { position: head.position, time: head.time, hash: head.hash },
    registers: frontier === null ? [] : [{ name: 'log/frontier', value: edge }],
    async read({ after, asOf, limit }) {
      const found: StoredEvent[] = []
      const begin = after > base.position ? after - base.position : 0n
      const offset = offsets[Number(begin / stride)]
      if (offset === undefined) return found
      for await (const line of linesFrom(file, offset)) {
        const event = eventOfLine(line)
        if (event === undefined || event.position > asOf) break
        if (event.position <= after) continue
        found.push(event)
        if (found.length === limit) break
      }
      return found
    },
  })
  return { log, notes }
}

function headerOf(file: string, line: string) {
  try {
    const header = JSON.parse(line)
    if (header.format === 'gw-events-1' && typeof header.log === 'string') return header
  } catch {
    // Said below.
  }
  throw new CommandError(`${file} is no bundle of events: gw events export --format bundle makes one`)
}

async function* linesFrom(file: string, start: number): AsyncGenerator<string> {
  const stream = createReadStream(file, { start })
  try {
    yield* createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })
  } finally {
    stream.destroy()
  }
}
