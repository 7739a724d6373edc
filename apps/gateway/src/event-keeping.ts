import { type EventStore, type Projection, performanceFigures, requestStates, type Verification } from '@gw/events'
import { type ArchiveTarget, type RetainOptions, retain, SegmentArchive } from '@gw/events/archive'
import { folderArchive } from '@gw/events/folder'
import {
  anchor,
  type Checkpoint,
  checkpoints,
  type NoteSigner,
  openNote,
  originOf,
  reanchor,
  signCheckpoint,
} from '@gw/events/proofs'
import { s3Archive } from '@gw/events/s3'
import { bucketAt } from './cold-tier.ts'
import { signerOf } from './signing-key.ts'

function archiveAt(place: string): ArchiveTarget {
  if (!/^https?:\/\//.test(place)) return folderArchive({ path: place })
  const { client, url } = bucketAt(place)
  return s3Archive({ client, url: url.href })
}

/** The checkpoints of a log that were put outside, oldest first. */
async function anchored(events: EventStore, target: ArchiveTarget): Promise<string[]> {
  const names = (await target.list(`anchors/${originOf(events)}/`)).slice(-maxCompared)
  const notes = await Promise.all(names.map((name) => target.get(name)))
  return notes.flatMap((bytes) => (bytes === undefined ? [] : [new TextDecoder().decode(bytes)]))
}

const maxCompared = 1_000

/** How the audit trail is kept over time. */
export interface AuditOptions {
  /**
   * Where segments go that retention takes from the store: a folder, `https://key:secret@host/bucket/prefix?region=…`, or a target such
   * as `s3Archive` of `@gw/events/s3`.
   */
  readonly archive?: string | ArchiveTarget
  /** Events may leave the store for the archive so long after they happened; never, unless given. */
  readonly retentionMs?: number
  /** How many events stay in the store; all, unless given. */
  readonly maxEvents?: number
  /** How much a segment holds: 64 MiB. */
  readonly maxSegmentBytes?: number
  /** Signs checkpoints: an Ed25519 private key as PKCS #8 in PEM. One is made and kept in the data directory unless given. */
  readonly signingKey?: string
  /** How often a checkpoint is signed and retention runs: 1 h. */
  readonly intervalMs?: number
  /** How often the whole trail is verified by itself: 24 h. */
  readonly verifyIntervalMs?: number
  /** Whether the states of the last requests and the figures of operations are projected from the events: false. */
  readonly projections?: boolean
}

/** What goes on beside the log: its archive and retention, its signed checkpoints, its projections. */
export class EventKeeping {
  readonly segments: SegmentArchive | undefined
  readonly retention: Omit<RetainOptions, 'archive'>
  readonly projections = new Map<string, Projection<unknown>>()
  readonly #options: AuditOptions
  readonly #directory: string
  readonly #target: ArchiveTarget | undefined
  readonly #onError: (error: unknown) => void
  #signer: Promise<NoteSigner> | undefined
  /** What the last verification came to. */
  verified: { readonly ok: boolean; readonly at: number } | undefined
  readonly #timers: ReturnType<typeof setInterval>[] = []
  #round: Promise<unknown> = Promise.resolve()

  constructor(options: AuditOptions, directory: string, onError: (error: unknown) => void) {
    const { archive, maxSegmentBytes, retentionMs, maxEvents } = options
    this.#options = options
    this.#directory = directory
    this.#onError = onError
    this.#target = typeof archive === 'string' ? archiveAt(archive) : archive
    this.segments =
      this.#target === undefined
        ? undefined
        : new SegmentArchive({
            target: this.#target,
            ...(maxSegmentBytes === undefined ? {} : { maxSegmentBytes }),
          })
    this.retention = {
      ...(retentionMs === undefined ? {} : { retentionMs }),
      ...(maxEvents === undefined ? {} : { maxEvents }),
    }
  }

  /** Who signs the log's checkpoints. */
  signer(): Promise<NoteSigner> {
    this.#signer ??= signerOf('durable-gateway', this.#directory, this.#options.signingKey).catch((error: unknown) => {
      this.#signer = undefined
      throw error
    })
    return this.#signer
  }

  /** Starts projections, and the rounds in which checkpoints are signed and retention runs. Throws for a signing key that is none. */
  async start(events: EventStore): Promise<void> {
    const { projections = false, intervalMs = 3_600_000, verifyIntervalMs = 86_400_000, signingKey } = this.#options
    if (signingKey !== undefined) await this.signer()
    if (projections)
      for (const ready of [requestStates({ maxRequests: 200 }), performanceFigures()]) {
        const projection = events.project({ ...ready, onError: this.#onError } as never) as Projection<unknown>
        this.projections.set(projection.name, projection)
      }
    this.#every(intervalMs, () => this.round(events))
    this.#every(verifyIntervalMs, () => this.verify(events))
  }

  #every(intervalMs: number, work: () => Promise<unknown>): void {
    const timer = setInterval(() => {
      this.#round = this.#round.then(work).catch(this.#onError)
    }, intervalMs)
    timer.unref()
    this.#timers.push(timer)
  }

  /** Signs what the log is now, and puts the checkpoint beside the archive, where there is one. Answers with the note. */
  async sign(events: EventStore): Promise<string> {
    const signer = await this.signer()
    const note = await signCheckpoint(events, signer)
    if (this.#target !== undefined) await anchor(note, this.#target, [signer.verifier])
    return note
  }

  /** Begins to vouch anew for a log that is no longer what was put outside, as after a restore; `undefined` where nothing is put there. */
  async reanchor(
    events: EventStore,
    by: { readonly actor: string; readonly reason: string },
  ): Promise<string | undefined> {
    if (this.#target === undefined) return undefined
    return reanchor(events, { ...by, signer: await this.signer(), target: this.#target })
  }

  /**
   * Goes over the whole log, and compares it with every checkpoint that this gateway's key has signed: those in the log's registers, and
   * those that were put outside. Notes by other keys say nothing here.
   */
  async verify(events: EventStore): Promise<Verification> {
    await events.start()
    const { verifier } = await this.signer()
    const signed = await checkpoints(events)
    const outside = this.#target === undefined ? [] : await anchored(events, this.#target)
    const expectedRoots = new Map<string, Checkpoint>()
    for (const note of [...signed.slice(-maxCompared), ...outside.slice(-maxCompared)]) {
      const checkpoint = await openNote(note, [verifier]).catch(() => undefined)
      if (checkpoint?.origin !== originOf(events)) continue
      expectedRoots.set(`${checkpoint.size} ${Buffer.from(checkpoint.root).toString('hex')}`, checkpoint)
    }
    const verification = await events.verify({ expectedRoots: [...expectedRoots.values()] })
    this.verified = { ok: verification.ok, at: Date.now() }
    return verification
  }

  /** Signs what the log is now, and moves what is due to the archive. */
  async round(events: EventStore): Promise<void> {
    if (events.store.gapless) await this.sign(events)
    if (this.segments !== undefined && Object.keys(this.retention).length > 0)
      await retain(events, { archive: this.segments, ...this.retention })
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers.splice(0)) clearInterval(timer)
    await this.#round
  }
}
