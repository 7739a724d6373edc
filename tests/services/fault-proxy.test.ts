import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type FaultProxy, type FaultProxyOptions, faultProxy, redis } from './index.ts'

let server: Server
let heard: string
let proxy: FaultProxy
const clients: Socket[] = []

beforeEach(async () => {
  heard = ''
  server = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (bytes) => {
      heard += bytes
      socket.write(`echo ${bytes}`)
    })
  }).listen({ host: '127.0.0.1', port: 0 })
  await once(server, 'listening')
})

afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy()
  await proxy.close()
  server.close()
})

async function start(options: FaultProxyOptions = {}): Promise<void> {
  const { port } = server.address() as { port: number }
  proxy = await faultProxy({ port }, options)
}

async function client(): Promise<Socket> {
  const socket = connect({ host: proxy.host, port: proxy.port }).on('error', () => {})
  clients.push(socket)
  await once(socket, 'connect')
  return socket
}

async function ask(socket: Socket, text: string): Promise<string> {
  socket.write(text)
  const [bytes] = await once(socket, 'data')
  return String(bytes)
}

async function failure(socket: Socket): Promise<string | undefined> {
  const [error] = await once(socket, 'error')
  return (error as NodeJS.ErrnoException).code
}

const until = async (condition: () => boolean) => {
  while (!condition()) await sleep(5)
}

test('pass forwards both ways, and a close reaches the other side', async () => {
  await start()
  const socket = await client()
  expect(await ask(socket, 'hello')).toBe('echo hello')
  expect(proxy.counts).toMatchObject({ connections: 1, open: 1, forwardedBytes: { c2s: 5, s2c: 10 }, resets: 0 })
  socket.end()
  await once(socket, 'close')
  await until(() => proxy.counts.open === 0)
})

test('blackhole loses what both sides send and keeps the sockets open; healed, the connection is reset', async () => {
  await start()
  const old = await client()
  await ask(old, 'before')
  await proxy.set('blackhole')
  const fresh = await client()
  old.write('lost')
  fresh.write('lost too')
  await until(() => proxy.counts.lostBytes.c2s === 12)
  expect(heard).toBe('before')
  expect(proxy.counts.open).toBe(2)
  const failures = [failure(old), failure(fresh)]
  await proxy.set('pass')
  expect(await Promise.all(failures)).toEqual(['ECONNRESET', 'ECONNRESET'])
  expect(proxy.counts.resets).toBe(2)
  expect(await ask(await client(), 'again')).toBe('echo again')
})

test('a connection that lost nothing outlives a blackhole', async () => {
  await start()
  const socket = await client()
  await ask(socket, 'one')
  await proxy.set('blackhole')
  await proxy.set('pass')
  expect(await ask(socket, 'two')).toBe('echo two')
})

test('half-open-c2s loses what the client sends', async () => {
  await start()
  const socket = await client()
  await ask(socket, 'one')
  await proxy.set('half-open-c2s')
  socket.write('lost')
  await until(() => proxy.counts.lostBytes.c2s === 4)
  expect(heard).toBe('one')
})

test('half-open-s2c lets the server hear and loses its answer', async () => {
  await start()
  const socket = await client()
  await ask(socket, 'one')
  await proxy.set('half-open-s2c')
  let answered = false
  socket.on('data', () => {
    answered = true
  })
  socket.write('heard')
  await until(() => proxy.counts.lostBytes.s2c === 'echo heard'.length)
  expect(heard).toBe('oneheard')
  expect(answered).toBe(false)
})

test('reset resets open connections and new ones', async () => {
  await start()
  const old = await client()
  await ask(old, 'one')
  const lost = failure(old)
  await proxy.set('reset')
  expect(await lost).toBe('ECONNRESET')
  const fresh = connect({ host: proxy.host, port: proxy.port })
  expect(await failure(fresh)).toBe('ECONNRESET')
  expect(proxy.counts.resets).toBe(2)
})

test('refuse resets open connections, refuses new ones, and listens on the same port again afterwards', async () => {
  await start()
  const old = await client()
  await ask(old, 'one')
  const lost = failure(old)
  await proxy.set('refuse')
  expect(await lost).toBe('ECONNRESET')
  expect(await failure(connect({ host: proxy.host, port: proxy.port }))).toBe('ECONNREFUSED')
  await proxy.set('pass')
  expect(await ask(await client(), 'two')).toBe('echo two')
})

test('a delay holds back every byte and keeps their order', async () => {
  await start()
  const socket = await client()
  await proxy.set({ delayMs: 150 })
  const began = performance.now()
  let received = ''
  socket.on('data', (bytes) => {
    received += bytes
  })
  for (const letter of 'abcdef') {
    socket.write(letter)
    await sleep(5)
  }
  await proxy.set('pass')
  socket.write('g')
  await until(() => heard.length === 7 && received.endsWith('g'))
  expect(heard).toBe('abcdefg')
  expect(performance.now() - began).toBeGreaterThanOrEqual(145)
  expect(proxy.counts.delayed).toBeGreaterThan(0)
})

test('onBytes switches the mode at an exact piece, which is dealt with in the new mode already', async () => {
  await start({
    onBytes(direction, bytes, set) {
      if (direction === 'c2s' && bytes.includes('COMMIT')) set('half-open-s2c')
    },
  })
  const socket = await client()
  expect(await ask(socket, 'BEGIN')).toBe('echo BEGIN')
  socket.write('COMMIT')
  await until(() => proxy.counts.lostBytes.s2c === 'echo COMMIT'.length)
  expect(heard).toBe('BEGINCOMMIT')
})

test('a URL keeps its scheme, user and path; a server that is gone resets its clients', async () => {
  const target = await redis()
  proxy = await faultProxy(`redis://user:secret@127.0.0.1:${target.port}/3?x=y`)
  expect(proxy.url).toBe(`redis://user:secret@127.0.0.1:${proxy.port}/3?x=y`)
  expect(await ask(await client(), 'PING\r\n')).toBe('+PONG\r\n')
  await target.stop()
  const socket = connect({ host: proxy.host, port: proxy.port })
  expect(await failure(socket)).toBe('ECONNRESET')
})
