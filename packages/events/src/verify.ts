import { frameOf, genesis, leafPrefix, type StoredEvent } from './event.ts'
import type { EventLog } from './store.ts'

/** What a damaged log can be found to have. */
export type ProblemKind =
  | 'edited'
  | 'missing'
  | 'chain_broken'
  | 'time_decreased'
  | 'version_gap'
  | 'truncated'
  | 'unreadable'

/** One thing that is wrong, and where. */
export interface Problem {
  readonly kind: ProblemKind
  readonly position: string
  readonly detail: string
}

/** What a look over the whole log found. */
export interface Verification {
  readonly ok: boolean
  readonly events: number
  readonly head: { readonly position: string; readonly hash: string }
  readonly problems: readonly Problem[]
  /** A chain alone cannot show that its end was cut off: keep `head` elsewhere and give it as `expectedHead`. */
  readonly truncationChecked: boolean
}

/** How to verify. */
export interface VerifyOptions {
  /** A head that was kept outside the log; a log that has lost it is `truncated`. */
  readonly expectedHead?: { readonly position: bigint; readonly hash: string }
  readonly onProgress?: (progress: { readonly events: number; readonly of: bigint }) => void
}

const pageSize = 1_000
const maxProblems = 100

/** Recomputes every hash from the stored bytes, in bounded memory. */
export async function verifyLog(log: EventLog, { expectedHead, onProgress }: VerifyOptions): Promise<Verification> {
  const problems: Problem[] = []
  const report = (kind: ProblemKind, position: bigint, detail: string) => {
    if (problems.length < maxProblems) problems.push({ kind, position: position.toString(), detail })
  }
  const versions = new Map<string, number>()
  const head = await log.head()
  let before: Pick<StoredEvent, 'position' | 'hash' | 'time'> = { position: 0n, hash: genesis, time: 0 }
  let events = 0
  let expectedSeen = expectedHead === undefined || expectedHead.position === 0n
  for (;;) {
    const page = await log.read({ after: before.position, asOf: head.position, limit: pageSize })
    for (const event of page) {
      const { position } = event
      const follows = position === before.position + 1n
      if (!follows)
        report('missing', before.position + 1n, `positions ${before.position + 1n} to ${position - 1n} are gone`)
      const linked = await hashOf(before.hash, event)
      if (!equal(linked, event.hash)) {
        if (follows) report('edited', position, 'the event, or its place in the chain, is not what was hashed')
        else report('chain_broken', position, 'the event does not follow the one before the gap')
      }
      if (event.time < before.time) report('time_decreased', position, 'the time is before that of the event in front')
      const version = versions.get(event.stream)
      if (event.version !== (version ?? -1) + 1)
        report('version_gap', position, `${event.stream} goes from ${version ?? 'nothing'} to ${event.version}`)
      versions.set(event.stream, event.version)
      if (expectedHead !== undefined && position === expectedHead.position)
        expectedSeen = hex(event.hash) === expectedHead.hash
      before = event
      events++
    }
    onProgress?.({ events, of: head.position })
    if (page.length < pageSize) break
  }
  if (!expectedSeen) report('truncated', expectedHead!.position, 'the head that was kept elsewhere is not in the log')
  return {
    ok: problems.length === 0,
    events,
    head: { position: head.position.toString(), hash: hex(head.hash) },
    problems,
    truncationChecked: expectedHead !== undefined,
  }
}

async function hashOf(before: Uint8Array, event: StoredEvent): Promise<Uint8Array> {
  const frame = frameOf(event)
  const bytes = new Uint8Array(leafPrefix.length + before.length + frame.length)
  bytes.set(leafPrefix)
  bytes.set(before, leafPrefix.length)
  bytes.set(frame, leafPrefix.length + before.length)
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
