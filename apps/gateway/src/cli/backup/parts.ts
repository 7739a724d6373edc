import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { gunzip, gzip } from 'node:zlib'
import type { ArchiveTarget } from '@gw/events/archive'
import { CommandError } from '../failure.ts'

/** A piece of a file, as an object of its own. */
export interface Part {
  readonly name: string
  /** As it is stored: compressed. */
  readonly bytes: number
  readonly sha256: string
}

/** A file, or the rows of a table, in pieces. */
export interface StoredFile {
  readonly name: string
  /** Of the whole, uncompressed. */
  readonly bytes: number
  readonly sha256: string
  readonly parts: readonly Part[]
}

/** What is read before it is compressed and sent. */
const partBytes = 16_777_216
const compressed = promisify(gzip)
const decompressed = promisify(gunzip)

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Writes a stream of bytes as objects of their own, none of which may exist yet. */
export async function putFile(
  target: ArchiveTarget,
  folder: string,
  name: string,
  source: AsyncIterable<Uint8Array>,
  onBytes: (bytes: number) => void = () => {},
): Promise<StoredFile> {
  const whole = createHash('sha256')
  const parts: Part[] = []
  let bytes = 0
  let waiting: Uint8Array[] = []
  let length = 0
  const flush = async () => {
    const raw = Buffer.concat(waiting, length)
    waiting = []
    length = 0
    const body = new Uint8Array(await compressed(raw, { level: 3 }))
    const part = `${folder}/${name}.${String(parts.length + 1).padStart(6, '0')}.gz`
    if ((await target.put(part, body)) === 'exists')
      throw new CommandError(`${part} exists already, and a backup never writes over anything: run it again`)
    parts.push({ name: part, bytes: body.length, sha256: sha256(body) })
  }
  for await (const chunk of source) {
    whole.update(chunk)
    bytes += chunk.length
    for (let at = 0; at < chunk.length; ) {
      const piece = chunk.subarray(at, at + partBytes - length)
      waiting.push(piece)
      length += piece.length
      at += piece.length
      if (length === partBytes) await flush()
    }
    onBytes(bytes)
  }
  if (length > 0 || parts.length === 0) await flush()
  return { name, bytes, sha256: whole.digest('hex'), parts }
}

/** Reads a file back, after each piece was found to be what was written; throws at the end where the whole is not. */
export async function* readFile(
  target: ArchiveTarget,
  { name, sha256: expected, parts }: StoredFile,
): AsyncGenerator<Uint8Array> {
  const whole = createHash('sha256')
  for (const part of parts) {
    const body = await target.get(part.name)
    if (body === undefined) throw new CommandError(`The backup is damaged: ${part.name} is missing`)
    if (sha256(body) !== part.sha256)
      throw new CommandError(`The backup is damaged: ${part.name} is not what was written`)
    const raw = await decompressed(body)
    whole.update(raw)
    yield raw
  }
  if (whole.digest('hex') !== expected) throw new CommandError(`The backup is damaged: ${name} is not whole`)
}
