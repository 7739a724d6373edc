import { sameBytes } from './bytes.ts'
import { CompactRange } from './compact-range.ts'
import { chainHash, crc32, frameOf, type StoredEvent } from './event.ts'
import type { Head } from './store.ts'

/**
 * What a damaged log can be found to have:
 *
 * - `torn_tail`: the last line of a file ends in its middle, as a crash leaves it
 * - `bit_rot`: a row's own checksum does not fit, as a decaying disk leaves it
 * - `edit`: a row fits its checksum and not the chain
 * - `deletion`: positions are missing before the end
 * - `reorder`: rows are there and stand at other places than they were written at
 * - `fork`: the log is sound in itself and is not the one that was vouched for outside
 * - `truncation`: the log ends before what was vouched for outside
 * - `retention_cut`: the log begins later than it says that retention has cut it
 * - `time_decreased`, `version_gap`: a writer that broke the laws
 */
export type ProblemKind =
  | 'torn_tail'
  | 'bit_rot'
  | 'edit'
  | 'deletion'
  | 'reorder'
  | 'fork'
  | 'truncation'
  | 'retention_cut'
  | 'time_decreased'
  | 'version_gap'

/** One thing that is wrong, and where. */
export interface Problem {
  readonly kind: ProblemKind
  readonly position: string
  readonly detail: string
}

/** What was kept outside the log to compare it with. */
export interface Vouched {
  /** The last position that it covers. */
  readonly position: bigint
  /** The chain hash there. */
  readonly hash?: Uint8Array
  /** The root of the tree of that size. */
  readonly root?: Uint8Array
}

const maxProblems = 100
const maxVersions = 100_000
/** How far apart rows that changed places are recognised as such. */
const window = 64

/** Follows a log from one event to the next, in memory that does not grow with it. */
export class ChainChecker {
  readonly problems: Problem[] = []
  /** Positions of what was vouched for and could be compared: what lies before the cut, or behind a gap, cannot. */
  readonly compared: Set<bigint> = new Set()
  readonly #vouched: readonly Vouched[]
  readonly #tree: CompactRange | undefined
  readonly #start: bigint
  readonly #versions = new Map<string, number>()
  #before: Head
  #broken = false
  /** Rows that changed places: link hashes to try after them, and up to where nothing is compared. */
  #moved: { readonly until: bigint; readonly hashes: readonly Uint8Array[] } | undefined
  #gap = false
  /** The row before decayed, so that the link to it says nothing. */
  #unlinked = false
  events = 0

  /** Without `frontier`, the roots of `vouched` are not compared where the log does not begin at 1. */
  constructor(base: Head, frontier: readonly Uint8Array[] | undefined, vouched: readonly Vouched[]) {
    this.#before = base
    this.#start = base.position
    this.#tree = frontier === undefined ? undefined : new CompactRange(base.position, frontier)
    this.#vouched = vouched
    this.#compare()
  }

  get head(): Head {
    return this.#before
  }

  /** The root of all that was seen; undefined where the log's front is unknown or something is missing. */
  get root(): Uint8Array | undefined {
    return this.#gap ? undefined : this.#tree?.root()
  }

  report(kind: ProblemKind, position: bigint, detail: string): void {
    this.#broken = true
    if (this.problems.length < maxProblems) this.problems.push({ kind, position: position.toString(), detail })
  }

