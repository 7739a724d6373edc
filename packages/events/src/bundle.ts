import { fromHex, hexOf } from './bytes.ts'
import { ChainChecker, type Problem, type Vouched } from './chain-checker.ts'
import type { StoredEvent } from './event.ts'
import { eventOfLine, lineOf } from './event-line.ts'
import type { EventStore } from './event-store.ts'
import { openNote } from './signed-note.ts'
import { frontierOf } from './verify.ts'

/** What goes into a bundle. */
export interface ExportOptions {
  /** Signed checkpoints to carry along. */
  readonly notes?: readonly string[]
}

interface Header {
  readonly format: 'gw-events-1'
  readonly log: string
  readonly base: { readonly position: string; readonly time: number; readonly hash: string }
  readonly frontier: readonly string[] | null
  readonly notes: readonly string[]
}

/** The log as lines of text, each with its line end: a header, then one event a line. Verifies without the gateway. */
export async function* exportBundle(events: EventStore, { notes = [] }: ExportOptions = {}): AsyncGenerator<string> {
  await events.start()
  const { position: asOf } = await events.store.head()
  const local = await events.store.base()
  const [first] = await events.readStored({ after: 0n, asOf, limit: 1 })
  const base = first?.position === 1n ? { position: 0n, time: 0, hash: new Uint8Array(32) } : local
  const frontier = await frontierOf(events, base.position)
  const header: Header = {
    format: 'gw-events-1',
    log: events.id,
    base: { position: base.position.toString(), time: base.time, hash: hexOf(base.hash) },
    frontier: frontier?.map(hexOf) ?? null,
    notes,
  }
  yield `${JSON.stringify(header)}\n`
  for (let after = base.position; ; ) {
    const page = await events.readStored({ after, asOf, limit: 1_000 })
    for (const event of page) yield `${lineOf(event)}\n`
    const last = page.at(-1)
    if (last === undefined || page.length < 1_000) return
    after = last.position
  }
}

/** How a bundle is verified. */
export interface VerifyBundleOptions {
  /** The public keys, as text, whose checkpoints are believed. */
  readonly verifiers?: readonly string[]
  /** Signed checkpoints that were kept elsewhere; those in the bundle count too, and prove less. */
  readonly notes?: readonly string[]
}

/** What a look over a bundle found. */
export interface BundleVerification {
  readonly ok: boolean
  readonly events: number
  readonly head: { readonly position: string; readonly hash: string }
  readonly root: string | undefined
  /** The last position that retention took before the bundle was made; `0` for a whole log. */
  readonly retentionCut: string
  readonly problems: readonly Problem[]
  /** Whether a checkpoint from outside the bundle was compared; without, a cut-off end cannot be seen. */
  readonly truncationChecked: boolean
}

const lookAhead = 64

/** Verifies a bundle from its text, in any chunks, with nothing but public keys. */
export async function verifyBundle(
  chunks: AsyncIterable<string> | Iterable<string>,
  { verifiers = [], notes = [] }: VerifyBundleOptions = {},
): Promise<BundleVerification> {
  const lines = linesOf(chunks)
  const first = await lines.next()
  const header = first.done === true ? undefined : headerOf(first.value.text)
  if (header === undefined) return headless()
  const found: Problem[] = []
  const vouched = new Map<string, Vouched>()
  // Without a key, what the bundle says of itself can be neither believed nor held against it.
  const carried = verifiers.length === 0 ? [] : header.notes
  const outside = new Set<bigint>()
  for (const [i, note] of [...notes, ...carried].entries()) {
    const checkpoint = await openNote(note, verifiers).catch(() => undefined)
    if (checkpoint === undefined || checkpoint.origin !== `gateway-events/${header.log}`) {
      found.push({ kind: 'fork', position: '0', detail: 'a checkpoint is not one of this log by a known key' })
      continue
    }
    if (i < notes.length) outside.add(checkpoint.size)
    const key = checkpoint.size.toString()
    const other = vouched.get(key)
    if (other?.root !== undefined && hexOf(other.root) !== hexOf(checkpoint.root))
      found.push({ kind: 'fork', position: key, detail: 'two logs of this size were vouched for' })
    else vouched.set(key, { position: checkpoint.size, root: checkpoint.root })
  }
  const base = { position: BigInt(header.base.position), time: header.base.time, hash: fromHex(header.base.hash) }
  const checker = new ChainChecker(base, header.frontier?.map(fromHex), [...vouched.values()])
  const torn = await follow(lines, checker)
  checker.end(torn)
  const problems = [...found, ...checker.problems]
  return {
    ok: problems.length === 0,
    events: checker.events,
    head: { position: checker.head.position.toString(), hash: hexOf(checker.head.hash) },
    root: checker.root && hexOf(checker.root),
    retentionCut: header.base.position,
    problems,
    truncationChecked: [...outside].some((size) => checker.compared.has(size)),
  }
}

/** Gives the checker every event with those behind it; answers whether the last line is torn. */
async function follow(lines: AsyncGenerator<Line>, checker: ChainChecker): Promise<boolean> {
  let waiting: (StoredEvent | undefined)[] = []
  const next = () => {
    const [event] = waiting
    if (event === undefined) checker.unreadable()
    else
      checker.next(
        waiting.filter((each) => each !== undefined),
        0,
      )
    waiting = waiting.slice(1)
  }
  let torn = false
  for await (const { text, whole } of lines) {
    const event = eventOfLine(text)
    if (event === undefined && !whole) {
      torn = true
      break
    }
    waiting.push(event)
    if (waiting.length > lookAhead) next()
  }
  while (waiting.length > 0) next()
  if (torn) checker.report('torn_tail', checker.head.position + 1n, 'the last line ends in its middle')
  return torn
}

interface Line {
  readonly text: string
  /** Whether its line end is there. */
  readonly whole: boolean
}

async function* linesOf(chunks: AsyncIterable<string> | Iterable<string>): AsyncGenerator<Line> {
  let rest = ''
  for await (const chunk of chunks) {
    const parts = (rest + chunk).split('\n')
    rest = parts.pop()!
    for (const text of parts) yield { text, whole: true }
  }
  if (rest !== '') yield { text: rest, whole: false }
}

function headerOf(text: string): Header | undefined {
  try {
    const header = JSON.parse(text) as Header
    const { position, time, hash } = header.base
    const sound =
      header.format === 'gw-events-1' &&
      /^\d{1,40}$/.test(position) &&
      typeof time === 'number' &&
      hashForm.test(hash) &&
      soundFrontier(header.frontier, position)
    return sound && Array.isArray(header.notes) ? header : undefined
  } catch {
    return undefined
  }
}

const hashForm = /^[0-9a-f]{64}$/

/** One root a bit of the size; unknown only where something was cut, as nothing can be compared with a tree that begins nowhere. */
function soundFrontier(frontier: unknown, position: string): boolean {
  if (frontier === null) return BigInt(position) > 0n
  const bits = BigInt(position).toString(2).replaceAll('0', '').length
  return Array.isArray(frontier) && frontier.length === bits && frontier.every((root) => hashForm.test(root))
}

function headless(): BundleVerification {
  const problems: Problem[] = [{ kind: 'bit_rot', position: '0', detail: 'the bundle has no header' }]
  const head = { position: '0', hash: '' }
  return { ok: false, events: 0, head, root: undefined, retentionCut: '0', problems, truncationChecked: false }
}
