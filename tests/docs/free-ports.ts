import { Server } from 'node:net'

// Loaded in front of a documented program: each server of it takes a free port in place of the one that the document names, so
// that programs run beside each other.
const listen = Server.prototype.listen
Server.prototype.listen = function (this: Server, ...given: never[]): Server {
  const [first, ...rest] = given as unknown[]
  const port =
    typeof first === 'number'
      ? 0
      : typeof first === 'object' && first !== null && 'port' in first
        ? { ...first, port: 0 }
        : first
  return listen.apply(this, [port, ...rest] as never)
} as typeof Server.prototype.listen
