import type { ArchiveTarget } from './archive-target.ts'
import { bytesOf, fromHex, hexOf, textOf } from './bytes.ts'
import { CompactRange } from './compact-range.ts'
import { compressed, decompressed } from './compression.ts'
import { EventError, refusalOf, refuseUnknown, requireWhole } from './errors.ts'
import { chainHash, frameOf, type StoredEvent } from './event.ts'
import { eventOfLine, lineOf } from './event-line.ts'
import type { ColdTier, EventStore } from './event-store.ts'
import { sortablePosition } from './parked.ts'
import { matches } from './placement.ts'
import { larger, smaller } from './positions.ts'
import { sha256 } from './sha256.ts'
import type { EventLog, StoreQuery } from './store.ts'
import { frontierOf, frontierRegister } from './verify.ts'

export { type ArchiveTarget, memoryArchive } from './archive-target.ts'
export { holds, type LegalHold, liftHold, placeHold } from './legal-hold.ts'
export { type Retained, type RetainOptions, retain } from './retention.ts'

/** Where segments go and how. */
export interface SegmentArchiveOptions {
  readonly target: ArchiveTarget
  /** A segment is sealed when its events take this much: 67,108,864. */
  readonly maxSegmentBytes?: number
  /** Whether segments are gzipped: true. */
  readonly compress?: boolean
  /** Called after each step of a segment's way; for crash tests. */
  readonly onStep?: (step: SegmentStep, segment: Segment) => void
}

/** The steps of a segment's way out of the store. */
export type SegmentStep = 'sealed' | 'uploaded' | 'described' | 'verified' | 'archived' | 'dropped'

/** A run of events that leaves the store together. */
export interface Segment {
  readonly first: string
  readonly last: string
  readonly events: number
  /** Of its lines, uncompressed. */
  readonly bytes: number
  readonly firstTime: number
  readonly lastTime: number
  /** The chain hashes before its first event and of its last. */
  readonly before: string
  readonly hash: string
  /** The right edge and the root of the tree up to its last event. */
  readonly frontier: readonly string[]
  readonly root: string
  /** SHA-256 of its lines. */
  readonly content: string
  /** What was written, once it was read back and found to be right. */
  readonly stored?: { readonly name: string; readonly compress: boolean; readonly sha256: string }
}

/** The register of a segment. */
export interface KeptSegment {
  readonly name: string
  readonly version: number
  readonly segment: Segment
}

const prefix = 'segment/'

/** Every segment that was sealed, oldest first. */
export async function segmentsOf(log: EventLog): Promise<KeptSegment[]> {
  const found: KeptSegment[] = []
  for (;;) {
    const page = await log.registers(prefix, found.at(-1)?.name)
    for (const { name, version, value } of page) found.push({ name, version, segment: JSON.parse(value) as Segment })
    if (page.length < 1_000) return found
  }
}

/** Moves events out of the store in sealed segments, and reads them back from there. */
export class SegmentArchive implements ColdTier {
  readonly #target: ArchiveTarget
  readonly #maxSegmentBytes: number
  readonly #compress: boolean
  readonly #onStep: ((step: SegmentStep, segment: Segment) => void) | undefined
  readonly #decoded = new Map<string, readonly StoredEvent[]>()

  constructor(options: SegmentArchiveOptions) {
    const { target, maxSegmentBytes = 67_108_864, compress = true, onStep, ...unknown } = options
    refuseUnknown(unknown)
    requireWhole('maxSegmentBytes', maxSegmentBytes)
    this.#target = target
    this.#maxSegmentBytes = maxSegmentBytes
    this.#compress = compress
    this.#onStep = onStep
  }

