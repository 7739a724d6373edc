import { fromHex, hexOf } from './bytes.ts'
import { ChainChecker, type Problem, type Vouched } from './chain-checker.ts'
import { EventError } from './errors.ts'
import { genesis } from './event.ts'
import type { EventStore } from './event-store.ts'
import { type Head, registerOf } from './store.ts'

/** What a look over the whole log found. */
export interface Verification {
  readonly ok: boolean
  readonly events: number
  readonly head: { readonly position: string; readonly hash: string }
  /** The root of the Merkle tree (RFC 6962) over all events; undefined where something is missing. */
  readonly root: string | undefined
  readonly problems: readonly Problem[]
  /** The last position that retention took, where what it took is not at hand; `0` for a whole log. */
  readonly retentionCut: string
  /** A chain alone cannot show that its end was cut off, or that all of it was made anew: give what was kept elsewhere. */
  readonly truncationChecked: boolean
}

/** How to verify. */
export interface VerifyOptions {
  /** A head that was kept outside the log. */
  readonly expectedHead?: { readonly position: bigint; readonly hash: string }
  /** Roots from signed checkpoints that were kept outside the log. */
  readonly expectedRoots?: readonly { readonly size: bigint; readonly root: Uint8Array }[]
  readonly onProgress?: (progress: { readonly events: number; readonly of: bigint }) => void
}

const pageSize = 1_000

/** Recomputes every hash from the stored bytes, in bounded memory, across the tiers. */
export async function verifyLog(events: EventStore, options: VerifyOptions): Promise<Verification> {
  const { expectedHead, expectedRoots = [], onProgress } = options
  const { store } = events
  if (!store.gapless)
    throw new EventError('not_supported', 'A log in concurrent mode has no chain that could be verified')
  const vouched: Vouched[] = expectedRoots.map(({ size, root }) => ({ position: size, root }))
  if (expectedHead !== undefined && expectedHead.position > 0n)
    vouched.push({ position: expectedHead.position, hash: fromHex(expectedHead.hash) })
  const head = await store.head()
  const start = await startOf(events, head)
  const checker = new ChainChecker(start.base, start.frontier, vouched)
  let after = start.base.position
  for (;;) {
    const page = await events.readStored({ after, asOf: head.position, limit: pageSize })
    for (let i = 0; i < page.length; i++) checker.next(page, i)
    onProgress?.({ events: checker.events, of: head.position })
    const last = page.at(-1)
    if (last === undefined || page.length < pageSize) break
    after = last.position
  }
  checker.end()
  return {
    ok: checker.problems.length === 0,
    events: checker.events,
    head: { position: head.position.toString(), hash: hexOf(head.hash) },
    root: checker.root && hexOf(checker.root),
    problems: checker.problems,
    retentionCut: start.base.position.toString(),
    truncationChecked: checker.compared.size > 0,
  }
}

/** Where reading can begin: at the first event where the cold tier has it, else after what retention took. */
async function startOf(
  events: EventStore,
  { position: asOf }: Head,
): Promise<{ readonly base: Head; readonly frontier: readonly Uint8Array[] | undefined }> {
  const base = await events.store.base()
  const whole = { base: { position: 0n, time: 0, hash: genesis }, frontier: [] }
  if (base.position === 0n) return whole
  const [first] = await events.readStored({ after: 0n, asOf, limit: 1 })
  if (first?.position === 1n) return whole
  return { base, frontier: await frontierOf(events, base.position) }
}

/** The tree's right edge at the place where retention cut the log. */
export async function frontierOf(events: EventStore, position: bigint): Promise<readonly Uint8Array[] | undefined> {
  if (position === 0n) return []
  const register = await registerOf(events.store, frontierRegister)
  if (register === undefined) return undefined
  const { size, roots } = JSON.parse(register.value) as { readonly size: string; readonly roots: readonly string[] }
  return size === position.toString() ? roots.map(fromHex) : undefined
}

/** Where the tree's right edge at the base is kept; written in the unit that moves the base. */
export const frontierRegister = 'log/frontier'
