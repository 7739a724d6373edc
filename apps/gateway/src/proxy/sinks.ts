import type { ServerResponse } from 'node:http'
import { responseFields } from './fields.ts'
import type { KeptAnswer, LongAnswer } from './proxy.ts'
import type { AnswerSink } from './upstream.ts'

/** Writes an answer straight to the client's connection, at the pace at which it takes it. */
export function outgoingSink(
  outgoing: ServerResponse,
  {
    viaName,
    requestId,
    prepared,
    resume,
    onHead,
  }: {
    readonly viaName: string
    readonly requestId: string
    readonly prepared: readonly string[]
    readonly resume: () => void
    readonly onHead: (status: number) => void
  },
): AnswerSink {
  return {
    head(status, fields) {
      outgoing.on('drain', resume)
      outgoing.writeHead(status, [
        ...withoutField(responseFields(fields, viaName), 'x-request-id'),
        ...prepared,
        'x-request-id',
        requestId,
      ])
      onHead(status)
    },
    data: (chunk) => outgoing.write(chunk),
    end() {
      outgoing.end()
    },
    // The head is out: only a cut connection tells the client that the body is not whole.
    fail() {
      outgoing.destroy()
    },
  }
}

/** Makes an answer a `Response` whose body streams. */
export function streamingSink({
  viaName,
  resume,
  abort,
  onHead,
}: {
  readonly viaName: string
  readonly resume: () => void
  readonly abort: () => void
  readonly onHead: (response: Response) => void
}): AnswerSink {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined
  return {
    head(status, fields) {
      const headers = new Headers(pairs(responseFields(fields, viaName)))
      const empty = status === 204 || status === 304
      const body = new ReadableStream<Uint8Array>(
        {
          start(given) {
            controller = given
          },
          pull: resume,
          cancel: abort,
        },
        { highWaterMark: 4 },
      )
      onHead(new Response(empty ? null : body, { status, headers }))
    },
    data(chunk) {
      controller?.enqueue(chunk)
      return (controller?.desiredSize ?? 1) > 0
    },
    end() {
      controller?.close()
    },
    fail(error) {
      controller?.error(error)
    },
  }
}

/** Keeps a whole answer up to a bound; one that is longer becomes a stream, told to `onLong` as soon as that is known. */
export function collectingSink({
  maxBytes,
  viaName,
  resume,
  abort,
  onLong,
}: {
  readonly maxBytes: number
  readonly viaName: string
  readonly resume: () => void
  readonly abort: () => void
  readonly onLong: (answer: LongAnswer) => void
}): AnswerSink & { answer(): KeptAnswer } {
  let status = 0
  let fields: readonly string[] = []
  const chunks: Uint8Array[] = []
  let bytes = 0
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined
  return {
    head(given, raw) {
      status = given
      fields = responseFields(raw, viaName)
    },
    data(chunk) {
      if (controller === undefined) {
        chunks.push(chunk)
        bytes += chunk.length
        if (bytes <= maxBytes) return true
        const body = new ReadableStream<Uint8Array>({
          start(given) {
            controller = given
            for (const kept of chunks.splice(0)) given.enqueue(kept)
          },
          pull: resume,
          cancel: abort,
        })
        onLong({ status, fields: pairs(fields), body })
      } else controller.enqueue(chunk)
      return (controller?.desiredSize ?? 1) > 0
    },
    end() {
      controller?.close()
    },
    fail(error) {
      controller?.error(error)
    },
    answer: () => ({ status, fields: pairs(fields), body: Buffer.concat(chunks) }),
  }
}

function pairs(fields: readonly string[]): [string, string][] {
  const paired: [string, string][] = []
  for (let i = 0; i < fields.length; i += 2) paired.push([fields[i]!, fields[i + 1]!])
  return paired
}

function withoutField(fields: readonly string[], name: string): string[] {
  return fields.filter((_, i, all) => all[i - (i % 2)]!.toLowerCase() !== name)
}
