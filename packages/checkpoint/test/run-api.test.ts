import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { ParkError, type Run } from '../src/index.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { atEnd, gate, processOn } from './fixture.ts'

const me = { actor: 'me' }

test('checkpoint S6: a sleep survives its process and holds none while it lasts', async () => {
  const store = memoryCheckpointStore()
  const lives: string[] = []
  const handler = (name: string) => async (run: Run) => {
    lives.push(name)
    await run.step('before', () => 1)
    await run.sleep('night', 150)
    return run.step('after', () => name)
  }
  const first = processOn(store, handler('first'))
  const id = await first.send()
  await expect.poll(async () => (await first.checkpoints.get(id))?.status).toBe('waiting')
  expect([first.checkpoints.live, (await first.checkpoints.get(id))?.owner]).toEqual([0, undefined])
  await first.checkpoints.stop()
  const second = processOn(store, handler('second'))
  await second.checkpoints.start()
  expect(await second.outcome(id)).toBe('201 {"result":"second"}')
  expect(lives).toEqual(['first', 'second'])
})

test('checkpoint S6: a run waits for a signal, gets what it brought, and one that came before is not lost', async () => {
  const process = processOn(undefined, async (run) => {
    const [first, second] = [await run.waitFor('approve'), await run.waitFor<bigint>('approve')]
    return [first, String(second)]
  })
  const id = await process.send()
  await expect.poll(async () => (await process.checkpoints.get(id))?.status).toBe('waiting')
  await process.checkpoints.signal(id, 'approve', { by: 'ann' }, me)
  await process.checkpoints.signal(id, 'approve', 2n, me)
  expect(await process.outcome(id)).toBe('201 {"result":[{"by":"ann"},"2"]}')
  const other = processOn(undefined, async (run) => {
    await run.step('slow', () => new Promise((resolve) => setTimeout(resolve, 50)))
    return [await run.waitFor('approve'), await run.waitFor('approve')]
  })
  const early = await other.send()
  await expect.poll(() => other.checkpoints.live).toBe(1)
  await other.checkpoints.signal(early, 'approve', 1, me)
  await other.checkpoints.signal(early, 'approve', 2, me)
  expect(await other.outcome(early)).toBe('201 {"result":[1,2]}')
})

test('checkpoint S6: a signal reaches a run that still has another step under way', async () => {
  const [heard, go] = [gate<unknown>(), gate()]
  const { checkpoints, send, outcome } = processOn(undefined, async (run) => {
    const approval = run.waitFor('approve').then((value) => {
      heard.open(value)
      return value
    })
    return (await Promise.all([approval, run.step('slow', () => go.passed)]))[0]
  })
  const id = await send()
  await expect.poll(() => checkpoints.live).toBe(1)
  await checkpoints.signal(id, 'approve', 'yes', me)
  expect(await heard.passed).toBe('yes')
  go.open()
  expect(await outcome(id)).toBe('201 {"result":"yes"}')
})

test('checkpoint S6: a wait that is over gives undefined, also when the signal comes later', async () => {
  let lives = 0
  const process = processOn(undefined, async (run) => {
    const first = await run.waitFor('go', { timeoutMs: 20 })
    if (lives++ === 0) throw new ParkError('again', Date.now() + 50)
    return [first ?? 'none', run.attempt]
  })
  const id = await process.send()
  await expect.poll(() => lives).toBe(1)
  await process.checkpoints.signal(id, 'go', 1, me)
  expect(await process.outcome(id)).toContain('"none"')
})

test('checkpoint S3: compensations run once each, last kept first, also when the process dies among them', async () => {
  const store = memoryCheckpointStore()
  const undone: string[] = []
  const dead = gate()
  const handler = (dies: boolean) => async (run: Run) => {
    for (const name of ['a', 'b', 'c']) {
      await run.step(name, () => name, {
        compensate: (value) => {
          undone.push(value)
          if (dies && value === 'b') {
            dead.open()
            return new Promise(() => {})
          }
        },
      })
    }
    throw new Error('no')
  }
  const first = processOn(store, handler(true))
  const id = await first.send()
  await dead.passed
  const second = processOn(store, handler(false))
  await second.checkpoints.start()
  expect(await second.outcome(id)).toContain('500')
  expect(undone).toEqual(['c', 'b', 'b', 'a'])
  expect((await second.checkpoints.get(id))?.status).toBe('failed')
})

