import { createReadStream, existsSync, readFileSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { EventStore } from '@gw/events'
import { type ArchiveTarget, segmentArchive } from '@gw/events/archive'
import { folderArchive } from '@gw/events/folder'
import { openNote, originOf, verifyBundle } from '@gw/events/proofs'
import { CommandError, exit } from '../failure.ts'
import type { Found } from '../online/events.ts'
import { progressOf } from '../progress.ts'
import { anchorsAt, archivedLogAt, verifyArchive } from './archived-log.ts'
import { bucketAt, isBucket } from './bucket.ts'
import { openBundle } from './bundle-log.ts'
import { fixedLog } from './fixed-log.ts'
import { eventsOf, lookIntoDirectory, lookIntoPostgres } from './store-look.ts'

/** What is known from outside of a log, and where the rest of it lies. */
export interface LogFlags {
  /** Public keys whose signatures are believed. */
  readonly verifier?: readonly string[]
  /** Files with checkpoints that were kept elsewhere. */
  readonly note?: readonly string[]
  /** Where the events lie that retention took out of a store. */
  readonly archive?: string
  /** Which log, where an archive has several. */
  readonly log?: string
}

type Kind = 'database' | 'bundle' | 'archive'

function kindOf(place: string): Kind {
  if (/^postgres(?:ql)?:\/\//.test(place)) return 'database'
  if (isBucket(place)) return 'archive'
  const stat = statSync(place, { throwIfNoEntry: false })
  if (stat === undefined) throw new CommandError(`${place} does not exist`)
  if (!stat.isDirectory()) return 'bundle'
  if (existsSync(join(place, 'gateway.db'))) return 'database'
  if (existsSync(join(place, 'segments'))) return 'archive'
  throw new CommandError(`${place} is no data directory, no bundle of events and no archive of them`)
}

/** Verifies a log where it lies, without its gateway: a data directory, a database, a bundle, an archive. */
export async function verifyAt(place: string, flags: LogFlags): Promise<Found> {
  const verifiers = verifiersOf(flags)
  const notes = notesOf(flags, verifiers)
  const kind = kindOf(place)
  const progress = progressOf('Verifying', { unit: 'events' })
  try {
    if (kind === 'bundle') return await verifyBundle(createReadStream(place, 'utf8'), { verifiers, notes })
    if (kind === 'archive') {
      const { target, place: shown } = targetAt(place)
      const log = await archivedLogAt(target, shown, flags.log)
      const anchored = verifiers.length === 0 ? [] : await anchorsAt(target, log.log)
      // An archive ends where retention stopped: later checkpoints are of what it does not have.
      const covered = await upTo(BigInt(log.segments.at(-1)?.last ?? 0), anchored, verifiers)
      return await verifyArchive(target, log, { verifiers, notes: [...notes, ...covered] }, (events) =>
        progress.at(events),
      )
    }
    const opened = await openLog(place, flags)
    try {
      const expectedRoots = await Promise.all(
        notes.map(async (note) => {
          const checkpoint = await openNote(note, verifiers)
          if (checkpoint.origin !== originOf(opened.events))
            throw new CommandError(
              `A checkpoint is of another log: ${checkpoint.origin}, and this is ${originOf(opened.events)}`,
            )
          return checkpoint
        }),
      )
      return await opened.events.verify({
        expectedRoots,
        onProgress: ({ events, of }) => progress.at(events, Number(of)),
      })
    } finally {
      await opened.close()
    }
  } finally {
    progress.end()
  }
}

async function upTo(position: bigint, notes: readonly string[], verifiers: readonly string[]): Promise<string[]> {
  const covered: string[] = []
  for (const note of notes) {
    const size = await openNote(note, verifiers).then(
      (checkpoint) => checkpoint.size,
      // One that nobody known has signed is for the verification to report.
      () => 0n,
    )
    if (size <= position) covered.push(note)
  }
  return covered
}

/** A log that is only read, with whatever lies beside it. */
export interface OpenedLog {
  readonly events: EventStore
  /** Checkpoints that lie with it. */
  readonly notes: readonly string[]
  close(): Promise<void>
}

/** Opens a log where it lies, for proofs and exports. */
export async function openLog(place: string, flags: LogFlags): Promise<OpenedLog> {
  const kind = kindOf(place)
  if (kind === 'bundle') {
    const { log, notes } = await openBundle(place)
    const events = new EventStore({ store: log })
    await events.start()
    return { events, notes, close: () => events.stop() }
  }
  if (kind === 'archive') {
    const { target, place: shown } = targetAt(place)
    const { log: id, segments } = await archivedLogAt(target, shown, flags.log)
    const end = segments.at(-1)
    if (end === undefined) throw new CommandError(`The archive at ${shown} has no segment that can be read`)
    const head = { position: BigInt(end.last), time: end.lastTime, hash: Buffer.from(end.hash, 'hex') }
    const log = fixedLog({
      id,
      base: head,
      head,
      registers: [
        { name: 'log/frontier', value: JSON.stringify({ size: end.last, roots: end.frontier }) },
        ...segments.map((segment) => ({
          name: `segment/${segment.first.padStart(40, '0')}`,
          value: JSON.stringify(segment),
        })),
      ],
      read: async () => [],
    })
    const events = new EventStore({ store: log, archive: segmentArchive({ target }) })
    await events.start()
    return { events, notes: await anchorsAt(target, id), close: () => events.stop() }
  }
  const look = await (/^postgres/.test(place) ? lookIntoPostgres(place) : lookIntoDirectory(place))
  try {
    const cold =
      flags.archive === undefined ? {} : { archive: segmentArchive({ target: targetAt(flags.archive).target }) }
    const events = await eventsOf(look, cold)
    const notes = (await look.log!.registers('checkpoint/')).map(({ value }) => value)
    return {
      events,
      notes,
      async close() {
        await events.stop()
        await look.close()
      },
    }
  } catch (error) {
    await look.close()
    throw error
  }
}

function targetAt(place: string): { readonly target: ArchiveTarget; readonly place: string } {
  if (isBucket(place)) return bucketAt(place)
  const path = resolve(place)
  return { target: folderArchive({ path }), place: path }
}

/** The public keys that flags name, each as text or in a file after `@`. */
export function verifiersOf({ verifier = [] }: LogFlags): readonly string[] {
  return verifier.map((given) => (given.startsWith('@') ? fileText(given.slice(1)) : given).trim())
}

/** The checkpoints in the files that flags name. */
export function notesOf({ note = [] }: LogFlags, verifiers: readonly string[]): readonly string[] {
  if (note.length > 0 && verifiers.length === 0)
    throw new CommandError('Expected --verifier with the public key that signed the checkpoints', exit.usage)
  return note.map(fileText)
}

function fileText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new CommandError(`${file} cannot be read`, exit.usage, { cause: error })
  }
}
