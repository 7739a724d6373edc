import { mkdtempSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createGateway, type RunningGateway } from '../src/index.ts'
import { exchange as exchangeWith } from './exchange.ts'

let running: RunningGateway
let port: number
let smuggled = 0
let bodyBytes = 0

beforeAll(async () => {
  const gateway = await createGateway({
    dataDir: join(mkdtempSync(join(tmpdir(), 'gw-edge-')), 'data'),
    admin: { enabled: false },
    maxBodyBytes: 100_000,
    drainDelayMs: 0,
  })
  gateway.post('/echo', async (c) => {
    const body = await c.req.text()
    return c.json({ length: body.length, key: c.req.header('idempotency-key') ?? null })
  })
  gateway.get('/echo', (c) => c.text('get'))
  gateway.get('/slow', async (c) => {
    await new Promise((resolve) => setTimeout(resolve, 100))
    return c.text('slow')
  })
  gateway.post('/counted', async (c) => {
    for await (const chunk of c.req.raw.body!) bodyBytes += chunk.length
    return c.text('all of it')
  })
  gateway.post('/refused', (c) => c.json({ code: 'unauthenticated' }, 401))
  gateway.all('/smuggled', (c) => {
    smuggled++
    return c.text('smuggled')
  })
  running = await gateway.run({ port: 0 })
  port = Number(new URL(running.url).port)
})

afterAll(() => running.stop())

const exchange = (bytes: string | Buffer, quietMs?: number) => exchangeWith(port, bytes, quietMs)
const behind = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n'
const get = (target: string, head = 'Host: a\r\n') => `GET ${target} HTTP/1.1\r\n${head}\r\n`
const post = (head: string, body = '', version = '1.1') => `POST /echo HTTP/${version}\r\nHost: a\r\n${head}\r\n${body}`

/** Name, bytes, the statuses that are right. All of these end the connection. */
type Refused = [name: string, bytes: string | Buffer, ...statuses: number[]]

