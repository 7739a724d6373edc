/** One event of a stream (HTML Standard, 9.2.6). */
export interface ServerSentEvent {
  readonly id: string
  readonly data: string
}

/** Reads a `text/event-stream` as it comes. */
export async function* serverSentEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const decoder = new TextDecoder()
  let rest = ''
  let [id, data] = ['', '']
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split(/\r\n|\n|\r/)
    rest = lines.pop()!
    for (const line of lines) {
      if (line === '') {
        if (data !== '') yield { id, data }
        ;[id, data] = ['', '']
      } else if (line.startsWith('id:')) id = line.slice(3).trimStart()
      else if (line.startsWith('data:')) data += (data === '' ? '' : '\n') + line.slice(5).replace(/^ /, '')
    }
  }
}
