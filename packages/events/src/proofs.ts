import type { ArchiveTarget } from './archive-target.ts'
import { base64Of, bytesOf, fromBase64, sameBytes, textOf } from './bytes.ts'
import { EventError, refusalOf } from './errors.ts'
import { chainHash, frameOf, genesis } from './event.ts'
import { eventOfLine, lineOf } from './event-line.ts'
import type { EventStore } from './event-store.ts'
import { treeOf } from './log-tree.ts'
import { consistencyPath, inclusionPath, verifyConsistency, verifyInclusion } from './merkle.ts'
import { sortablePosition } from './parked.ts'
import { type Checkpoint, type NoteSigner, openNote, signedNote } from './signed-note.ts'
import type { Verification } from './verify.ts'

export type { ArchiveTarget } from './archive-target.ts'
export {
  type BundleVerification,
  type ExportOptions,
  exportBundle,
  type VerifyBundleOptions,
  verifyBundle,
} from './bundle.ts'
export { eventOfLine } from './event-line.ts'
export { verifyConsistency, verifyInclusion } from './merkle.ts'
export { type Checkpoint, type NoteSigner, newNoteKey, noteSigner, openNote, signedNote } from './signed-note.ts'

/** What shows that one event is in a log, without the log. */
export interface InclusionProof {
  /** The event, as a line of a bundle. */
  readonly event: string
  /** The hash of the event before, in base64. */
  readonly before: string
  readonly index: string
  readonly size: string
  /** In base64, from the leaf up. */
  readonly path: readonly string[]
  /** The signed checkpoint of that size. */
  readonly note: string
}

/** What shows that a log has only grown from one checkpoint to another. */
export interface ConsistencyProof {
  readonly older: string
  readonly newer: string
  readonly path: readonly string[]
}

const prefix = 'checkpoint/'

/** Signs what the log is now, and keeps the note in the log's registers. Give it to somebody outside. */
export async function signCheckpoint(events: EventStore, signer: NoteSigner): Promise<string> {
  await events.start()
  const { position: size } = await events.store.head()
  const note = await signedNote({ origin: originOf(events), size, root: await treeOf(events).root(size) }, signer)
  const unit = events.store.unit()
  unit.add(events.store.setRegister(prefix + sortablePosition(size), note, 0))
  await unit.commit().catch((error: unknown) => {
    if (refusalOf(error)?.conflict !== 'register') throw error
  })
  return note
}

/** The notes that were signed, oldest first. */
export async function checkpoints(events: EventStore): Promise<string[]> {
  await events.start()
  const notes: string[] = []
  for (let after: string | undefined; ; ) {
    const page = await events.store.registers(prefix, after)
    notes.push(...page.map(({ value }) => value))
    after = page.at(-1)?.name
    if (page.length < 1_000) return notes
  }
}

/** What a log calls itself in checkpoints. */
export function originOf(events: EventStore): string {
  return `gateway-events/${events.id}`
}

/** Proves that the event at `position` is in the log that the signer vouches for now. */
export async function prove(events: EventStore, position: bigint, signer: NoteSigner): Promise<InclusionProof> {
  return proveIn(events, position, await signCheckpoint(events, signer), [signer.verifier])
}

/**
 * Proves that the event at `position` is in the log that `note` vouches for. Throws `invalid_proof` where the log is not the one that
 * was signed. Nothing is written.
 */
export async function proveIn(
  events: EventStore,
  position: bigint,
  note: string,
  verifiers: readonly string[],
): Promise<InclusionProof> {
  await events.start()
  const { origin, size, root } = await openNote(note, verifiers)
  const head = await events.store.head()
  if (origin !== originOf(events) || size > head.position || !sameBytes(await treeOf(events).root(size), root))
    throw new EventError('invalid_proof', 'The log is not the one that was signed')
  if (position < 1n || position > size) throw new EventError('invalid_query', `There is no event at ${position}`)
  const around = await events.readStored({ after: position - 2n < 0n ? 0n : position - 2n, asOf: position, limit: 2 })
  const event = around.find((each) => each.position === position)
  const base = await events.store.base()
  const before =
    position === 1n
      ? genesis
      : position === base.position + 1n
        ? base.hash
        : around.find((each) => each.position === position - 1n)?.hash
  if (event === undefined || before === undefined)
    throw new EventError('not_supported', `Event ${position}, or the one before, is not at hand`)
  const path = await inclusionPath(treeOf(events).subtree, position - 1n, size)
  return {
    event: lineOf(event),
    before: base64Of(before),
    index: String(position - 1n),
    size: size.toString(),
    path: path.map(base64Of),
    note,
  }
}

