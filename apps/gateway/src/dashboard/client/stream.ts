import type { Tick } from '../wire.ts'

export type StreamState = 'connecting' | 'live' | 'lost'

type Listener = (tick: Tick) => void

const listeners = new Set<Listener>()
const stateListeners = new Set<(state: StreamState) => void>()
const silenceMs = 10_000
const hiddenMs = 60_000
let source: EventSource | undefined
let state: StreamState = 'connecting'
let watchdog: ReturnType<typeof setTimeout> | undefined
let retry: ReturnType<typeof setTimeout> | undefined
let hiding: ReturnType<typeof setTimeout> | undefined

/** Hears every tick, on the page's one stream. Answers how to end it. */
export function onTick(listener: Listener): () => void {
  listeners.add(listener)
  open()
  return () => listeners.delete(listener)
}

/** Hears whether the gateway is heard of. */
export function onState(listener: (state: StreamState) => void): () => void {
  stateListeners.add(listener)
  listener(state)
  return () => stateListeners.delete(listener)
}

function open(): void {
  if (source !== undefined || document.hidden) return
  clearTimeout(retry)
  source = new EventSource('/live')
  source.onmessage = ({ data }: MessageEvent<string>) => {
    change('live')
    listen()
    const tick = JSON.parse(data) as Tick
    for (const listener of listeners) listener(tick)
  }
  // The browser comes back by itself from a broken connection, but not from an answer that is no stream.
  source.onerror = () => {
    change('lost')
    if (source?.readyState !== EventSource.CLOSED) return
    again()
    void leaveIfUnknown()
  }
  listen()
}

/** Where the session is over, the page leads to the log-in and back. */
async function leaveIfUnknown(): Promise<void> {
  const answer = await fetch('/live/history', { method: 'HEAD' }).catch(() => undefined)
  if (answer?.status === 401) location.reload()
}

/** A stream that has gone silent is as good as broken. */
function listen(): void {
  clearTimeout(watchdog)
  watchdog = setTimeout(again, silenceMs)
}

function again(): void {
  close()
  change('lost')
  retry = setTimeout(open, 1_000 + Math.random() * 1_000)
}

function close(): void {
  clearTimeout(watchdog)
  source?.close()
  source = undefined
}

function change(next: StreamState): void {
  if (next === state) return
  state = next
  for (const listener of stateListeners) listener(state)
}

document.addEventListener('visibilitychange', () => {
  clearTimeout(hiding)
  if (document.hidden) hiding = setTimeout(close, hiddenMs)
  else open()
})
// A page that is left must not keep one of the few connections that a browser makes to a host.
addEventListener('pagehide', close)
addEventListener('pageshow', (event) => {
  if (event.persisted) open()
})
