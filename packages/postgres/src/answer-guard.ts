import type { Socket } from 'node:net'

/** Messages that a client ends with, each answered by one ReadyForQuery: Query and Sync. */
const query = 0x51
const sync = 0x53
/** What the server says when it is the client's turn again: ReadyForQuery, PortalSuspended, CopyInResponse. */
const ready = 0x5a
const suspended = 0x73
const copyIn = 0x47
const copyData = 0x64
/** Parse, Bind, Describe, Execute, Close, Flush: a Sync has to follow. */
const unsynced = new Set([0x50, 0x42, 0x44, 0x45, 0x43, 0x48])

/**
 * Destroys a connected socket on which PostgreSQL's protocol is spoken when the server owes an answer and has said nothing for
 * `deadlineMs`. A connection that waits for nothing, as one that listens does, may be silent for ever.
 */
export function guardAnswers(socket: Socket, deadlineMs: number): void {
  let started = false
  /** Requests without their ReadyForQuery; messages written since the last of them. */
  let owed = 0
  let unfinished = false
  let clientsTurn = false
  let timer: ReturnType<typeof setTimeout> | undefined

  const watch = () => {
    const waiting = (owed > 0 || unfinished) && !clientsTurn
    if (!waiting) {
      clearTimeout(timer)
      timer = undefined
    } else timer ??= setTimeout(() => socket.destroy(), deadlineMs)
  }

  const write = socket.write
  socket.write = function guarded(this: Socket, chunk: Uint8Array | string, ...rest: never[]): boolean {
    if (typeof chunk !== 'string') {
      if (!started) {
        // The start-up message has no type.
        started = true
        owed = 1
      } else {
        const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
        for (let at = 0; at + 5 <= bytes.length; at += 1 + bytes.readUInt32BE(at + 1)) {
          const type = bytes[at]!
          if (type === query || type === sync) {
            owed++
            unfinished = false
          } else if (unsynced.has(type)) unfinished = true
          if (type !== copyData) clientsTurn = false
        }
      }
      watch()
    }
    return write.call(this, chunk, ...rest)
  } as Socket['write']

  onMessages(socket, (type) => {
    if (type === ready) owed = Math.max(0, owed - 1)
    else if (type === suspended || type === copyIn) clientsTurn = true
  })
  socket.on('data', () => {
    timer?.refresh()
    watch()
  })
  socket.once('close', () => clearTimeout(timer))
}

/** Calls `listener` with the type of each message of the server, however the bytes are cut. */
function onMessages(socket: Socket, listener: (type: number) => void): void {
  const header = Buffer.alloc(5)
  let filled = 0
  let body = 0
  socket.on('data', (chunk: Buffer) => {
    let at = 0
    while (at < chunk.length) {
      if (body > 0) {
        const part = Math.min(body, chunk.length - at)
        body -= part
        at += part
        continue
      }
      const part = chunk.copy(header, filled, at, Math.min(chunk.length, at + 5 - filled))
      filled += part
      at += part
      if (filled < 5) return
      filled = 0
      body = header.readUInt32BE(1) - 4
      listener(header[0]!)
    }
  })
}
