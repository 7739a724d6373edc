/** Numbers from 0 to 1 that depend on the seed alone (mulberry32). */
export function chance(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

type Random = () => number

const pick = <Value>(random: Random, values: readonly Value[]): Value =>
  values[Math.floor(random() * values.length)] as Value
const below = (random: Random, bound: number): number => Math.floor(random() * bound)

/** A message in parts, so that a mutation can take hold of one. */
interface Draft {
  method: string
  target: string
  version: string
  fields: [name: string, value: string][]
  body: string
  lineEnd: string
}

const methods = ['GET', 'GET', 'POST', 'POST', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH']
const oddMethods = ['CONNECT', 'TRACE', 'PRI', 'get', 'BREW', 'GET\t', 'M-SEARCH', '']
const harmless: readonly [string, string][] = [
  ['Accept', '*/*'],
  ['Cookie', 'a=b; c=d'],
  ['X-Long', 'x'.repeat(300)],
  ['Content-Type', 'application/json'],
  ['Idempotency-Key', 'a-key'],
  ['Authorization', 'Bearer token'],
  ['X-Forwarded-For', '6.6.6.6'],
  ['Via', '1.1 other'],
  ['TE', 'trailers'],
  ['User-Agent', 'latin1 \xe4\xf6\xfc'],
  ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
]
const framing: readonly [string, string][] = [
  ['Transfer-Encoding', 'chunked'],
  ['Transfer-Encoding', 'gzip, chunked'],
  ['Transfer-Encoding', 'chunked, identity'],
  ['Transfer-Encoding', 'identity'],
  ['Transfer-Encoding', 'xchunked'],
  ['Transfer-Encoding', '\x0bchunked'],
  ['Transfer-Encoding', 'chunked\t'],
  ['Transfer-Encoding', 'CHUNKED'],
  ['Transfer-Encoding', ''],
  ['Transfer-Encoding ', 'chunked'],
  ['transfer-encoding\t', 'chunked'],
  ['Content-Length', '0'],
  ['Content-Length', '5'],
  ['Content-Length', '+5'],
  ['Content-Length', '5, 5'],
  ['Content-Length', '0x5'],
  ['Content-Length', '-1'],
  ['Content-Length', '005'],
  ['Content-Length', '99999999999999999999'],
  ['Content-Length', '5 '],
  ['Content_Length', '5'],
  ['Host', 'b'],
  ['Host', 'a b'],
  ['Host', 'u@a'],
  ['Host', ''],
  ['Connection', 'close'],
  ['Connection', 'keep-alive'],
  ['Connection', 'Idempotency-Key'],
  ['Connection', 'Content-Length, Transfer-Encoding'],
  ['Connection', 'x-a, x-long'],
  ['Upgrade', 'h2c'],
  ['Expect', '100-continue'],
  ['Expect', 'tea'],
  ['Trailer', 'Host'],
  ['Content-Encoding', 'gzip'],
  ['Max-Forwards', '0'],
  ['__proto__', 'x'],
  ['Via', '1.1 gw'],
  ['X-Request-ID', 'a b'],
]
const targetTails = [
  '?q=1',
  '#a',
  '/../x',
  '/./x',
  '//x',
  '/%2e%2e/x',
  '/%2fx',
  '/%zz',
  '/%00',
  '\\x',
  '/ä'.normalize(),
  '?%',
  '/a%20b',
  ';p=1',
  '/~x',
  "/!$&'()*+,;=:@",
]
const odd = [
  '\r',
  '\n',
  '\r\n',
  '\0',
  ' ',
  '\t',
  ':',
  ';',
  ',',
  '\x0b',
  '\x7f',
  '\x80',
  '\xff',
  '0',
  'f',
  '%',
  '/',
  '\r\n\r\n',
  '\r\n ',
]

/** A request that asks for a path under `/smuggled`, for a place where nobody may take it for a request. */
const smuggled = (id: string, route: string) => `GET ${route}smuggled/${id} HTTP/1.1\r\nHost: a\r\n\r\n`

/** The n-th message of a seed: a request of the grammar, most of them changed in one to three places. */
export function messageOf(seed: number, n: number): string {
  const random = chance(Math.imul(seed, 0x9e3779b1) ^ Math.imul(n + 1, 0x85ebca6b))
  const id = n.toString(36)
  const route = random() < 0.25 ? '/p/' : '/h/'
  const draft: Draft = {
    method: pick(random, methods),
    target: `${route}${id}`,
    version: 'HTTP/1.1',
    fields: [['Host', 'a']],
    body: '',
    lineEnd: '\r\n',
  }
  for (let i = below(random, 3); i > 0; i--) draft.fields.push(pick(random, harmless))
  if (!/^(?:GET|HEAD|DELETE|OPTIONS)$/.test(draft.method) || random() < 0.1) addBody(draft, random, smuggled(id, route))
  const mutations = random() < 0.15 ? 0 : 1 + below(random, 3)
  for (let i = 0; i < mutations; i++) if (random() < 0.6) mutateDraft(draft, random, smuggled(id, route))
  let text = textOf(draft)
  if (mutations > 0 && random() < 0.4) for (let i = below(random, 3); i >= 0; i--) text = mutateBytes(text, random)
  return text
}

function addBody(draft: Draft, random: Random, inner: string): void {
  const content = pick(random, ['', 'abcde', '{"a":1}', inner, `${inner}${inner}`, 'x'.repeat(below(random, 2_000))])
  if (random() < 0.5) {
    draft.fields.push(['Content-Length', String(content.length)])
    draft.body = content
    return
  }
  draft.fields.push(['Transfer-Encoding', 'chunked'])
  const cut = below(random, content.length + 1)
  const pieces = [content.slice(0, cut), content.slice(cut)].filter((piece) => piece !== '')
  const extension = random() < 0.2 ? pick(random, [';a', ';a=b', ' ; a="b"', `;${'x'.repeat(100)}`]) : ''
  const zeros = random() < 0.1 ? '000' : ''
  const trailers =
    random() < 0.2 ? pick(random, ['Host: b\r\n', 'Content-Length: 3\r\n', 'X-Sum: 1\r\n', `X: ${inner}`]) : ''
  draft.body = `${pieces.map((piece) => `${zeros}${piece.length.toString(16)}${extension}\r\n${piece}\r\n`).join('')}0\r\n${trailers}\r\n`
}

function mutateDraft(draft: Draft, random: Random, inner: string): void {
  const { fields } = draft
  const at = below(random, fields.length)
  switch (below(random, 14)) {
    case 0:
    case 1:
    case 2:
      fields.splice(at, 0, pick(random, framing))
      return
    case 3:
      if (fields[at] !== undefined) fields.splice(at, 0, [...fields[at]])
      return
    case 4:
      fields.splice(at, 1)
      return
    case 5:
      if (fields[at] !== undefined) fields[at] = [fields[at][0] + pick(random, odd), fields[at][1]]
      return
    case 6:
      if (fields[at] !== undefined) fields[at] = [fields[at][0], pick(random, odd) + fields[at][1] + pick(random, odd)]
      return
    case 7:
      draft.target += pick(random, targetTails)
      return
    case 8:
      draft.target = pick(random, [
        `http://a${draft.target}`,
        `http://b${draft.target}`,
        `//a${draft.target}`,
        '*',
        draft.target.slice(1),
      ])
      return
    case 9:
      draft.method = pick(random, oddMethods)
      return
    case 10:
      draft.version = pick(random, [
        'HTTP/1.0',
        'HTTP/1.2',
        'HTTP/2.0',
        'HTTP/0.9',
        'http/1.1',
        'HTTP/1.1 ',
        'HTTP/11',
        '',
      ])
      return
    case 11: {
      const length = fields.find(([name]) => name === 'Content-Length')
      if (length !== undefined)
        length[1] = String(Math.max(0, Number(length[1]) + pick(random, [-1, 1, -5, 30, 200])) || 0)
      else draft.body += inner
      return
    }
    case 12:
      draft.body = pick(random, [
        inner,
        `0\r\n\r\n${inner}`,
        `5\r\nabcde\r\n0\r\n\r\n${inner}`,
        `5;\n\r\nabcde\r\n0\r\n\r\n${inner}`,
        `-1\r\n${inner}`,
      ])
      return
    default:
      if (random() < 0.3) draft.lineEnd = pick(random, ['\n', '\r', '\r\r\n', '\r\n'])
      else fields.push(['X-Many', 'y'.repeat(below(random, 400))])
  }
}

function textOf({ method, target, version, fields, body, lineEnd }: Draft): string {
  return [`${method} ${target} ${version}`, ...fields.map(([name, value]) => `${name}: ${value}`), '', body].join(
    lineEnd,
  )
}

function mutateBytes(text: string, random: Random): string {
  const at = below(random, text.length)
  switch (below(random, 6)) {
    case 0:
      return text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ (1 << below(random, 8))) + text.slice(at + 1)
    case 1:
      return text.slice(0, at) + pick(random, odd) + text.slice(at)
    case 2:
      return text.slice(0, at) + text.slice(at + 1 + below(random, 3))
    case 3: {
      const length = 1 + below(random, 40)
      return text.slice(0, at) + text.slice(at, at + length) + text.slice(at)
    }
    case 4:
      return text.slice(0, at)
    default:
      return text.slice(0, at) + pick(random, odd) + text.slice(at + 1)
  }
}