  /** Follows `page[i]`; the rest of the page shows whether rows changed places. */
  next(page: readonly StoredEvent[], i: number): void {
    const event = page[i]!
    const { position } = event
    const frame = frameOf(event)
    this.events++
    const expected = this.#before.position + 1n
    if (crc32(frame, event.hash) !== event.crc) {
      this.report('bit_rot', expected, 'the row does not fit its own checksum')
      this.#unlinked = true
      this.#gap = true
      this.#before = { ...event, position: position === expected ? position : expected }
      return
    } else if (position < expected) {
      if (position === this.#before.position && !sameBytes(event.hash, this.#before.hash))
        this.report('fork', position, 'two events claim this position')
      else this.report('reorder', position, `it stands after position ${this.#before.position}`)
      return
    } else if (position > expected) {
      const cut = expected === this.#start + 1n
      this.report(
        cut ? 'retention_cut' : 'deletion',
        expected,
        cut
          ? `the log is cut at ${this.#start} by its own account and begins at ${position}`
          : `positions ${expected} to ${position - 1n} are gone`,
      )
      this.#gap = true
    } else if (this.#moved !== undefined && position <= this.#moved.until) {
      // Compared when the place change was found.
    } else if (this.#unlinked) {
      this.#unlinked = false
    } else if (!this.#follows(event, frame)) {
      const other = this.#changedPlaces(page, i)
      if (other === undefined) this.report('edit', position, 'the event, or the one before, is not what was hashed')
      else {
        this.report('reorder', position, `what was written here stands at position ${other.position}`)
        this.#moved = {
          until: other.position,
          hashes: page
            .filter((row) => row.position >= position && row.position <= other.position)
            .map(({ hash }) => hash),
        }
      }
    } else this.#lawful(event)
    if (this.#moved !== undefined && position > this.#moved.until) this.#moved = undefined
    this.#before = event
    if (!this.#gap) this.#tree?.add(event.hash)
    this.#compare()
  }

  #follows(event: StoredEvent, frame: Uint8Array): boolean {
    if (sameBytes(chainHash(this.#before.hash, frame), event.hash)) return true
    return this.#moved?.hashes.some((hash) => sameBytes(chainHash(hash, frame), event.hash)) === true
  }

  /** The later row that was written at the place of `page[i]`. */
  #changedPlaces(page: readonly StoredEvent[], i: number): StoredEvent | undefined {
    const { position } = page[i]!
    return page
      .slice(i + 1, i + window)
      .find((row) => sameBytes(chainHash(this.#before.hash, frameOf({ ...row, position })), row.hash))
  }

  #lawful(event: StoredEvent): void {
    if (!this.#broken && event.time < this.#before.time)
      this.report('time_decreased', event.position, 'the time is before that of the event in front')
    const version = this.#versions.get(event.stream)
    const whole = this.#start === 0n && this.#versions.size < maxVersions
    if (!this.#broken && (version !== undefined || whole) && event.version !== (version ?? -1) + 1)
      this.report(
        'version_gap',
        event.position,
        `${event.stream} goes from ${version ?? 'nothing'} to ${event.version}`,
      )
    if (this.#versions.size < maxVersions || version !== undefined) this.#versions.set(event.stream, event.version)
  }

  /** An edited row keeps the hash it was written with, so that only a chain that was made anew is another log. */
  #compare(): void {
    for (const { position, hash, root } of this.#vouched) {
      if (position !== this.#before.position || this.#gap) continue
      if (hash !== undefined || this.#tree !== undefined) this.compared.add(position)
      const otherHash = hash !== undefined && !sameBytes(hash, this.#before.hash)
      const otherRoot = root !== undefined && this.#tree !== undefined && !sameBytes(root, this.#tree.root())
      if ((otherHash || otherRoot) && !this.#broken)
        this.report('fork', position, 'the log up to here is not the one that was vouched for')
    }
  }

  /** Goes on behind a row that cannot be read at all. */
  unreadable(): void {
    const position = this.#before.position + 1n
    this.events++
    this.report('bit_rot', position, 'the row cannot be read')
    this.#unlinked = true
    this.#gap = true
    this.#before = { ...this.#before, position }
  }

  /** Compares the end with what was vouched for; a torn last row accounts for one. */
  end(torn = false): void {
    for (const { position } of this.#vouched) {
      if (position <= this.#before.position + (torn ? 1n : 0n)) continue
      this.compared.add(position)
      this.report('truncation', this.#before.position, `the log was vouched for up to ${position} and ends here`)
    }
  }
}
