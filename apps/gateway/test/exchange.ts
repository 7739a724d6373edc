import { connect } from 'node:net'

/** What came back for bytes that were sent as they are. */
export interface Exchange {
  readonly text: string
  readonly statuses: readonly number[]
  readonly closed: boolean
}

/** Sends bytes and reads until the server closes, or has been silent for `quietMs` after an answer. */
export function exchange(port: number, bytes: string | Buffer, quietMs = 150): Promise<Exchange> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let text = ''
    let timer: NodeJS.Timeout | undefined
    const done = (closed: boolean) => {
      clearTimeout(timer)
      socket.destroy()
      const statuses = [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status))
      resolve({ text, statuses, closed })
    }
    socket.on('connect', () => socket.write(bytes))
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      clearTimeout(timer)
      timer = setTimeout(() => done(false), quietMs)
    })
    socket.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ECONNRESET' ? done(true) : reject(error)))
    socket.on('close', () => done(true))
  })
}