test('checkpoint S3: a compensation that keeps failing parks the run, and a person lets it be tried again', async () => {
  let broken = true
  const process = processOn(undefined, async (run) => {
    await run.step('book', () => 1, {
      compensate: () => {
        if (broken) throw new Error('down')
      },
    })
    throw new Error('no')
  })
  const id = await process.send()
  await expect
    .poll(async () => (await process.checkpoints.get(id))?.reason, { timeout: 5_000 })
    .toContain('book#1 could not')
  broken = false
  await process.checkpoints.resolve(id, { kind: 'rerun' }, me)
  expect(await process.outcome(id)).toContain('500')
})

test('checkpoint S3: a step that asks whether its effect happened is not run again where it did', async () => {
  const store = memoryCheckpointStore()
  const entered = gate()
  let calls = 0
  const first = processOn(store, (run) =>
    run.step(
      'pay',
      () => {
        calls++
        entered.open()
        return new Promise(() => {})
      },
      { onCrash: () => ({ done: false }) },
    ),
  )
  const id = await first.send()
  await entered.passed
  const second = processOn(store, (run) =>
    run.step<unknown>('pay', () => calls++, { onCrash: () => ({ done: true, value: 'paid' }) }),
  )
  await second.checkpoints.start()
  expect([await second.outcome(id), calls]).toEqual(['201 {"result":"paid"}', 1])
})

test('checkpoint C2: a person says that the step under way happened, and the run goes on with that value', async () => {
  const store = memoryCheckpointStore()
  const entered = gate()
  const handler = (run: Run) =>
    run.step(
      'pay',
      () => {
        entered.open()
        return new Promise(() => {})
      },
      { onCrash: 'park' },
    )
  const first = processOn(store, handler)
  const id = await first.send()
  await entered.passed
  const transitions: unknown[] = []
  const second = processOn(store, handler, { onTransition: ({ type, actor }) => transitions.push([type, actor]) })
  await second.checkpoints.start()
  await expect.poll(async () => (await second.checkpoints.get(id))?.status).toBe('parked')
  await expect(second.checkpoints.resolve(id, { kind: 'done', step: 'other', value: 1 }, me)).rejects.toMatchObject({
    code: 'not_found',
  })
  await second.checkpoints.resolve(id, { kind: 'done', step: 'pay', value: 'by hand' }, me)
  expect(await second.outcome(id)).toBe('201 {"result":"by hand"}')
  expect(transitions).toContainEqual(['checkpoint.resolved', 'me'])
})

test('checkpoint C2: a retry runs the steps again whose effects were taken back, and no others', async () => {
  let fails = true
  const calls: string[] = []
  const process = processOn(undefined, async (run) => {
    await run.step('plain', () => calls.push('plain'))
    await run.step('book', () => calls.push('book'), { compensate: () => calls.push('unbook') })
    if (fails) throw new Error('no')
    return 'well'
  })
  const id = await process.send()
  await process.outcome(id)
  fails = false
  await process.checkpoints.retry(id, me)
  expect(await process.outcome(id)).toBe('201 {"result":"well"}')
  expect(calls).toEqual(['plain', 'book', 'unbook', 'book'])
})

