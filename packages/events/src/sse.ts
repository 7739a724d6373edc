import { refuseUnknown, requireTimer } from './errors.ts'
import type { EventStore } from './event-store.ts'
import { type EventBatch, positionOf, type SubscribeOptions, subscribe } from './subscription.ts'

/** How a log is followed over HTTP. */
export interface EventStreamOptions extends Pick<SubscribeOptions, 'filter' | 'batch' | 'pollMs'> {
  /** Where a client begins that sends no `Last-Event-ID`: `end`. */
  readonly from?: SubscribeOptions['from']
  /** How often a comment keeps an idle connection open: 15,000. */
  readonly heartbeatMs?: number
}

/**
 * Answers a request with the log as server-sent events. A client that reconnects with `Last-Event-ID` goes on exactly after it. The
 * next batch is read when the client has taken the last one. Throws `invalid_option` for a `Last-Event-ID` that is no position.
 */
export function eventStream(events: EventStore, request: Request, options: EventStreamOptions = {}): Response {
  const { from = 'end', heartbeatMs = 15_000, filter, batch, pollMs, ...unknown } = options
  refuseUnknown(unknown)
  requireTimer('heartbeatMs', heartbeatMs)
  const last = request.headers.get('last-event-id')
  const abort = new AbortController()
  const batches = subscribe(events, {
    from: last === null ? from : { after: positionOf(last) },
    signal: abort.signal,
    ...(filter === undefined ? {} : { filter }),
    ...(batch === undefined ? {} : { batch }),
    ...(pollMs === undefined ? {} : { pollMs }),
  })
  const encoder = new TextEncoder()
  let pending: Promise<IteratorResult<EventBatch, unknown>> | undefined
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        pending ??= batches.next()
        let timer: ReturnType<typeof setTimeout> | undefined
        const heartbeat = new Promise<undefined>((resolve) => {
          timer = setTimeout(() => resolve(undefined), heartbeatMs)
        })
        const next = await Promise.race([pending, heartbeat])
        clearTimeout(timer)
        if (next === undefined) return controller.enqueue(encoder.encode(':\n\n'))
        pending = undefined
        if (next.done === true) return controller.close()
        controller.enqueue(encoder.encode(textOf(next.value)))
      },
      async cancel() {
        abort.abort()
        await batches.return?.()
      },
    },
    { highWaterMark: 1 },
  )
  return new Response(body, {
    headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' },
  })
}

/** An id without data moves the client's place past what its filter left out (HTML §9.2.6 dispatches nothing then). */
function textOf({ events, scannedTo, caughtUp }: EventBatch): string {
  let text = ''
  for (const event of events) text += `id: ${event.position}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
  if (events.at(-1)?.position !== scannedTo) text += `id: ${scannedTo}\n\n`
  return caughtUp ? `${text}: caught up\n\n` : text
}
