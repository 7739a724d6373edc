import { expect, test } from 'vitest'
import { codeOfAnswer, counting, send } from './fixture.ts'

type Options = NonNullable<Parameters<typeof counting>[0]>

/** How often the handler runs when the request is sent twice. */
async function runs(status: number, options: Options = {}, mark?: 'markExecuted' | 'markNotExecuted'): Promise<number> {
  const { app, calls } = counting(options, (_, c) => {
    if (mark !== undefined) c.get('idempotency')[mark]()
    return new Response(status === 304 ? null : 'x', { status })
  })
  await send(app, 'k')
  await send(app, 'k')
  return calls.n
}

test('C1: 2xx, 3xx and terminal 4xx are kept; what says "not now" frees the key', async () => {
  for (const status of [200, 201, 202, 302, 304, 400, 402, 403, 404, 410, 412, 422])
    expect([status, await runs(status)]).toEqual([status, 1])
  for (const status of [401, 407, 408, 409, 421, 423, 425, 429])
    expect([status, await runs(status)]).toEqual([status, 2])
})

test('C1: 429 or 503 and then success on one key', async () => {
  for (const status of [429, 503]) {
    const { app } = counting({}, (n) => (n === 1 ? new Response('later', { status }) : Response.json({ n })))
    const first = await send(app, 'k')
    expect([first.status, first.headers.get('idempotency-status')]).toEqual([status, 'released'])
    expect(await (await send(app, 'k')).json()).toEqual({ n: 2 })
    expect((await send(app, 'k')).headers.get('idempotent-replayed')).toBe('true')
  }
})

test('C2: what was turned away before it began frees the key under every policy, thrown or answered', async () => {
  for (const code of ['breaker_open', 'pool_exhausted', 'overloaded', 'draining', 'shed', 'queue_timeout']) {
    for (const record of ['deterministic', 'stripe'] as const) {
      const thrown = counting({ record, onServerError: 'store' }, () => {
        throw Object.assign(new Error(code), { code })
      })
      thrown.app.onError(() => new Response('no', { status: 503 }))
      const answered = counting({ record, onServerError: 'store' }, () =>
        Response.json({ code }, { status: 503, headers: { 'content-type': 'application/problem+json' } }),
      )
      for (const { app, calls } of [thrown, answered]) {
        await send(app, 'k')
        await send(app, 'k')
        expect([code, record, calls.n]).toEqual([code, record, 2])
      }
    }
  }
})

test('C2: work that was marked as executed before its breaker opened is not run again', async () => {
  const { app, calls } = counting({}, (_, c) => {
    c.get('idempotency').markExecuted()
    throw Object.assign(new Error('open'), { code: 'breaker_open' })
  })
  app.onError(() => new Response('no', { status: 503 }))
  await send(app, 'k')
  expect((await send(app, 'k')).status).toBe(503)
  expect(calls.n).toBe(1)
})

test('C3: a 5xx frees the key unless its effect was marked; the route may say otherwise', async () => {
  expect(await runs(500)).toBe(2)
  expect(await runs(500, {}, 'markExecuted')).toBe(1)
  expect(await runs(500, {}, 'markNotExecuted')).toBe(2)
  expect(await runs(500, { onServerError: 'release' }, 'markExecuted')).toBe(2)
  expect(await runs(500, { onServerError: 'store' })).toBe(1)
  expect(await runs(500, { onServerError: 'store' }, 'markNotExecuted')).toBe(2)
  expect(await runs(201, {}, 'markNotExecuted')).toBe(2)
})

test('C3: a thrown error is its answer: kept when the effect was marked, and the key is free otherwise', async () => {
  for (const marked of [true, false]) {
    const { app, calls } = counting({}, (_, c) => {
      if (marked) c.get('idempotency').markExecuted()
      throw new Error('broken')
    })
    app.onError((_, c) => c.json({ oops: true }, 500))
    await send(app, 'k')
    const again = await send(app, 'k')
    expect([again.status, await again.json(), calls.n]).toEqual([500, { oops: true }, marked ? 1 : 2])
  }
})