test('checkpoint C2: a fork has the steps before the named one, its input as edited, and a life of its own', async () => {
  const calls: string[] = []
  const process = processOn(undefined, async (run, body) => {
    for (const name of ['a', 'b', 'c']) await run.step(name, () => calls.push(name))
    return body
  })
  const id = await process.send({ n: 1 })
  await process.outcome(id)
  const fork = await process.checkpoints.fork(id, { fromStep: 'b', body: '{"n":2}', ...me })
  expect(await process.outcome(fork)).toBe('201 {"result":{"n":2}}')
  expect(calls).toEqual(['a', 'b', 'c', 'b', 'c'])
  expect((await process.checkpoints.get(fork))?.links).toEqual({ forkedFrom: id })
  expect(await process.outcome(id)).toBe('201 {"result":{"n":1}}')
})

test('checkpoint C1: cancelling a sleeping, a backing-off, a queued and a parked run ends each, with its effects taken back', async () => {
  const undone: string[] = []
  const process = processOn(undefined, async (run, body) => {
    const { kind } = body as { kind: string }
    await run.step('book', () => kind, { compensate: (value) => undone.push(value) })
    if (kind === 'sleeping') await run.sleep('long', 3_600_000)
    if (kind === 'parked') await run.step('x', () => Promise.reject(new ParkError('breaker', Date.now() + 3_600_000)))
    throw Object.assign(new Error('later'), { retryable: true, retryAfterMs: 3_600_000 })
  })
  for (const kind of ['sleeping', 'parked', 'backing off']) {
    const id = await process.send({ kind })
    await expect.poll(async () => (await process.checkpoints.get(id))?.status).toBe('waiting')
    expect(await process.checkpoints.cancel(id, me)).toBe('cancelled')
    expect(await process.outcome(id)).toContain('409')
  }
  expect(undone).toEqual(['sleeping', 'parked', 'backing off'])
  const idle = processOn(undefined, () => new Promise(() => {}), { maxConcurrentRuns: 1 })
  await idle.send()
  await expect.poll(() => idle.checkpoints.live).toBe(1)
  const queued = await idle.send()
  expect((await idle.checkpoints.get(queued))?.status).toBe('queued')
})

test('checkpoint C1: a run that another process cancelled never completes, though its handler answers 201', async () => {
  const store = memoryCheckpointStore({ shared: true })
  const [entered, go] = [gate(), gate()]
  const runner = processOn({ ...store, listen: undefined as never }, async (run) => {
    entered.open()
    await go.passed
    return run.id
  })
  const answer = runner.post()
  await entered.passed
  const [run] = (await runner.checkpoints.list()).runs
  const other = processOn(store)
  expect(await other.checkpoints.cancel(run!.id, me)).toBe('cancelling')
  go.open()
  expect((await answer).status).toBe(409)
  expect((await runner.checkpoints.get(run!.id))?.status).toBe('cancelled')
})

test('checkpoint O3: an open breaker and an exhausted pool burn no attempt, of the step or of the run', async () => {
  let calls = 0
  const process = processOn(
    undefined,
    (run) =>
      run.step(
        'call',
        () => {
          if (calls++ < 4) throw Object.assign(new Error('open'), { code: 'breaker_open', retryAfterMs: 5 })
          return 'through'
        },
        { retry: { maxAttempts: 2 } },
      ),
    {
      translateError: (error) =>
        error instanceof Error && 'code' in error && error.code === 'breaker_open'
          ? new ParkError('the breaker is open', Date.now() + 5)
          : error,
    },
  )
  const id = await process.send()
  expect(await process.outcome(id)).toBe('201 {"result":"through"}')
  expect([calls, (await process.checkpoints.get(id))?.attempt]).toEqual([5, 1])
})

