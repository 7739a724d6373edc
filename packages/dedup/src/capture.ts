import { joined } from './crypto.ts'
import { nullBodyStatuses } from './replay.ts'
import { type SpillStore, type SpillWriter, spillField, spillName } from './spill.ts'
import type { StoredResponse } from './store.ts'
import type { Timers } from './timers.ts'

/** An answer on its way to its client, and to the store. */
export type Captured =
  /** It was all there. */
  | { readonly kind: 'whole'; readonly stored: StoredResponse; readonly response: Response }
  /** It flows; `stored` resolves before the client gets its end. */
  | { readonly kind: 'flowing'; readonly response: Response }
  /** It is an event stream, or has a body that cannot be kept: it flows untouched. */
  | { readonly kind: 'unkept'; readonly response: Response }

/** What becomes of an answer that is captured. */
export interface CaptureOptions {
  /** Called with the whole answer before its client gets the end. */
  settle(stored: StoredResponse): Promise<void>
  /** Called when the answer breaks off. */
  failed(error: unknown): void
  /** Where a body over the bound goes; it is not retained without. */
  readonly spill: SpillStore | undefined
  readonly timers: Timers
}

/**
 * Takes an answer's bytes without holding back its first: what is all there is kept whole; what flows is passed on as it comes
 * and settled before the client gets its end. A client that goes away stops nothing: the rest is read and kept all the same.
 */
export async function capture(response: Response, maxBytes: number, options: CaptureOptions): Promise<Captured> {
  const head = headOf(response)
  if (response.body === null || nullBodyStatuses.has(response.status))
    return { kind: 'whole', stored: { ...head, body: new Uint8Array() }, response }
  if (response.headers.get('content-type')?.startsWith('text/event-stream') === true)
    return { kind: 'unkept', response }

  const reader = response.body.getReader()
  const first: Uint8Array[] = []
  let length = 0
  while (length <= maxBytes) {
    const next = await nextChunk(reader, first.length > 0, options.timers)
    if (next === undefined) break
    if (next.done) {
      const body = joined(first)
      return { kind: 'whole', stored: { ...head, body }, response: new Response(body, response) }
    }
    first.push(next.value)
    length += next.value.length
  }
  const keeper = new Keeper(maxBytes, options.spill)
  for (const chunk of first) await keeper.add(chunk)
  const body = flowing(first, reader, {
    keep: (chunk) => keeper.add(chunk),
    ended: async () => options.settle(await keeper.stored(head)),
    failed(error) {
      keeper.abort()
      options.failed(error)
    },
  })
  return { kind: 'flowing', response: new Response(body, response) }
}

/** What of an answer is kept beside its body. The field that names a spilled body is ours to set, and nobody else's. */
export function headOf({ status, headers }: Response): Pick<StoredResponse, 'status' | 'headers'> {
  return { status, headers: [...headers].filter(([name]) => name !== spillField) }
}

/** Holds a body up to a bound, and beyond it in a spill, or not at all. A spill that fails costs its replay, not the answer. */
class Keeper {
  readonly #maxBytes: number
  #spill: SpillStore | undefined
  #chunks: Uint8Array[] = []
  #length = 0
  #writer: SpillWriter | undefined
  #name = ''

  constructor(maxBytes: number, spill: SpillStore | undefined) {
    this.#maxBytes = maxBytes
    this.#spill = spill
  }

  async add(chunk: Uint8Array): Promise<void> {
    this.#length += chunk.length
    this.#chunks.push(chunk)
    if (this.#length <= this.#maxBytes) return
    await this.#toSpill(async (spill) => {
      if (this.#writer === undefined) {
        this.#name = spillName()
        this.#writer = await spill.write(this.#name)
      }
      for (const kept of this.#chunks) await this.#writer.append(kept)
    })
    this.#chunks = []
  }

  async stored({ status, headers }: Pick<StoredResponse, 'status' | 'headers'>): Promise<StoredResponse> {
    if (this.#length <= this.#maxBytes) return { status, headers, body: joined(this.#chunks) }
    await this.#toSpill(async () => this.#writer?.finish())
    if (this.#spill === undefined) return { status, headers, body: undefined }
    return { status, headers: [...headers, [spillField, this.#name]], body: undefined }
  }

  abort(): void {
    void this.#writer?.abort().catch(() => {})
  }

  async #toSpill(write: (spill: SpillStore) => Promise<void>): Promise<void> {
    if (this.#spill === undefined) return
    try {
      await write(this.#spill)
    } catch {
      this.abort()
      this.#spill = undefined
    }
  }
}

type Chunk = { readonly done: false; readonly value: Uint8Array } | { readonly done: true }
type Reader = ReadableStreamDefaultReader<Uint8Array>

/** Reads are begun once and awaited by whoever comes next. */
const pending = new WeakMap<Reader, Promise<Chunk>>()

function begin(reader: Reader): Promise<Chunk> {
  let read = pending.get(reader)
  if (read === undefined) {
    read = reader.read() as Promise<Chunk>
    pending.set(reader, read)
  }
  return read
}

async function take(reader: Reader): Promise<Chunk> {
  const read = begin(reader)
  try {
    return await read
  } finally {
    pending.delete(reader)
  }
}

/** The next chunk; once there is one to pass on, only what comes within a turn of the event loop. */
function nextChunk(reader: Reader, hasOne: boolean, timers: Timers): Promise<Chunk | undefined> {
  if (!hasOne) return take(reader)
  return new Promise((resolve, reject) => {
    const timer = timers.setTimeout(() => {
      late = true
      resolve(undefined)
    }, 0)
    let late = false
    begin(reader).then(
      (chunk) => {
        if (late) return
        timers.clearTimeout(timer)
        pending.delete(reader)
        resolve(chunk)
      },
      (error: unknown) => {
        if (late) return
        timers.clearTimeout(timer)
        reject(error)
      },
    )
  })
}

function flowing(
  first: Uint8Array[],
  reader: Reader,
  {
    keep,
    ended,
    failed,
  }: { keep(chunk: Uint8Array): Promise<void>; ended(): Promise<void>; failed(error: unknown): void },
): ReadableStream<Uint8Array> {
  let pulling = false
  let gone = false
  const drain = async () => {
    try {
      for (let chunk = await take(reader); !chunk.done; chunk = await take(reader)) await keep(chunk.value)
      await ended()
    } catch (error) {
      failed(error)
    }
  }
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const early = first.shift()
      if (early !== undefined) {
        controller.enqueue(early)
        return
      }
      pulling = true
      try {
        const chunk = await take(reader)
        if (chunk.done) {
          await ended()
          if (!gone) controller.close()
          return
        }
        await keep(chunk.value)
        if (gone) await drain()
        else controller.enqueue(chunk.value)
      } catch (error) {
        failed(error)
        if (!gone) controller.error(error)
      } finally {
        pulling = false
      }
    },
    cancel() {
      gone = true
      if (!pulling) void drain()
    },
  })
}
