import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import type { ArchiveTarget } from '@gw/events/archive'
import { type BundleVerification, type VerifyBundleOptions, verifyBundle } from '@gw/events/proofs'
import { z } from 'zod'
import { CommandError } from '../failure.ts'

const sha256 = z.string().regex(/^[\da-f]{64}$/)
const position = z.string().regex(/^\d{1,40}$/)
const segmentSchema = z.object({
  format: z.literal('gw-segment-1'),
  log: z.string(),
  first: position,
  last: position,
  events: z.int(),
  bytes: z.int(),
  firstTime: z.number(),
  lastTime: z.number(),
  before: sha256,
  hash: sha256,
  frontier: z.array(sha256),
  root: sha256,
  content: sha256,
  stored: z.object({ name: z.string(), compress: z.boolean(), sha256 }),
})

/** One segment of a log, as its manifest describes it. */
export type ArchivedSegment = z.output<typeof segmentSchema>

/** The segments of one log, oldest first. */
export interface ArchivedLog {
  readonly log: string
  readonly segments: readonly ArchivedSegment[]
  /** Manifests that are none. */
  readonly unreadable: readonly string[]
}

const unzipped = promisify(gunzip)

/** The logs that were archived at a place. */
export async function archivedLogs(target: ArchiveTarget): Promise<readonly ArchivedLog[]> {
  const logs = new Map<string, { segments: ArchivedSegment[]; unreadable: string[] }>()
  for (const name of await target.list('segments/')) {
    const [, log] = /^segments\/([^/]+)\/[^/]+\.manifest\.json$/.exec(name) ?? []
    if (log === undefined) continue
    const entry = logs.get(log) ?? { segments: [], unreadable: [] }
    logs.set(log, entry)
    const parsed = segmentSchema.safeParse(parse(await target.get(name)))
    if (parsed.success && parsed.data.log === log) entry.segments.push(parsed.data)
    else entry.unreadable.push(name)
  }
  return [...logs].map(([log, entry]) => ({ log, ...entry }))
}

function parse(bytes: Uint8Array | undefined): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    return undefined
  }
}

/** The one log at a place, or the one that was asked for. */
export async function archivedLogAt(
  target: ArchiveTarget,
  place: string,
  log: string | undefined,
): Promise<ArchivedLog> {
  const logs = await archivedLogs(target)
  if (logs.length === 0) throw new CommandError(`There is no archived log at ${place}`)
  const found = log === undefined ? logs[0]! : logs.find((each) => each.log === log)
  if (found === undefined || (log === undefined && logs.length > 1))
    throw new CommandError(
      `${place} has several logs; say which with --log: ${logs.map((each) => each.log).join(', ')}`,
    )
  return found
}

/** The signed checkpoints of a log that were anchored at a place. */
export async function anchorsAt(target: ArchiveTarget, log: string): Promise<readonly string[]> {
  const notes: string[] = []
  for (const name of await target.list(`anchors/gateway-events/${log}/`))
    notes.push(new TextDecoder().decode((await target.get(name)) ?? new Uint8Array()))
  return notes
}

/** Verifies an archived log: every object against its manifest, and the chain and the tree over all of them. */
export async function verifyArchive(
  target: ArchiveTarget,
  { log, segments, unreadable }: ArchivedLog,
  options: VerifyBundleOptions,
  onProgress: (events: number) => void,
): Promise<BundleVerification> {
  const problems: { kind: 'bit_rot' | 'deletion'; position: string; detail: string }[] = unreadable.map((name) => ({
    kind: 'bit_rot',
    position: '0',
    detail: `${name} is not the manifest of a segment`,
  }))
  async function* bundle(): AsyncGenerator<string> {
    const [first] = segments
    if (first === undefined) return
    const before = BigInt(first.first) - 1n
    const base = { position: String(before), time: 0, hash: first.before }
    yield `${JSON.stringify({ format: 'gw-events-1', log, base, frontier: before === 0n ? [] : null, notes: [] })}\n`
    let events = 0
    for (const segment of segments) {
      const { text, damage } = await linesOf(target, segment)
      if (damage !== undefined) problems.push({ ...damage, position: segment.first })
      yield text
      events += segment.events
      onProgress(events)
    }
  }
  const verification = await verifyBundle(bundle(), options)
  return {
    ...verification,
    ok: verification.ok && problems.length === 0,
    problems: [...problems, ...verification.problems],
  }
}

/** The lines of a segment, as far as they can be had. */
async function linesOf(
  target: ArchiveTarget,
  { stored, content }: ArchivedSegment,
): Promise<{
  readonly text: string
  readonly damage?: { readonly kind: 'bit_rot' | 'deletion'; readonly detail: string }
}> {
  const body = await target.get(stored.name)
  if (body === undefined) return { text: '', damage: { kind: 'deletion', detail: `${stored.name} is gone` } }
  const rotten = (detail: string) => ({ kind: 'bit_rot' as const, detail: `${stored.name} ${detail}` })
  const whole = hash(body) === stored.sha256
  const lines = stored.compress ? await unzipped(body).catch(() => undefined) : body
  if (lines === undefined) return { text: '', damage: rotten('cannot be decompressed') }
  const text = new TextDecoder().decode(lines)
  if (!whole) return { text, damage: rotten('is not what was written') }
  return hash(lines) === content ? { text } : { text, damage: rotten('does not hold what was sealed') }
}

function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