const refused: Refused[] = [
  [
    'F1: Content-Length and Transfer-Encoding',
    post('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${behind}`),
    400,
  ],
  ['F1: two Content-Lengths', post('Content-Length: 4\r\nContent-Length: 5\r\n', 'abcde'), 400],
  [
    'F1: Transfer-Encoding and Content-Length',
    post('Transfer-Encoding: chunked\r\nContent-Length: 4\r\n', `0\r\n\r\n${behind}`),
    400,
  ],
  ['F1: the same Content-Length twice', post('Content-Length: 5\r\nContent-Length: 5\r\n', 'abcde'), 400],
  ['F1: a list of Content-Lengths', post('Content-Length: 5, 5\r\n', 'abcde'), 400],
  ...['+5', '-1', '0x5', '', '5 5', '5;', '\x0b5', '99999999999999999999'].map(
    (length) =>
      [
        `F1: Content-Length ${length || 'empty'}`,
        post(`Content-Length: ${length}\r\n`, 'abcde'),
        400,
        413,
      ] satisfies Refused,
  ),
  ...['', 'xchunked', 'identity', 'chunked, identity', 'chunked, chunked', ',chunked', '"chunked"', '\x0bchunked'].map(
    (coding) =>
      [
        `F2: Transfer-Encoding ${JSON.stringify(coding)}`,
        post(`Transfer-Encoding: ${coding}\r\n`, `0\r\n\r\n${behind}`),
        400,
        501,
      ] satisfies Refused,
  ),
  [
    'F2: Transfer-Encoding twice',
    post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${behind}`),
    400,
  ],
  ['F2: a space before the colon', post('Transfer-Encoding : chunked\r\n', `0\r\n\r\n${behind}`), 400],
  [
    'F3: gzip and chunked in two fields',
    post('Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${behind}`),
    400,
    501,
  ],
  ['F3: gzip, chunked', post('Transfer-Encoding: gzip, chunked\r\n', `0\r\n\r\n${behind}`), 501],
  [
    'F4: Transfer-Encoding in HTTP/1.0',
    post('Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n', `0\r\n\r\n${behind}`, '1.0'),
    400,
  ],
  ['F5: two Hosts', get('/echo', 'Host: a\r\nHost: b\r\n') + behind, 400],
  ['F5: the same Host twice', get('/echo', 'Host: a\r\nHost: a\r\n') + behind, 400],
  ['F5: an empty Host', get('/echo', 'Host:\r\n') + behind, 400],
  ['F5: a Host with a path', get('/echo', 'Host: a/b\r\n') + behind, 400],
  ['F5: a Host with a list', get('/echo', 'Host: a, b\r\n') + behind, 400],
  ['F5: no Host', get('/echo', '') + behind, 400],
  ['F5: a Host that is none', get('/echo', 'Host: a b\r\n') + behind, 400],
  ['F5: user information in Host', get('/echo', 'Host: user@a\r\n') + behind, 400],
  ['F6: HTTP/2.0', `GET /echo HTTP/2.0\r\nHost: a\r\n\r\n${behind}`, 505, 400],
  ['F6: HTTP/1.2', `GET /echo HTTP/1.2\r\nHost: a\r\n\r\n${behind}`, 505, 400],
  ['F6: HTTP/0.9', `GET /echo HTTP/0.9\r\nHost: a\r\n\r\n${behind}`, 505, 400],
  ['F6: no version', `GET /echo\r\nHost: a\r\n\r\n${behind}`, 505, 400],
  ['F6: HTTP/3.0', `GET /echo HTTP/3.0\r\nHost: a\r\n\r\n${behind}`, 505, 400],
  ['F7: a target of another authority', get('http://other/echo') + behind, 400],
  ['F7: another authority with user information', get('http://u@a/echo', 'Host: u@a\r\n') + behind, 400],
  ['F7: another scheme', get('file:///echo') + behind, 400],
  ...[
    '/health#a',
    '/%zz',
    '/%00',
    '/a\\b',
    '//echo',
    '/./echo',
    '/p/../echo',
    '/p/%2e%2e/echo',
    '/p/%2E/echo',
    '/a%2fb',
    '/a%5cb',
    '/a%5Cb',
    '/a%2Fb',
    '/.%2e/echo',
    '/a/%2E%2E',
    '/a/.',
    '/a//',
    '/a?b=%00',
    '/a?b=%',
    '/a\tb',
    '/a\x7fb',
    '*',
    '/..',
    'echo',
  ].map((target) => [`F8: ${target}`, get(target) + behind, 400] satisfies Refused),
  ['F8: raw UTF-8', Buffer.from(get('/ä') + behind, 'utf8'), 400],
  ['F9: bare LF', 'GET /echo HTTP/1.1\nHost: a\n\nGET /smuggled HTTP/1.1\nHost: a\n\n', 400],
  ['F9: bare CR in a value', get('/echo', 'Host: a\r\nX: a\rb\r\n') + behind, 400],
  ['F9: bare CR at the end of a line', get('/echo', 'Host: a\rX: a\r\n') + behind, 400],
  ['F9: NUL in a name', get('/echo', 'Host: a\r\nX\0: a\r\n') + behind, 400],
  ['F9: a line that begins with a space', get('/echo', ' Host: a\r\nHost: a\r\n') + behind, 400],
  ['F9: NUL in a value', get('/echo', 'Host: a\r\nX: a\0b\r\n') + behind, 400],
  ['F9: obs-fold', get('/echo', 'Host: a\r\nX: a\r\n b\r\n') + behind, 400],
  ['F9: no colon', get('/echo', 'Host: a\r\nX\r\n') + behind, 400],
  ['F9: a space in a name', get('/echo', 'Host: a\r\nX Y: a\r\n') + behind, 400],
  ['F9: an empty name', get('/echo', 'Host: a\r\n: a\r\n') + behind, 400],
  ['F9: UTF-8 in a name', Buffer.from(get('/echo', 'Host: a\r\nÄ: a\r\n') + behind, 'utf8'), 400],
  [
    'F10: a chunk size that overflows',
    post('Transfer-Encoding: chunked\r\n', 'fffffffffffffffff\r\na\r\n0\r\n\r\n'),
    400,
  ],
  ['F10: a negative chunk size', post('Transfer-Encoding: chunked\r\n', '-1\r\na\r\n0\r\n\r\n'), 400],
  ['F10: a chunk size 0x3', post('Transfer-Encoding: chunked\r\n', '0x3\r\nabc\r\n0\r\n\r\n'), 400],
  ['F10: a chunk that ends in LF', post('Transfer-Encoding: chunked\r\n', '3\nabc\n0\n\n'), 400],
  ['F10: an empty chunk size', post('Transfer-Encoding: chunked\r\n', '\r\nabc\r\n0\r\n\r\n'), 400],
  ['F10: a space in front of a chunk size', post('Transfer-Encoding: chunked\r\n', ' 3\r\nabc\r\n0\r\n\r\n'), 400],
  ['F10: LF in an extension', post('Transfer-Encoding: chunked\r\n', `3;a\nb\r\nabc\r\n0\r\n\r\n${behind}`), 400],
  ['F10: a chunk longer than it said', post('Transfer-Encoding: chunked\r\n', `3\r\nabcd\r\n0\r\n\r\n${behind}`), 400],
  ['F10: a chunk that ends in bare CR', post('Transfer-Encoding: chunked\r\n', `3\r\nabc\r0\r\n\r\n${behind}`), 400],
  [
    'F10: chunk extensions without end',
    post('Transfer-Encoding: chunked\r\n', `3;${'x'.repeat(20_000)}\r\nabc\r\n0\r\n\r\n`),
    413,
    400,
  ],
  ['F11: a head over 16 KiB', get('/echo', `Host: a\r\nX: ${'x'.repeat(17_000)}\r\n`), 431],
  ['F11: a URI over 8 KiB', get(`/${'x'.repeat(9_000)}`) + behind, 414],
  ['F11: more than 100 fields', get('/echo', `Host: a\r\n${'X: y\r\n'.repeat(101)}`) + behind, 431],
  ['F12: a declared body over the limit', post('Content-Length: 100001\r\n', 'abc'), 413],
  ['F13: CONNECT', `CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n${behind}`, 501, 405],
  ['F13: TRACE', `TRACE /echo HTTP/1.1\r\nHost: a\r\n\r\n${behind}`, 501, 405],
  ['F13: an unknown method', `BREW /echo HTTP/1.1\r\nHost: a\r\n\r\n${behind}`, 501, 400],
  ...[
    'Idempotency-Key: k',
    'Authorization: Bearer a',
    'Content-Type: text/plain',
    'X-Request-ID: r',
    'Host: a',
    'User-Agent: x',
    'Expect: 100-continue',
    'Max-Forwards: 1',
    'Content-Length: 0',
  ].map(
    (field) =>
      [
        `F15: ${field} twice`,
        `POST /echo HTTP/1.1\r\nHost: a\r\n${field}\r\n${field}\r\n\r\n${behind}`,
        400,
      ] satisfies Refused,
  ),
  ['3.4: a compressed body', post('Content-Encoding: gzip\r\nContent-Length: 3\r\n', 'abc'), 415],
  ['3.8: a field called __proto__', get('/echo', 'Host: a\r\n__proto__: x\r\n') + behind, 400],
]

