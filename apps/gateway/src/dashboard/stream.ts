import type { Context } from 'hono'
import type { FiguresFeed } from './figures-feed.ts'
import type { Tick } from './wire.ts'

const encoder = new TextEncoder()
/** What one browser may leave unread before its stream is ended; it comes back by itself. */
const maxUnread = 32
const maxStreams = 100

/**
 * What happens, as server-sent events. Each tick is made once for all who listen, and streams end when the gateway drains, so that they do
 * not hold its shutdown up.
 */
export function liveStream(feed: FiguresFeed) {
  let made: { readonly tick: Tick; readonly bytes: Uint8Array } | undefined
  const bytesOf = (tick: Tick): Uint8Array => {
    if (made?.tick !== tick) made = { tick, bytes: encoder.encode(`data: ${JSON.stringify(tick)}\n\n`) }
    return made.bytes
  }
  return (c: Context): Response => {
    if (feed.listeners >= maxStreams) return c.text('Too many pages are open', 503, { 'retry-after': '10' })
    let end = () => {}
    const body = new ReadableStream<Uint8Array>(
      {
        start(controller) {
          const close = () => {
            end()
            try {
              controller.close()
            } catch {
              // It is closed already.
            }
          }
          const unlisten = feed.listen((tick) => {
            if ((controller.desiredSize ?? 0) <= 0) return close()
            controller.enqueue(bytesOf(tick))
            if (tick.phase === 'draining' || tick.phase === 'stopped') close()
          })
          end = unlisten
          controller.enqueue(encoder.encode('retry: 1000\n\n'))
          c.req.raw.signal.addEventListener('abort', close, { once: true })
        },
        cancel: () => end(),
      },
      { highWaterMark: maxUnread },
    )
    return c.body(body, 200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    })
  }
}