/** The checkpoint that a proof leads to. Throws `invalid_proof` when it does not hold in every part. */
export async function verifyProof(proof: InclusionProof, verifiers: readonly string[]): Promise<Checkpoint> {
  const checkpoint = await openNote(proof.note, verifiers)
  if (!holds(proof, checkpoint))
    throw new EventError('invalid_proof', 'The event is not in the log that was vouched for')
  return checkpoint
}

/** Whether a proof leads to a checkpoint; one that cannot be read does not. */
function holds(proof: InclusionProof, { size, root }: Checkpoint): boolean {
  try {
    const event = eventOfLine(proof.event)
    const index = BigInt(proof.index)
    if (event === undefined || event.position !== index + 1n || size !== BigInt(proof.size)) return false
    const leaf = chainHash(fromBase64(proof.before), frameOf(event))
    return verifyInclusion(leaf, index, size, proof.path.map(fromBase64), root)
  } catch {
    return false
  }
}

/** Proves that the log of `older` events is the beginning of that of `newer`. */
export async function proveConsistency(events: EventStore, older: bigint, newer: bigint): Promise<ConsistencyProof> {
  await events.start()
  const { position } = await events.store.head()
  if (older < 0n || older > newer || newer > position)
    throw new EventError('invalid_query', `Expected 0 <= older <= newer <= ${position}, got ${older} and ${newer}`)
  const path = await consistencyPath(treeOf(events).subtree, older, newer)
  return { older: older.toString(), newer: newer.toString(), path: path.map(base64Of) }
}

/** Throws `invalid_proof` unless the newer checkpoint is of the same log, grown. */
export function checkConsistency(proof: ConsistencyProof, older: Checkpoint, newer: Checkpoint): void {
  const holds =
    older.origin === newer.origin &&
    verifyConsistency(older.size, newer.size, proof.path.map(fromBase64), older.root, newer.root)
  if (!holds) throw new EventError('invalid_proof', 'The newer log is not the older one grown')
}

/** Puts a signed checkpoint outside. Throws `invalid_proof` where another root of this size was put before: a fork. */
export async function anchor(note: string, target: ArchiveTarget, verifiers: readonly string[]): Promise<void> {
  const { origin, size, root } = await openNote(note, verifiers)
  const name = anchorName(origin, size)
  if ((await target.put(name, bytesOf(note))) === 'created') return
  const kept = await openNote(textOf((await target.get(name)) ?? new Uint8Array()), verifiers)
  if (base64Of(kept.root) !== base64Of(root))
    throw new EventError('invalid_proof', `Another log of ${size} events was anchored here: a fork`)
}

function anchorName(origin: string, size: bigint): string {
  return `anchors/${origin.replaceAll(/[^A-Za-z0-9._/-]/g, '_')}/${sortablePosition(size)}`
}

/** Verifies the log against every checkpoint that was put outside. */
export async function verifyAnchored(
  events: EventStore,
  target: ArchiveTarget,
  verifiers: readonly string[],
): Promise<Verification> {
  await events.start()
  const expectedRoots: Checkpoint[] = []
  for (const name of await target.list(`anchors/${originOf(events)}/`))
    expectedRoots.push(await openNote(textOf((await target.get(name)) ?? new Uint8Array()), verifiers))
  return events.verify({ expectedRoots })
}

/**
 * Begins to vouch anew for a log that no longer is what was anchored, as after a restore. That it was done, by whom and why, is
 * itself an event, which the new checkpoint covers.
 */
export async function reanchor(
  events: EventStore,
  {
    signer,
    target,
    actor,
    reason,
  }: {
    readonly signer: NoteSigner
    readonly target: ArchiveTarget
    readonly actor: string
    readonly reason: string
  },
): Promise<string> {
  const { problems, head } = await verifyAnchored(events, target, [signer.verifier])
  await events.append(
    'log.reanchored',
    { reason, head: { position: head.position, hash: head.hash }, problems: problems.slice(0, 20) },
    { actor, stream: 'log' },
  )
  const note = await signCheckpoint(events, signer)
  await anchor(note, target, [signer.verifier])
  return note
}