test.each(refused)('%s', async (...[, bytes, ...statuses]: Refused) => {
  const { text, statuses: got, closed } = await exchange(bytes)
  expect(statuses, text).toContain(got[0])
  expect([got.length, closed, smuggled], text).toEqual([1, true, 0])
  expect(text).toContain('application/problem+json')
})

test('F7: a target with the authority of Host is the path it names', async () => {
  expect((await exchange(get('http://a/echo'))).statuses).toEqual([200])
})

test('F12: a chunked body over the limit is 413 soon after it, and the connection ends', async () => {
  const chunk = `${(16_384).toString(16)}\r\n${'x'.repeat(16_384)}\r\n`
  const { statuses, closed } = await exchange(
    post('Transfer-Encoding: chunked\r\n', chunk.repeat(100)).replace('/echo', '/counted'),
    1_000,
  )
  expect([statuses, closed]).toEqual([[413], true])
  expect(bodyBytes).toBeLessThanOrEqual(100_000 + 65_536)
})

test('F13: a path without the method is 405 with Allow, an unknown path 404, and the connection stays', async () => {
  const { statuses, text, closed } = await exchange(
    'DELETE /echo HTTP/1.1\r\nHost: a\r\n\r\nGET /nothing HTTP/1.1\r\nHost: a\r\n\r\n',
  )
  expect([statuses, closed]).toEqual([[405, 404], false])
  expect(text.toLowerCase()).toContain('allow: get, head, post')
})

