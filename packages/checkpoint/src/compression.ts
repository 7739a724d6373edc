import { CheckpointError } from './errors.ts'
import { boundedBytes } from './pieces.ts'

/** How bytes can be made smaller. */
export type Compression = 'gzip' | 'zstd'

/** The part of `node:zlib` that zstd needs; Bun and Deno have it too. */
interface Zlib {
  zstdCompress?(bytes: Uint8Array, done: (error: Error | null, result: Uint8Array) => void): void
  zstdDecompress?(
    bytes: Uint8Array,
    options: { readonly maxOutputLength: number },
    done: (error: Error | null, result: Uint8Array) => void,
  ): void
}

/** What compressed bytes may grow to when they are read: 1 GiB. */
const maxOutputBytes = 2 ** 30

function zlib(): Zlib {
  const { process } = globalThis as { process?: { getBuiltinModule?(name: string): unknown } }
  return (process?.getBuiltinModule?.('node:zlib') ?? {}) as Zlib
}

/** Whether this runtime can write and read `compression`. gzip is everywhere. */
export function canCompress(compression: Compression): boolean {
  return compression === 'gzip' || typeof zlib().zstdCompress === 'function'
}

export function compress(bytes: Uint8Array, compression: Compression): Promise<Uint8Array> {
  if (compression === 'gzip') return through(new CompressionStream('gzip'), bytes)
  return new Promise((resolve, reject) => {
    zlib().zstdCompress!(bytes, (error, result) => (error === null ? resolve(result) : reject(error)))
  })
}

export function decompress(bytes: Uint8Array, compression: Compression): Promise<Uint8Array> {
  if (compression === 'gzip') return through(new DecompressionStream('gzip'), bytes)
  const { zstdDecompress } = zlib()
  if (zstdDecompress === undefined)
    throw new CheckpointError('seal_broken', 'The payload is compressed with zstd, which this runtime does not have')
  return new Promise((resolve, reject) => {
    zstdDecompress(bytes, { maxOutputLength: maxOutputBytes }, (error, result) =>
      error === null ? resolve(result) : reject(error),
    )
  })
}

async function through(stream: GenericTransformStream, bytes: Uint8Array): Promise<Uint8Array> {
  const writer = (stream.writable as WritableStream<Uint8Array>).getWriter()
  // Its failure is the reader's too.
  writer
    .write(bytes)
    .then(() => writer.close())
    .catch(() => {})
  const unpacked = await boundedBytes(stream.readable as ReadableStream<Uint8Array>, maxOutputBytes)
  if (unpacked === undefined) throw new CheckpointError('seal_broken', 'The payload grows beyond what is read')
  return unpacked
}
