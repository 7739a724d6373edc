/** Chunks of text as a body that is made as fast as it is taken. */
export function streamOf(chunks: AsyncGenerator<string>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      let text = ''
      while (text.length < 65_536) {
        const { done, value } = await chunks.next()
        if (done === true) {
          if (text !== '') controller.enqueue(encoder.encode(text))
          return controller.close()
        }
        text += value
      }
      controller.enqueue(encoder.encode(text))
    },
    async cancel() {
      await chunks.return(undefined)
    },
  })
}

/** The same stream, which ends when `signal` aborts; `over` is called once, however it ends. */
export function until(
  signal: AbortSignal,
  body: ReadableStream<Uint8Array>,
  over: () => void,
): ReadableStream<Uint8Array> {
  const reader = body.getReader()
  let stop = () => {}
  const aborted = new Promise<{ readonly done: true; readonly value: undefined }>((resolve) => {
    stop = () => resolve({ done: true, value: undefined })
  })
  let ended = false
  const end = () => {
    if (ended) return
    ended = true
    signal.removeEventListener('abort', stop)
    over()
  }
  signal.addEventListener('abort', stop, { once: true })
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await Promise.race([reader.read(), aborted]).catch((error: unknown) => {
          end()
          throw error
        })
        if (!done) return controller.enqueue(value!)
        end()
        controller.close()
        await reader.cancel().catch(() => {})
      },
      async cancel(reason) {
        end()
        await reader.cancel(reason)
      },
    },
    { highWaterMark: 0 },
  )
}