  /** Seals every full segment behind the last one. What does not fill one stays. */
  async seal(events: EventStore): Promise<number> {
    const { store } = events
    const head = await store.head()
    const base = await store.base()
    const last = (await segmentsOf(store)).at(-1)?.segment
    let after = last === undefined ? base.position : larger(BigInt(last.last), base.position)
    let before = last === undefined ? hexOf(base.hash) : last.hash
    let frontier = last?.frontier.map(fromHex) ?? (await frontierOf(events, base.position)) ?? []
    let sealed = 0
    let waiting: StoredEvent[] = []
    let bytes = 0
    for (;;) {
      const page = await store.read({ after, asOf: head.position, limit: 1_000 })
      for (const event of page) {
        waiting.push(event)
        bytes += lineOf(event).length + 1
        if (bytes < this.#maxSegmentBytes) continue
        const segment = describe(waiting, before, frontier)
        await commitRegister(events, prefix + sortablePosition(segment.first), segment, 0)
        this.#onStep?.('sealed', segment)
        sealed++
        before = segment.hash
        frontier = segment.frontier.map(fromHex)
        waiting = []
        bytes = 0
      }
      if (page.length < 1_000) return sealed
      after = page.at(-1)!.position
    }
  }

  /** Writes a segment outside, reads it back and compares, and only then notes that it is there. */
  async upload(events: EventStore, { name, version, segment }: KeptSegment): Promise<KeptSegment> {
    const text = await linesOf(events, segment)
    if (hexOf(sha256(bytesOf(text))) !== segment.content)
      throw new EventError('archive_conflict', `Events ${segment.first} to ${segment.last} are not what was sealed`)
    const place = `segments/${events.id}/${sortablePosition(segment.first)}-${sortablePosition(segment.last)}`
    const object = `${place}.ndjson${this.#compress ? '.gz' : ''}`
    const body = this.#compress ? await compressed(bytesOf(text)) : bytesOf(text)
    await this.#target.put(object, body)
    this.#onStep?.('uploaded', segment)
    const written = await this.#target.get(object)
    if (written === undefined) throw new EventError('archive_damaged', `\`${object}\` cannot be read back`)
    const stored = { name: object, compress: this.#compress, sha256: hexOf(sha256(written)) }
    const manifest = JSON.stringify({ ...segment, stored, format: 'gw-segment-1', log: events.id })
    await this.#target.put(`${place}.manifest.json`, bytesOf(manifest))
    this.#onStep?.('described', segment)
    await this.#load({ ...segment, stored })
    this.#decoded.delete(object)
    const described = await this.#target.get(`${place}.manifest.json`)
    if (described === undefined || textOf(described) !== manifest)
      throw new EventError('archive_conflict', `\`${place}.manifest.json\` is there and says something else`)
    this.#onStep?.('verified', segment)
    const archived = { ...segment, stored }
    await commitRegister(events, name, archived, version)
    this.#onStep?.('archived', segment)
    return { name, version: version + 1, segment: archived }
  }

  /** Takes a segment's events from the store; with it moves the base and the tree's edge. */
  async drop(events: EventStore, { segment }: KeptSegment): Promise<void> {
    await dropSegment(events, segment)
    this.#onStep?.('dropped', segment)
  }

  async read(log: EventLog, query: StoreQuery): Promise<StoredEvent[]> {
    const found: StoredEvent[] = []
    for (const { segment } of await segmentsOf(log)) {
      if (BigInt(segment.last) <= query.after || BigInt(segment.first) > query.asOf || segment.stored === undefined)
        continue
      if (query.from !== undefined && segment.lastTime < query.from) continue
      if (query.to !== undefined && segment.firstTime >= query.to) continue
      for (const event of await this.#load(segment)) {
        if (event.position <= query.after || event.position > query.asOf || !matches(event, query)) continue
        found.push(event)
        if (found.length === query.limit) return found
      }
    }
    return found
  }

  /** The events of an archived segment, after its checksums and its chain have been found to hold. */
  async #load(segment: Segment): Promise<readonly StoredEvent[]> {
    const { name, compress, sha256: expected } = segment.stored!
    const known = this.#decoded.get(name)
    if (known !== undefined) return known
    const damaged = (what: string) => new EventError('archive_damaged', `\`${name}\` ${what}`)
    const body = await this.#target.get(name)
    if (body === undefined) throw damaged('is missing')
    if (hexOf(sha256(body)) !== expected) throw damaged('is not what was written')
    const lines = compress ? await decompressed(body).catch(() => undefined) : body
    if (lines === undefined) throw damaged('is no gzip')
    if (hexOf(sha256(lines)) !== segment.content) throw damaged('does not hold what was sealed')
    const events: StoredEvent[] = []
    let before: Uint8Array = fromHex(segment.before)
    for (const line of textOf(lines).split('\n').slice(0, -1)) {
      const event = eventOfLine(line)
      if (event === undefined || hexOf(chainHash(before, frameOf(event))) !== hexOf(event.hash))
        throw damaged('breaks the chain')
      before = event.hash
      events.push(event)
    }
    if (hexOf(before) !== segment.hash) throw damaged('ends elsewhere')
    if (this.#decoded.size >= 2) this.#decoded.delete([...this.#decoded.keys()][0]!)
    this.#decoded.set(name, events)
    return events
  }
}

/** An archive for `EventStore`'s `archive` option and for `retain`. */
export function segmentArchive(options: SegmentArchiveOptions): SegmentArchive {
  return new SegmentArchive(options)
}

/** Takes a segment's events from the store, in one unit with what a reader of the rest needs to know. */
export async function dropSegment(events: EventStore, segment: Segment): Promise<void> {
  const { store } = events
  const [kept] = await store.registers(frontierRegister, undefined, 1)
  const base = await store.base()
  if (base.position >= BigInt(segment.last)) return
  const unit = store.unit()
  unit.add(store.drop({ position: BigInt(segment.last), time: segment.lastTime, hash: fromHex(segment.hash) }))
  const edge = JSON.stringify({ size: segment.last, roots: segment.frontier })
  unit.add(store.setRegister(frontierRegister, edge, kept?.version ?? 0))
  await unit.commit()
}

function describe(events: readonly StoredEvent[], before: string, frontier: readonly Uint8Array[]): Segment {
  const [first] = events
  const last = events.at(-1)!
  const tree = new CompactRange(first!.position - 1n, frontier)
  for (const { hash } of events) tree.add(hash)
  const lines = bytesOf(events.map((event) => `${lineOf(event)}\n`).join(''))
  return {
    first: first!.position.toString(),
    last: last.position.toString(),
    events: events.length,
    bytes: lines.length,
    firstTime: first!.time,
    lastTime: last.time,
    before,
    hash: hexOf(last.hash),
    frontier: tree.roots.map(hexOf),
    root: hexOf(tree.root()),
    content: hexOf(sha256(lines)),
  }
}

async function linesOf(events: EventStore, { first, last }: Segment): Promise<string> {
  let text = ''
  for (let after = BigInt(first) - 1n; after < BigInt(last); ) {
    const page = await events.store.read({ after, asOf: smaller(BigInt(last), after + 1_000n), limit: 1_000 })
    if (page.length === 0) break
    for (const event of page) text += `${lineOf(event)}\n`
    after = page.at(-1)!.position
  }
  return text
}

async function commitRegister(events: EventStore, name: string, segment: Segment, version: number): Promise<void> {
  const unit = events.store.unit()
  unit.add(events.store.setRegister(name, JSON.stringify(segment), version))
  try {
    await unit.commit()
  } catch (error) {
    if (refusalOf(error)?.conflict !== 'register') throw error
    throw new EventError('archive_conflict', 'Another process archives this log at the same time', { cause: error })
  }
}