test('checkpoint S4, O3: run.fetch sends its own key, the same at each try, and honours Retry-After', async () => {
  const keys: unknown[] = []
  const server = createServer((request, response) => {
    keys.push(request.headers['idempotency-key'])
    if (keys.length === 1) response.writeHead(503, { 'retry-after': '0' }).end()
    else response.writeHead(200, { 'x-made': '1' }).end('bytes')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  atEnd(() => new Promise((resolve) => server.close(resolve)))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const process = processOn(
    undefined,
    async (run) => {
      const response = await run.fetch('call', url, { method: 'POST' })
      return [response.status, response.headers.get('x-made'), await response.text()]
    },
    {},
    { retry: { initialMs: 1 } },
  )
  const id = await process.send()
  expect(await process.outcome(id)).toBe('201 {"result":[200,"1","bytes"]}')
  expect(keys).toHaveLength(2)
  expect(keys[0]).toBe(keys[1])
})

test('checkpoint S4: an answer of `run.fetch` that came compressed is kept as what it says', async () => {
  const server = createServer((_, response) => {
    response.writeHead(200, { 'content-encoding': 'gzip', 'content-type': 'text/plain' }).end(gzipSync('plain'))
  })
  await new Promise<void>((resolve) => server.listen(0, resolve))
  atEnd(async () => void server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const { post } = processOn(undefined, (run) => run.fetch('get', url))
  const response = await post()
  expect([await response.text(), response.headers.get('content-encoding')]).toEqual(['plain', null])
})

test('checkpoint F1: under each frequency a crash repeats what the documentation says', async () => {
  for (const [frequency, expected] of [
    ['every-step', ['a', 'b', 'c', 'd', 'd']],
    [{ everySteps: 2 }, ['a', 'b', 'c', 'd', 'c', 'd']],
    ['stage-boundaries', ['a', 'b', 'c', 'd', 'b', 'c', 'd']],
  ] as const) {
    const store = memoryCheckpointStore()
    const calls: string[] = []
    const dead = gate()
    const handler = (dies: boolean) => async (run: Run) => {
      await run.step('a', () => calls.push('a'))
      if (frequency === 'stage-boundaries') await run.update({ stage: 'second' })
      await run.step('b', () => calls.push('b'))
      await run.step('c', () => calls.push('c'))
      await run.step('d', () => {
        calls.push('d')
        if (!dies) return
        dead.open()
        return new Promise<void>(() => {})
      })
    }
    const first = processOn(store, handler(true), {}, { frequency })
    const id = await first.send()
    await dead.passed
    const second = processOn(store, handler(false), {}, { frequency })
    await second.checkpoints.start()
    await second.outcome(id)
    expect(calls).toEqual(expected)
    expect((await second.checkpoints.steps(id)).map(({ name }) => name)).toEqual(['a', 'b', 'c', 'd'])
  }
})

test('checkpoint D2: runs of another version go on, park, or start anew, as the route says', async () => {
  for (const [onVersion, expected] of [
    ['continue', '201 {"result":[1,"new"]}'],
    ['restart', '201 {"result":["new","new"]}'],
  ] as const) {
    const store = memoryCheckpointStore()
    const first = processOn(store, async (run) => {
      await run.step('a', () => 1)
      throw new ParkError('deploy', 0)
    })
    await first.checkpoints.start()
    first.checkpoints.serve({ routes: [] })
    const id = await first.send()
    await expect.poll(async () => (await first.checkpoints.steps(id)).length).toBe(1)
    await first.checkpoints.stop()
    const second = processOn(
      store,
      async (run) => [await run.step('a', () => 'new'), await run.step('b', () => 'new')],
      {},
      { version: '2', onVersion },
    )
    await second.checkpoints.start()
    expect(await second.outcome(id)).toBe(expected)
  }
})

test('checkpoint D2: a run that was restarted keeps what it does from then on, and its signals', async () => {
  const store = memoryCheckpointStore()
  const first = processOn(store, async (run) => {
    await run.step('a', () => 1)
    throw new ParkError('deploy', 0)
  })
  await first.checkpoints.start()
  first.checkpoints.serve({ routes: [] })
  const id = await first.send()
  await expect.poll(async () => (await first.checkpoints.steps(id)).length).toBe(1)
  await first.checkpoints.signal(id, 'go', 'went', me)
  await first.checkpoints.stop()
  let entries = 0
  const second = processOn(
    store,
    async (run) => {
      entries++
      const a = await run.step('a', () => `new ${entries}`)
      await run.sleep('nap', 1)
      return [a, await run.waitFor('go')]
    },
    {},
    { version: '2', onVersion: 'restart' },
  )
  await second.checkpoints.start()
  expect(await second.outcome(id)).toBe('201 {"result":["new 1","went"]}')
  expect(await second.checkpoints.get(id)).toMatchObject({ version: '2' })
  expect((await second.checkpoints.steps(id)).filter(({ name }) => name === 'a')).toHaveLength(1)
})

test('checkpoint D2: under `park` a run of another version waits for a person, with both versions named, and a decision lets it go on', async () => {
  const store = memoryCheckpointStore()
  const first = processOn(store, async (run) => {
    await run.step('a', () => 1)
    throw new ParkError('deploy', 0)
  })
  await first.checkpoints.start()
  first.checkpoints.serve({ routes: [] })
  const id = await first.send()
  await expect.poll(async () => (await first.checkpoints.steps(id)).length).toBe(1)
  await first.checkpoints.stop()
  const next = (version: string) =>
    processOn(store, async (run) => [await run.step('a', () => 'new')], {}, { version, onVersion: 'park' })
  const second = next('2')
  await second.checkpoints.start()
  await expect.poll(async () => (await second.checkpoints.get(id))?.status).toBe('parked')
  expect((await second.checkpoints.get(id))?.reason).toMatch(/version 1.*2/)
  await second.checkpoints.stop()
  const third = next('1')
  await third.checkpoints.start()
  await third.checkpoints.resume(id, { actor: 'ann' })
  expect(await third.outcome(id)).toBe('201 {"result":[1]}')
})

test('checkpoint G1: retention is by operation and counts from the end; a live run is never collected', async () => {
  let now = 1_000_000
  const process = processOn(
    undefined,
    async (run, body) => {
      if ((body as { waits?: boolean }).waits) await run.sleep('long', 1e9)
    },
    { now: () => now },
    { retentionMs: 1_000 },
  )
  const done = (await process.post()).headers.get('gw-run')!
  const live = await process.send({ waits: true })
  await expect.poll(async () => (await process.checkpoints.get(live))?.status).toBe('waiting')
  now += 999
  expect(await process.checkpoints.collect()).toBe(0)
  now += 1
  expect(await process.checkpoints.collect()).toBe(1)
  expect(await process.checkpoints.get(done)).toBeUndefined()
  expect((await process.checkpoints.get(live))?.status).toBe('waiting')
})

test('checkpoint F1: the presets keep 365, 30 and 90 days, and wrong options are refused by name', async () => {
  const process = processOn(undefined, () => 1, { now: () => 0 }, { strategy: 'financial' })
  const id = (await process.post()).headers.get('gw-run')!
  expect((await process.checkpoints.get(id))?.expiresAt).toBe(365 * 86_400_000)
  expect(() => processOn(undefined, () => 1, {}, { frequency: { everySteps: 0 } })).toThrow(/frequency/)
  expect(() => processOn(undefined, () => 1, {}, { strategy: 'x' as never })).toThrow(/strategy/)
  expect(() => processOn(undefined, () => 1, { require: ['durable'] })).toThrow(/durable/)
  expect(() => processOn(undefined, () => 1, { nodeId: '../x' })).toThrow(/nodeId/)
  expect(() => processOn(undefined, () => 1, { unknown: 1 } as never)).toThrow(/unknown/)
})

test('checkpoint A2: two requests with one X-Request-ID are two runs, and a path is not an id', async () => {
  const process = processOn()
  const [one, two] = await Promise.all([1, 2].map(() => process.post({}, { 'x-request-id': 'same' })))
  expect(one!.headers.get('gw-run')).not.toBe(two!.headers.get('gw-run'))
  expect((await process.checkpoints.list({ requestId: 'same' })).runs).toHaveLength(2)
  const odd = await process.post({}, { 'x-request-id': '../../x' })
  expect((await process.checkpoints.get(odd.headers.get('gw-run')!))?.requestId).toBeUndefined()
})

test('checkpoint W2: a route may cancel the run of a client that goes away; any other goes on', async () => {
  for (const [onDisconnect, status] of [
    ['cancel', 'cancelled'],
    ['continue', 'completed'],
  ] as const) {
    const [entered, go] = [gate(), gate()]
    const process = processOn(
      undefined,
      async (run) => {
        entered.open()
        await Promise.race([go.passed, new Promise((resolve) => run.signal.addEventListener('abort', resolve))])
      },
      {},
      { onDisconnect },
    )
    const client = new AbortController()
    const request = new Request('http://h/jobs/a', { method: 'POST', body: '{}', signal: client.signal })
    void process.app.request(request)
    await entered.passed
    client.abort()
    if (onDisconnect === 'continue') go.open()
    const [run] = (await process.checkpoints.list()).runs
    await expect.poll(async () => (await process.checkpoints.get(run!.id))?.status).toBe(status)
  }
})

test('checkpoint W2: a client that is gone before its request is kept, or while it is queued, has it cancelled; one that has its 202 may go', async () => {
  const store = memoryCheckpointStore()
  const hold = gate()
  const { checkpoints, app } = processOn(
    store,
    async (run, body) => {
      if (body === 'hold') return hold.passed
      if (!run.signal.aborted) await new Promise((resolve) => run.signal.addEventListener('abort', resolve))
    },
    { maxConcurrentRuns: 1 },
    { onDisconnect: 'cancel' },
  )
  const ask = (body: string, signal: AbortSignal, headers: Record<string, string> = {}) =>
    app.request(new Request('http://h/jobs/a', { method: 'POST', body: JSON.stringify(body), signal, headers }))
  const newest = async () => (await checkpoints.list()).runs[0]!
  await checkpoints.start()

  const early = new AbortController()
  const { unit } = store
  store.unit = () => {
    early.abort()
    store.unit = unit
    return unit()
  }
  expect((await ask('early', early.signal)).status).toBe(409)

  const answered = new AbortController()
  expect((await ask('hold', answered.signal, { prefer: 'wait=0' })).status).toBe(202)
  answered.abort()
  const held = await newest()

  const queued = new AbortController()
  void ask('queued', queued.signal)
  await expect.poll(async () => (await newest()).status).toBe('queued')
  queued.abort()
  await expect.poll(async () => (await newest()).cancelRequested).toBe(true)
  hold.open()
  await expect.poll(async () => (await newest()).status).toBe('cancelled')
  expect(await checkpoints.get(held.id)).toMatchObject({ cancelRequested: false })
})

test('checkpoint M1: two updates by hand at once lose nothing', async () => {
  const { checkpoints } = processOn()
  const id = await checkpoints.create({ operation: 'by-hand', data: { a: 0 } })
  await Promise.all(Array.from({ length: 20 }, (_, i) => checkpoints.update(id, { [`f${i}`]: i })))
  const [checkpoint] = await checkpoints.listIncomplete()
  expect(Object.keys(checkpoint!.data as object)).toHaveLength(21)
  await checkpoints.cancel(id, me)
  await expect.poll(async () => (await checkpoints.get(id))?.status).toBe('cancelled')
})

test('checkpoint R2: a run that is queued while a sweep is under way is not missed, and one failed pass strands nothing', async () => {
  const store = memoryCheckpointStore()
  let hold: Promise<void> | undefined
  let failing = false
  const process = processOn(
    {
      ...store,
      async held(owner) {
        const held = await store.held(owner)
        await hold
        if (failing) throw new Error('the store is away')
        return held
      },
    },
    () => 'ran',
    { leaseMs: 300 },
  )
  await process.checkpoints.start()
  const go = gate()
  hold = go.passed
  const sweeping = process.checkpoints.sweep()
  const id = await process.send()
  await new Promise((resolve) => setTimeout(resolve, 20))
  failing = true
  go.open()
  await sweeping
  failing = false
  expect(await process.outcome(id)).toBe('201 {"result":"ran"}')
})