test('C3: a thrown thing that is no error passes through, and leaves a marked key unknown', async () => {
  for (const marked of [true, false]) {
    const { app, calls, clock } = counting({}, (_, c) => {
      if (marked) c.get('idempotency').markExecuted()
      throw 'not an error'
    })
    await expect(send(app, 'k')).rejects.toBe('not an error')
    if (marked) {
      clock.ms += 30_001
      expect(await codeOfAnswer(await send(app, 'k'))).toEqual([409, 'idempotency_outcome_unknown'])
    } else await expect(send(app, 'k')).rejects.toBe('not an error')
    expect(calls.n).toBe(marked ? 1 : 2)
  }
})

test('an answer put into a transaction is told as kept only if that was committed, and frees its key otherwise', async () => {
  for (const committed of [true, false]) {
    const { app, calls, store } = counting({}, async (n, c) => {
      const response = c.json({ n })
      const unit = store.unit()
      await c.get('idempotency').completeIn(unit, response.clone())
      if (committed) await unit.commit()
      return response
    })
    expect((await send(app, 'k')).headers.get('idempotency-status')).toBe(committed ? 'stored' : 'released')
    await send(app, 'k')
    expect(calls.n).toBe(committed ? 1 : 2)
  }
})

test('C4: stripe keeps every answer of a handler that began, success keeps 2xx only', async () => {
  for (const status of [200, 404, 429, 500])
    expect([status, await runs(status, { record: 'stripe' })]).toEqual([status, 1])
  for (const [status, times] of [
    [200, 1],
    [302, 2],
    [404, 2],
    [500, 2],
  ] as const)
    expect([status, await runs(status, { record: 'success' })]).toEqual([status, times])
})

test('R1, C1, M1: an answer whose fields cannot be changed, a redirect or one of fetch, is kept, freed and passed like any other', async () => {
  const answers: Readonly<Record<string, () => Response>> = {
    redirect: () => Response.redirect('https://a.test/', 303),
    error: () => frozen(new Response('later', { status: 503 })),
    stream: () => frozen(new Response('data: 1\n\n', { headers: { 'content-type': 'text/event-stream' } })),
  }
  const { app } = counting({}, (_, c) => answers[c.req.header('x-answer')!]!())
  const told = async (answer: string, method = 'POST') => {
    const { status, headers } = await send(app, answer, { method, headers: { 'x-answer': answer } })
    return [status, headers.get('idempotency-status')]
  }
  expect(await told('redirect')).toEqual([303, 'stored'])
  expect(await told('redirect')).toEqual([303, 'replayed'])
  expect(await told('redirect', 'GET')).toEqual([303, 'ignored'])
  expect(await told('error')).toEqual([503, 'released'])
  expect(await told('stream')).toEqual([200, 'unstored'])
})

test('an unknown option and a wrong value are construction errors', () => {
  expect(() => counting({ windowSeconds: 5 } as Options)).toThrow('Unknown option `windowSeconds`')
  expect(() => counting({ windowMs: 0 })).toThrow('`windowMs`')
  expect(() => counting({ onUnknown: 'guess' as 'reject' })).toThrow('`onUnknown`')
  expect(() => counting({ onLargeBody: 'spill' })).toThrow('`spill`')
  for (const name of ['tenant', 'reconcile', 'vary', 'replayHeaders'] as const)
    expect(() => counting({ [name]: 'x-own' } as Options)).toThrow(`\`${name}\``)
  expect(() => counting({}, undefined, { secret: 'a text of more than thirty-two characters' as never })).toThrow(
    '`secret`',
  )
  expect(() => counting({}, undefined, { leaseMs: Number.NaN })).toThrow('`leaseMs`')
  expect(() => counting({}, undefined, { cache: { maxAge: 1 } as object })).toThrow('`maxAge`')
})

/** As `fetch` gives its answers. */
function frozen(response: Response): Response {
  const refuse = () => {
    throw new TypeError('immutable')
  }
  Object.assign(response.headers, { set: refuse, append: refuse, delete: refuse })
  return response
}
