import { connect } from 'node:net'

/** What Redis answers: text, number, nothing, or a list of these. */
export type Reply = string | number | null | readonly Reply[]

/** Sends one command on a connection of its own; an error reply and a lost connection reject. */
export function redisCommand(
  port: number,
  args: readonly (string | number)[],
  options: { readonly deadlineMs?: number } = {},
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port })
    let received = Buffer.alloc(0)
    socket.setTimeout(options.deadlineMs ?? 5_000, () =>
      socket.destroy(new Error(`Redis on port ${port} does not answer`)),
    )
    socket.on('error', reject)
    socket.on('close', () => reject(new Error(`Redis on port ${port} closed the connection`)))
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk])
      const parsed = parse(received, 0)
      if (!parsed) return
      if (parsed.value instanceof Error) reject(parsed.value)
      else resolve(parsed.value)
      socket.destroy()
    })
    const words = args.map((word) => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`)
    socket.write(`*${args.length}\r\n${words.join('')}`)
  })
}

interface Parsed {
  readonly value: Reply | Error
  readonly next: number
}

function parse(bytes: Buffer, at: number): Parsed | undefined {
  const end = bytes.indexOf('\r\n', at)
  if (end === -1) return undefined
  const line = bytes.toString('utf8', at + 1, end)
  const next = end + 2
  switch (String.fromCharCode(bytes[at] ?? 0)) {
    case '+':
      return { value: line, next }
    case '-':
      return { value: new Error(line), next }
    case ':':
      return { value: Number(line), next }
    case '$': {
      const length = Number(line)
      if (length < 0) return { value: null, next }
      if (bytes.length < next + length + 2) return undefined
      return { value: bytes.toString('utf8', next, next + length), next: next + length + 2 }
    }
    case '*': {
      if (Number(line) < 0) return { value: null, next }
      const values: Reply[] = []
      let position = next
      for (let index = 0; index < Number(line); index++) {
        const element = parse(bytes, position)
        if (!element) return undefined
        if (element.value instanceof Error) return element
        values.push(element.value)
        position = element.next
      }
      return { value: values, next: position }
    }
    default:
      return { value: new Error(`Not a Redis reply: ${line}`), next }
  }
}
