import type { Client, Reply } from './target.ts'

/** One thing that is promised of every server with keys. */
export interface ConformanceCase {
  /** The rule of this package's contract that it belongs to, and what sets it apart there. */
  readonly id: string
  readonly title: string
  /** The draft asks for it as well; the rest is this contract's own. */
  readonly draft: boolean
  /** What of the target it needs; it is not run without. */
  readonly needs?: 'otherHeaders' | 'slowPath' | 'requiredPath' | 'getPath'
  /** Throws what it found. */
  run(client: Client): Promise<void>
}

function must(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(what)
}

const succeeded = ({ status }: Reply) => status >= 200 && status < 300
const same = (a: Reply, b: Reply) =>
  a.status === b.status && a.bytes.length === b.bytes.length && a.bytes.every((byte, i) => byte === b.bytes[i])

/** What is found in answers of a server that refuses the operation itself would say nothing. */
function mustSucceed(one: Reply, two: Reply): void {
  must(succeeded(one) && succeeded(two), `they were answered with ${one.status} and ${two.status}`)
}

function mustReplay(first: Reply, again: Reply, how: string): void {
  must(succeeded(first), `the first request was answered with ${first.status}`)
  must(again.status === first.status, `${how} was answered with ${again.status}, and the first with ${first.status}`)
  must(same(first, again), `${how} got another body than the first`)
  must(again.replayed, `${how} got the same answer, not marked with Idempotent-Replayed: true`)
}

function mustRefuse(reply: Reply, status: number, how: string): void {
  must(reply.status === status, `${how} was answered with ${reply.status}, expected ${status}`)
  const type = reply.headers.get('content-type') ?? 'none'
  must(type.startsWith('application/problem+json'), `${how} was refused with content type ${type}`)
  let code: unknown
  try {
    code = (JSON.parse(reply.text) as { code?: unknown }).code
  } catch {
    // Told below.
  }
  must(typeof code === 'string', `${how} was refused without a code`)
}

function mustConflict(reply: Reply, how: string): void {
  mustRefuse(reply, 409, how)
  const after = reply.headers.get('retry-after') ?? 'none'
  must(/^[1-9]\d*$/.test(after), `${how} was told to come back after \`${after}\`, expected whole seconds`)
}

function withMember(body: string, member: string): string {
  return body.trimEnd().replace(/\}$/, `${/\{\s*\}$/.test(body) ? '' : ','}${member}}`)
}

/** Members in the other order, and more white space. */
function permuted(body: string): string {
  const members = Object.entries(JSON.parse(body) as object).reverse()
  return `{ ${members.map(([name, value]) => `${JSON.stringify(name)} :  ${JSON.stringify(value)}`).join(' ,\n ')} }`
}

/** The answer to come of a slow operation that has begun. */
async function begun(client: Client, key: string): Promise<{ readonly answer: Promise<Reply> }> {
  const answer = client.send({ key, path: client.target.slowPath! })
  // A case may be over before it is.
  answer.catch(() => {})
  await new Promise((resolve) => setTimeout(resolve, 250))
  return { answer }
}

