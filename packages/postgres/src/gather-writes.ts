import type { Socket } from 'node:net'

/**
 * Hands what is written to a socket in one turn to the system at once: statements that go one behind the other cost one call
 * and wake the server once.
 */
export function gatherWrites(socket: Socket): void {
  const { write } = socket
  let gathering = false
  socket.write = function gathered(this: Socket, ...chunk: Parameters<Socket['write']>): boolean {
    if (!gathering) {
      gathering = true
      socket.cork()
      // After all that follows from what is happening now.
      process.nextTick(() => {
        gathering = false
        socket.uncork()
      })
    }
    return write.apply(this, chunk)
  } as Socket['write']
}
