import { closeSync, existsSync, openSync, readSync } from 'node:fs'

/** Is there when the log may hold commits that were not synced: such a log can lose pieces in any order, and proves nothing. */
export function unsyncedMark(file: string): string {
  return `${file}-unsynced`
}

/** Where the log's chain of checksums breaks although it went on behind that. */
export interface LogDamage {
  readonly log: string
  /** The first frame that is not as it was written, from 1. */
  readonly frame: number
  /** The length of what is whole before it. */
  readonly wholeBytes: number
}

const headerBytes = 32
const frameHeaderBytes = 24
const framesAtOnce = 256
/** The last bit tells how checksums read their words. */
const magic = 0x377f_0682

type Sums = readonly [number, number]

/**
 * Looks in the write-ahead log of a database file that nobody has open for damage that SQLite itself takes for an unfinished end: it
 * drops the broken frame and all behind it. A commit is synced before the next one is written, so where a commit that follows another
 * is intact, and belongs to it, all before them had been on the disk. A broken end without that is what a crash leaves, and none.
 * Reads the log once. Format: https://sqlite.org/fileformat2.html#walformat
 */
export function damageOfLog(file: string): LogDamage | undefined {
  const log = `${file}-wal`
  if (!existsSync(log) || existsSync(unsyncedMark(file))) return undefined
  const descriptor = openSync(log, 'r')
  try {
    const bytes = new Uint8Array(headerBytes)
    if (readSync(descriptor, bytes, 0, headerBytes, 0) < headerBytes || bytes.every((byte) => byte === 0))
      return undefined
    const header = new DataView(bytes.buffer)
    const littleEndian = (header.getUint32(0) & 1) === 0
    const pageBytes = header.getUint32(8)
    const sums = sumsOf([0, 0], header, 0, 24, littleEndian)
    const headed =
      (header.getUint32(0) & ~1) === magic && sums[0] === header.getUint32(24) && sums[1] === header.getUint32(28)
    // Of a log without its head the frames still say whose they are.
    const found = scan(descriptor, headed ? pageBytes : 4_096, littleEndian, headed ? header : undefined)
    return found === undefined ? undefined : { log, ...found }
  } finally {
    closeSync(descriptor)
  }
}

function scan(
  descriptor: number,
  pageBytes: number,
  littleEndian: boolean,
  header: DataView | undefined,
): Omit<LogDamage, 'log'> | undefined {
  const frameBytes = frameHeaderBytes + pageBytes
  const bytes = new Uint8Array(frameBytes * framesAtOnce)
  const block = new DataView(bytes.buffer)
  let salts: Sums | undefined = header === undefined ? undefined : [header.getUint32(16), header.getUint32(20)]
  let before: Sums | undefined = header === undefined ? undefined : [header.getUint32(24), header.getUint32(28)]
  let broken: number | undefined = header === undefined ? 0 : undefined
  let committed = false
  for (let frame = 0; ; ) {
    const read = readSync(descriptor, bytes, 0, bytes.length, headerBytes + frame * frameBytes)
    const frames = Math.floor(read / frameBytes)
    if (frames === 0) return undefined
    for (let i = 0; i < frames; i++, frame++) {
      const at = i * frameBytes
      const own: Sums = [block.getUint32(at + 8), block.getUint32(at + 12)]
      const stored: Sums = [block.getUint32(at + 16), block.getUint32(at + 20)]
      salts ??= own
      const ours = equal(own, salts)
      const follows =
        ours && before !== undefined && equal(stored, sumsOfFrame(before, block, at, pageBytes, littleEndian))
      if (!follows) broken ??= frame
      else if (broken !== undefined && committed)
        return { frame: broken + 1, wholeBytes: header === undefined ? 0 : headerBytes + broken * frameBytes }
      committed = ours && block.getUint32(at + 4) !== 0
      before = stored
    }
  }
}

function sumsOfFrame(before: Sums, block: DataView, at: number, pageBytes: number, littleEndian: boolean): Sums {
  const head = sumsOf(before, block, at, 8, littleEndian)
  return sumsOf(head, block, at + frameHeaderBytes, pageBytes, littleEndian)
}

function sumsOf([a, b]: Sums, view: DataView, from: number, length: number, littleEndian: boolean): Sums {
  for (let at = from; at < from + length; at += 8) {
    a = (a + view.getUint32(at, littleEndian) + b) >>> 0
    b = (b + view.getUint32(at + 4, littleEndian) + a) >>> 0
  }
  return [a, b]
}

function equal(a: Sums, b: Sums): boolean {
  return a[0] === b[0] && a[1] === b[1]
}