/** Every case, in the order of the contract. */
export const conformanceCases: readonly ConformanceCase[] = [
  {
    id: 'unique',
    title: 'two keys are two requests, with two answers',
    draft: true,
    async run(client) {
      const [one, two] = [await client.send({ key: client.freshKey() }), await client.send({ key: client.freshKey() })]
      mustSucceed(one, two)
      must(!two.replayed, 'the second was answered with the first one’s answer')
      must(!same(one, two), 'both got the same body: the operation must answer with something new each time it runs')
    },
  },
  {
    id: 'R1',
    title: 'a repeat gets the same status and bytes, and is marked as such',
    draft: true,
    async run(client) {
      const key = client.freshKey()
      const first = await client.send({ key })
      must(!first.replayed, 'the first request was marked as a repeat')
      mustReplay(first, await client.send({ key }), 'the repeat')
      mustReplay(first, await client.send({ key }), 'the second repeat')
    },
  },
  {
    id: 'R2',
    title: 'a repeat brings no cookies, and none of the ids of the first exchange',
    draft: false,
    async run(client) {
      const key = client.freshKey()
      const first = await client.send({ key })
      const again = await client.send({ key })
      mustSucceed(first, again)
      must(again.headers.get('set-cookie') === null, 'the repeat sets a cookie')
      for (const name of ['x-request-id', 'traceparent']) {
        const value = first.headers.get(name)
        must(value === null || value !== again.headers.get(name), `the repeat brings the first one’s ${name}`)
      }
    },
  },
  {
    id: 'K1',
    title: 'the quoted form, the bare form, and a quoted one with parameters are one key',
    draft: false,
    async run(client) {
      const key = client.freshKey()
      const first = await client.send({ key })
      mustReplay(first, await client.send({ key: `"${key}"` }), 'the quoted form')
      mustReplay(first, await client.send({ key: `"${key}";x=1` }), 'the form with a parameter')
    },
  },
  {
    id: 'K1 case',
    title: 'keys that differ in case are two keys',
    draft: true,
    async run(client) {
      const key = `k${client.freshKey()}`
      const lower = await client.send({ key: key.toLowerCase() })
      const upper = await client.send({ key: key.toUpperCase() })
      mustSucceed(lower, upper)
      must(!upper.replayed, 'the other case was answered as a repeat')
    },
  },
  {
    id: 'K2',
    title: 'an empty key, one with a space, and one of 256 characters are 400',
    draft: true,
    async run(client) {
      for (const key of ['""', '"a b"', '"open', 'x'.repeat(256)])
        mustRefuse(await client.send({ key }), 400, `the key ${key.slice(0, 10)}`)
    },
  },
  {
    id: 'K2 long',
    title: 'a key of 255 characters is a key',
    draft: false,
    async run(client) {
      const key = client.freshKey().padEnd(255, '~')
      mustReplay(await client.send({ key }), await client.send({ key }), 'the repeat')
    },
  },
  {
    id: 'K3',
    title: 'two keys in one request are 400',
    draft: true,
    async run(client) {
      const [a, b] = [client.freshKey(), client.freshKey()]
      mustRefuse(await client.send({ keys: [a, b] }), 400, 'two fields')
      mustRefuse(await client.send({ key: `"${a}", "${b}"` }), 400, 'a list of two')
    },
  },
  {
    id: 'K4',
    title: 'a missing key is 400 where one is needed, with a link to what it is',
    draft: true,
    needs: 'requiredPath',
    async run(client) {
      const reply = await client.send({ path: client.target.requiredPath! })
      mustRefuse(reply, 400, 'a request without a key')
      must(/rel="?describedby/.test(reply.headers.get('link') ?? ''), 'there is no link to its documentation')
    },
  },
  {
    id: 'M1',
    title: 'a key on a GET changes nothing',
    draft: true,
    needs: 'getPath',
    async run(client) {
      const [key, path] = [client.freshKey(), client.target.getPath!]
      for (let i = 0; i < 2; i++) {
        const reply = await client.send({ key, path, method: 'GET' })
        must(succeeded(reply) && !reply.replayed, `it was answered with ${reply.status}, replayed: ${reply.replayed}`)
      }
    },
  },
  {
    id: 'S1',
    title: 'somebody else’s request with the same key is another request',
    draft: false,
    needs: 'otherHeaders',
    async run(client) {
      const key = client.freshKey()
      const first = await client.send({ key })
      const theirs = await client.send({ key, other: true })
      must(!theirs.replayed && !same(first, theirs), 'they got the first one’s answer')
      must(theirs.status !== 422 && theirs.status !== 409, `they learned that the key is in use: ${theirs.status}`)
    },
  },
  {
    id: 'F4',
    title: 'another body with the key is 422, and the first answer stays',
    draft: true,
    async run(client) {
      const key = client.freshKey()
      const first = await client.send({ key })
      mustRefuse(await client.send({ key, body: withMember(client.target.body, '"other":1') }), 422, 'another body')
      mustReplay(first, await client.send({ key }), 'the repeat after it')
    },
  },
  {
    id: 'F1 query',
    title: 'another query with the key is 422',
    draft: false,
    async run(client) {
      const key = client.freshKey()
      const { path } = client.target
      await client.send({ key, path: `${path}${path.includes('?') ? '&' : '?'}amount=1` })
      const other = await client.send({ key, path: `${path}${path.includes('?') ? '&' : '?'}amount=999` })
      mustRefuse(other, 422, 'another query')
    },
  },
  {
    id: 'F1 type',
    title: 'another media type with the key is 422',
    draft: false,
    async run(client) {
      const key = client.freshKey()
      await client.send({ key })
      const other = await client.send({ key, headers: { 'content-type': 'application/vnd.other+json' } })
      mustRefuse(other, 422, 'another media type')
    },
  },
  {
    id: 'F3 order',
    title: 'JSON in another order and with other white space is the same request',
    draft: false,
    async run(client) {
      const key = client.freshKey()
      const body = withMember(client.target.body, '"a1":1,"a2":[1,2]')
      const first = await client.send({ key, body })
      mustReplay(first, await client.send({ key, body: permuted(body) }), 'the same value')
    },
  },
  {
    id: 'F3 numbers',
    title: 'numbers that a double cannot tell apart are two requests, and so are null and nothing',
    draft: false,
    async run(client) {
      const body = (member: string) => withMember(client.target.body, member)
      const key = client.freshKey()
      await client.send({ key, body: body('"n":9007199254740993') })
      mustRefuse(await client.send({ key, body: body('"n":9007199254740992') }), 422, 'the number beside it')
      const other = client.freshKey()
      await client.send({ key: other, body: body('"n":null') })
      mustRefuse(await client.send({ key: other }), 422, 'nothing in place of null')
    },
  },
  {
    id: 'I1 once',
    title: 'twenty requests at once with one key run once',
    draft: true,
    async run(client) {
      for (let round = 0; round < 5; round++) {
        const key = client.freshKey()
        const replies = await Promise.all(Array.from({ length: 20 }, () => client.send({ key })))
        const answers = replies.filter(succeeded)
        const [first] = answers
        must(first !== undefined, `nobody was answered: ${replies.map(({ status }) => status).join(', ')}`)
        for (const reply of replies) {
          if (succeeded(reply)) must(same(reply, first), 'two of them got different answers')
          else mustConflict(reply, 'one of them')
        }
        must(answers.filter(({ replayed }) => !replayed).length === 1, 'more than one of them ran')
      }
    },
  },
  {
    id: 'I1 409',
    title: 'a repeat while the first is under way is 409 and says when to come back',
    draft: true,
    needs: 'slowPath',
    async run(client) {
      const [key, path] = [client.freshKey(), client.target.slowPath!]
      const { answer } = await begun(client, key)
      mustConflict(await client.send({ key, path }), 'the repeat')
      mustReplay(await answer, await client.send({ key, path }), 'the repeat afterwards')
    },
  },
  {
    id: 'F4 flight',
    title: 'another request with a key that is under way is 422',
    draft: false,
    needs: 'slowPath',
    async run(client) {
      const [key, path] = [client.freshKey(), client.target.slowPath!]
      const { answer } = await begun(client, key)
      const other = await client.send({ key, path, body: withMember(client.target.body, '"other":1') })
      mustRefuse(other, 422, 'another body')
      must(succeeded(await answer), 'the first request was disturbed')
    },
  },
  {
    id: 'I2',
    title: 'under Prefer: wait a repeat gets the first one’s answer',
    draft: false,
    needs: 'slowPath',
    async run(client) {
      const [key, path] = [client.freshKey(), client.target.slowPath!]
      const { answer } = await begun(client, key)
      const waited = await client.send({ key, path, headers: { prefer: 'wait=20' } })
      const first = await answer
      must(succeeded(first) && same(first, waited), `the one that waited got ${waited.status}`)
    },
  },
  {
    id: 'B4',
    title: 'a client that goes away stops nothing: its repeat gets the answer of the one run',
    draft: false,
    needs: 'slowPath',
    async run(client) {
      const [key, path] = [client.freshKey(), client.target.slowPath!]
      const controller = new AbortController()
      const gone = client.send({ key, path, signal: controller.signal }).catch(() => undefined)
      await new Promise((resolve) => setTimeout(resolve, 250))
      controller.abort()
      await gone
      for (let tries = 0; tries < 40; tries++) {
        const reply = await client.send({ key, path })
        if (succeeded(reply)) {
          must(reply.replayed, 'the repeat ran again')
          return
        }
        must(reply.status === 409, `the repeat was answered with ${reply.status}`)
        await new Promise((resolve) => setTimeout(resolve, 250))
      }
      throw new Error('the repeat was told to come back for ten seconds')
    },
  },
]