test('F14: who expects 100-continue hears it when the body is wanted, and the refusal alone when it is not', async () => {
  const expecting = 'Expect: 100-continue\r\n'
  const wanted = await exchange(post(`${expecting}Content-Length: 3\r\n`))
  expect(wanted.statuses).toEqual([100])
  const tooLarge = await exchange(post(`${expecting}Content-Length: 100001\r\n`))
  expect(tooLarge.statuses).toEqual([413])
  const refusedByApp = await exchange(post(`${expecting}Content-Length: 3\r\n`).replace('/echo', '/refused'))
  expect(refusedByApp.statuses).toEqual([401])
  const other = await exchange(post('Expect: tea\r\nContent-Length: 3\r\n'))
  expect(other.statuses).toEqual([417])
})

test('F16: trailers are never merged into the head', async () => {
  const { text } = await exchange(
    post(
      'Transfer-Encoding: chunked\r\nTrailer: Idempotency-Key\r\n',
      '3\r\nabc\r\n0\r\nIdempotency-Key: late\r\n\r\n',
    ),
  )
  expect(text).toContain('{"length":3,"key":null}')
})

test('F17: the body of a GET is passed over, and the next request is read from where it begins', async () => {
  const { statuses } = await exchange(
    `GET /echo HTTP/1.1\r\nHost: a\r\nContent-Length: ${behind.length}\r\n\r\n${behind}${get('/echo')}`,
  )
  expect([statuses, smuggled]).toEqual([[200, 200], 0])
})

test('F18: an upgrade is not taken up', async () => {
  for (const protocol of ['h2c', 'websocket']) {
    const { statuses } = await exchange(get('/echo', `Host: a\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n`))
    expect(statuses).toEqual([200])
  }
})

test('F19: a client that goes away in the middle is not worth a line', async () => {
  const printed = [vi.spyOn(console, 'error'), vi.spyOn(console, 'info'), vi.spyOn(console, 'log')]
  const abort = () =>
    new Promise<void>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.write(post('Content-Length: 50\r\n', 'abc'), () => {
          socket.destroy()
          resolve()
        })
      })
    })
  for (let i = 0; i < 20; i++) await Promise.all(Array.from({ length: 25 }, abort))
  expect((await exchange(get('/echo'))).statuses).toEqual([200])
  expect(printed.reduce((sum, { mock }) => sum + mock.calls.length, 0)).toBe(0)
  for (const each of printed) each.mockRestore()
})

test('F9: a message that cannot be read is refused behind the answers to the requests before it', async () => {
  const { statuses, text } = await exchange(`${get('/slow')}${get('/echo')}GET /echo HTTP/1.1\nbroken\n\n`, 1_000)
  expect(statuses).toEqual([200, 200, 400])
  expect(text.indexOf('slow')).toBeLessThan(text.indexOf('message_malformed'))
})

test('F10: a body that breaks off in the middle is one refusal, in the place of the answer to its request', async () => {
  const { statuses, closed } = await exchange(
    `${get('/slow')}${post('Transfer-Encoding: chunked\r\n', `5\r\nabcde\r\nx\r\n${behind}`)}`,
    1_000,
  )
  expect([statuses, closed, smuggled]).toEqual([[200, 400], true, 0])
})

test('F13: CONNECT is refused behind the answers before it, and a client that is gone by then does no harm', async () => {
  const connecting = 'CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n'
  expect((await exchange(get('/slow') + connecting, 1_000)).statuses).toEqual([200, 501])
  const gone = connect(port, '127.0.0.1', () => gone.write(get('/slow') + connecting, () => gone.resetAndDestroy()))
  await new Promise((resolve) => gone.once('close', resolve))
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect((await exchange(get('/echo'))).statuses).toEqual([200])
})
