import { type ChildProcess, fork } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { type Redis, redis, sharedRedis, sharedRedisCluster } from '@gw/services'
import { createClient, createCluster } from 'redis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CircuitBreaker } from '../src/index.ts'
import {
  type BreakerSharing,
  type BreakerStore,
  type ClusterRequest,
  type ClusterState,
  type SharingHealth,
  shareBreakers,
} from '../src/sharing.ts'
import { redisBreakerStore } from '../src/stores/redis.ts'
import { codeOf } from './fake-clock.ts'

const request: ClusterRequest = {
  node: 'a',
  generation: 0,
  withdraw: false,
  quorum: 2,
  voteMs: 60_000,
  openMs: 60_000,
  trials: 2,
  leaseMs: 30_000,
  wanted: 0,
  held: [],
  settled: [],
  calls: 0,
  failures: 0,
  close: false,
}

/** Longer than an exchange with the store may take, so that one that is lost fails no test. */
const patienceMs = 50_000

async function until(holds: () => boolean | Promise<boolean>, what: string | (() => string)): Promise<void> {
  const deadline = Date.now() + patienceMs
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`Waited in vain until ${typeof what === 'string' ? what : what()}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

let client: ReturnType<typeof createClient>
beforeAll(async () => {
  client = createClient({ url: (await sharedRedis()).url })
  await client.connect()
})
afterAll(async () => {
  await client.close()
})

interface Cluster {
  readonly prefix: string
  /** One exchange of `node`, in the generation that it knows from its last. */
  tell(node: string, changes?: Partial<ClusterRequest>): Promise<ClusterState>
}

function cluster(store: (prefix: string) => BreakerStore): Cluster {
  const prefix = `test:${randomUUID()}`
  const used = store(prefix)
  const known = new Map<string, number>()
  return {
    prefix,
    async tell(node, changes = {}) {
      const state = await used.exchange('x', { ...request, node, generation: known.get(node) ?? 0, ...changes })
      known.set(node, state.generation)
      return state
    },
  }
}

describe.each(['one Redis', 'a Redis Cluster'])('the laws of the store on %s', (where) => {
  let end = async (): Promise<void> => {}
  let make: () => Cluster
  beforeAll(async () => {
    if (where === 'one Redis') {
      make = () => cluster((prefix) => redisBreakerStore({ client, prefix }))
      return
    }
    const { urls } = await sharedRedisCluster()
    const nodes = createCluster({ rootNodes: urls.map((url) => ({ url })) })
    nodes.on('error', () => {})
    await nodes.connect()
    make = () => cluster((prefix) => redisBreakerStore({ client: nodes, prefix }))
    end = async () => {
      await nodes.close()
    }
  })
  afterAll(() => end())

  test('B14: opens at the votes of distinct nodes, and not at one node voting twice', async () => {
    const { tell } = make()
    await tell('a', { voteOpenMs: 60_000 })
    expect(await tell('a', { voteOpenMs: 60_000 })).toMatchObject({ state: 'closed', votes: ['a'], generation: 0 })
    const opened = await tell('b', { voteOpenMs: 50_000 })
    expect(opened).toMatchObject({ state: 'open', generation: 1, votes: [] })
    expect(opened.remainingMs).toBeLessThanOrEqual(50_000)
    expect(opened.remainingMs).toBeGreaterThan(40_000)
  })

  test('B14: a vote that is withdrawn, too old or of another generation does not count', async () => {
    const { tell } = make()
    await tell('a', { voteOpenMs: 60_000 })
    await tell('a', { withdraw: true })
    expect(await tell('b', { voteOpenMs: 60_000 })).toMatchObject({ state: 'closed', votes: ['b'] })
    await until(async () => (await tell('c', { voteMs: 20 })).votes.length === 0, 'the vote is too old')
    await tell('b', { voteOpenMs: 60_000 })
    expect(await tell('a', { voteOpenMs: 60_000, generation: 7 })).toMatchObject({ state: 'closed', votes: ['b'] })
  })

  test('B14: half-open gives out the trials once in the cluster, and as many good ones close it', async () => {
    const { tell } = make()
    await tell('a', { voteOpenMs: 60_000 })
    await tell('b', { voteOpenMs: 1 })
    await until(async () => (await tell('b')).remainingMs === 0, 'the wait is over')
    const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((node) => tell(node, { wanted: 2 })))
    const granted = [a, b, c].flatMap((state) => state!.granted)
    expect([granted.length, new Set(granted).size]).toEqual([2, 2])
    expect(await tell('d', { wanted: 1 })).toMatchObject({ state: 'half_open', granted: [], contended: true })
    const generation = a!.generation
    const settle = (token: string, verdict: 'ok' | 'failure' | 'neutral'): Promise<ClusterState> =>
      tell('a', { settled: [{ token, generation, verdict }] })
    expect(await settle(granted[0]!, 'ok')).toMatchObject({ state: 'half_open' })
    expect(await settle(granted[0]!, 'ok'), 'told again').toMatchObject({ state: 'half_open' })
    expect(await tell('d', { wanted: 1 }), 'a good trial is not made again').toMatchObject({ granted: [] })
    expect(await settle(granted[1]!, 'neutral')).toMatchObject({ state: 'half_open' })
    const [again] = (await tell('d', { wanted: 5 })).granted
    expect(await settle(again!, 'ok')).toMatchObject({ state: 'closed' })
  })

  test('B14: a failed trial opens it for a full time; what other trials say then changes nothing', async () => {
    const { tell } = make()
    await tell('a', { voteOpenMs: 60_000 })
    await tell('b', { voteOpenMs: 1 })
    await until(async () => (await tell('b')).remainingMs === 0, 'the wait is over')
    const { granted, generation } = await tell('a', { wanted: 2 })
    const verdict = (index: number, verdict: 'ok' | 'failure') =>
      tell('a', { settled: [{ token: granted[index]!, generation, verdict }] })
    const opened = await verdict(0, 'failure')
    expect(opened).toMatchObject({ state: 'open' })
    expect(opened.remainingMs).toBeGreaterThan(50_000)
    expect(await verdict(1, 'ok')).toMatchObject({ state: 'open', generation: opened.generation })
    expect(await tell('b', { wanted: 1 })).toMatchObject({ granted: [], state: 'open' })
  })

  test('B14: the place of a node that is not heard of lapses, and one that is held is kept', async () => {
    const { tell } = make()
    await tell('a', { voteOpenMs: 60_000 })
    await tell('b', { voteOpenMs: 1 })
    await until(async () => (await tell('b')).remainingMs === 0, 'the wait is over')
    const { granted: kept } = await tell('a', { wanted: 1 })
    await tell('b', { wanted: 1, leaseMs: 20 })
    let given: readonly string[] = []
    await until(async () => {
      await tell('a', { held: kept })
      given = (await tell('c', { wanted: 2 })).granted
      return given.length > 0
    }, 'the place of b has lapsed')
    expect(given.length).toBe(1)
  })

  test('B14: closing closes everybody, and an exchange that changes nothing writes nothing', async () => {
    const { tell } = make()
    expect(await tell('a')).toMatchObject({ state: 'closed', generation: 0 })
    await tell('a', { voteOpenMs: 60_000, calls: 7, failures: 5 })
    expect(await tell('b', { voteOpenMs: 60_000, calls: 3 })).toMatchObject({ calls: 10, failures: 5, state: 'open' })
    expect(await tell('c', { close: true })).toMatchObject({ state: 'closed', generation: 2, calls: 0, failures: 0 })
  })

  test('B14: what a node votes while the cluster is open changes nothing', async () => {
    const { tell } = make()
    await tell('a', { voteOpenMs: 60_000 })
    await tell('b', { voteOpenMs: 1 })
    expect(await tell('b', { voteOpenMs: 60_000, quorum: 1 })).toMatchObject({ generation: 1, votes: [] })
  })

  test('B14: closing takes the votes back that were given', async () => {
    const { tell } = make()
    await tell('a', { voteOpenMs: 60_000 })
    await tell('c', { close: true })
    expect(await tell('b', { voteOpenMs: 60_000 })).toMatchObject({ state: 'closed', votes: ['b'] })
  })

  test('B14: what is told for a place of another generation, or held when it has lapsed, changes nothing', async () => {
    const { tell } = make()
    await tell('a', { voteOpenMs: 60_000 })
    await tell('b', { voteOpenMs: 1 })
    await until(async () => (await tell('b')).remainingMs === 0, 'the wait is over')
    const { granted, generation } = await tell('a', { wanted: 1 })
    const token = granted[0]!
    const settled = [{ token, generation: generation - 1, verdict: 'failure' }] as const
    expect(await tell('a', { settled })).toMatchObject({ state: 'half_open' })
    await tell('a', { held: ['b:7', 'b:8'] })
    expect((await tell('b', { wanted: 2 })).granted.length).toBe(1)
  })
})

test('B14: making a store and sharing sends nothing; a poll without news writes nothing', async () => {
  const prefix = `test:${randomUUID()}`
  let sent = 0
  const store = redisBreakerStore({
    client: {
      eval: (script, options) => {
        sent++
        return client.eval(script, options)
      },
    },
    prefix,
  })
  const sharing = shareBreakers({ store, breakers: [['x', new CircuitBreaker({ name: 'x' })]], pollMs: 10 })
  expect([sent, sharing.health.state]).toEqual([0, 'idle'])
  await sharing.start()
  await until(() => sent > 5, 'it has polled')
  expect(await client.exists(`${prefix}:{x}`)).toBe(0)
  await sharing.stop()
})

test('B14: a change is told to those who watch until they leave, and what is kept has an end', async () => {
  const prefix = `test:${randomUUID()}`
  const subscriber = client.duplicate()
  await subscriber.connect()
  const store = redisBreakerStore({ client, subscriber, prefix })
  const heard: string[] = []
  const leave = await store.watch!((name) => heard.push(name))
  await store.exchange('x', { ...request, quorum: 1, voteOpenMs: 60_000 })
  await until(() => heard.length > 0, 'the change is heard')
  expect(heard).toEqual(['x'])
  expect(await client.pTTL(`${prefix}:{x}`)).toBeGreaterThan(60_000)
  await leave()
  expect(await client.publish(`${prefix}:changed`, 'x')).toBe(0)
  subscriber.destroy()
})

/** Nodes of one cluster inside this process, each with its breaker. */
async function nodes(
  names: readonly string[],
  url: string,
  options: { readonly deadlineMs?: number; readonly openMs?: number; readonly halfOpenMaxCalls?: number } = {},
) {
  const prefix = `test:${randomUUID()}`
  const made = await Promise.all(
    names.map(async (node) => {
      const own = createClient({ url, socket: { reconnectStrategy: 50 } })
      const subscriber = own.duplicate()
      for (const each of [own, subscriber]) each.on('error', () => {})
      await Promise.all([own.connect(), subscriber.connect()])
      const breaker = new CircuitBreaker({
        name: 'x',
        failureThreshold: 2,
        openMs: options.openMs ?? 60_000,
        halfOpenMaxCalls: options.halfOpenMaxCalls ?? 2,
      })
      const warnings: string[] = []
      const sharing: BreakerSharing = shareBreakers({
        store: redisBreakerStore({ client: own, subscriber, prefix }),
        breakers: [['x', breaker]],
        node,
        pollMs: 100,
        deadlineMs: options.deadlineMs ?? 1_000,
        onWarning: ({ code }) => warnings.push(code),
      })
      await sharing.start()
      return { node, own, subscriber, breaker, sharing, warnings }
    }),
  )
  return {
    made,
    async end() {
      for (const { own, subscriber, sharing } of made) {
        await sharing.stop()
        own.destroy()
        subscriber.destroy()
      }
    },
  }
}

async function fail(breaker: CircuitBreaker): Promise<void> {
  await breaker.run(() => Promise.reject(new Error('down'))).catch(() => {})
}

test('B14: what two nodes find opens the third, one node alone does not, and a reset on any closes all', async () => {
  const { made, end } = await nodes(['a', 'b', 'c'], (await sharedRedis()).url)
  const [a, b, c] = made.map(({ breaker }) => breaker) as [CircuitBreaker, CircuitBreaker, CircuitBreaker]
  await fail(a)
  await fail(a)
  await until(() => made[1]!.sharing.health.breakers['x']!.votes.length === 1, 'the vote of one is known')
  expect([a.state, b.state, c.state]).toEqual(['OPEN', 'CLOSED', 'CLOSED'])
  await fail(b)
  await fail(b)
  await until(() => c.state === 'OPEN', 'the third node opens')
  expect(c.nextAttemptTime!.getTime()).toBeGreaterThan(Date.now() + 50_000)
  c.reset({ actor: 'test' })
  await until(() => a.state === 'CLOSED' && b.state === 'CLOSED', 'all have closed')
  await end()
})

test('B14: a place that its node does not use goes to the node that wants one; a failed trial opens all again', async () => {
  const { made, end } = await nodes(['a', 'b', 'c'], (await sharedRedis()).url, { openMs: 1_000, halfOpenMaxCalls: 1 })
  const [a, b, c] = made.map(({ breaker }) => breaker) as [CircuitBreaker, CircuitBreaker, CircuitBreaker]
  for (const breaker of [a, a, b, b]) await fail(breaker)
  await until(() => c.ready, 'the third node has opened and waited')
  const tries = async (breaker: CircuitBreaker, call: () => unknown): Promise<boolean> =>
    (await codeOf(breaker.run(call))) !== 'breaker_open'
  await until(() => a.ready, 'the wait is over')
  const hasPlace = () => made[0]!.sharing.health.breakers['x']!.state === 'half_open'
  // The store's wait may end a little after the node's own, so that one question is not always enough.
  await until(async () => {
    if (!hasPlace()) expect(await tries(a, () => 'x'), 'a caller only makes the node ask').toBe(false)
    return hasPlace()
  }, 'a has the place')
  await until(() => tries(b, () => Promise.reject(new Error('still down'))), 'b has got the place of a')
  await until(() => a.nextAttemptTime !== undefined && !a.ready, 'a waits again')
  expect([a.figures.trials, b.figures.trials, c.figures.trials]).toEqual([0, 1, 0])
  await end()
})

test('B14: a node that an operator has forced does not follow the cluster', async () => {
  const { made, end } = await nodes(['a', 'b', 'c'], (await sharedRedis()).url)
  const [a, b, c] = made.map(({ breaker }) => breaker) as [CircuitBreaker, CircuitBreaker, CircuitBreaker]
  c.forceClose({ actor: 'test' })
  for (const breaker of [a, a, b, b]) await fail(breaker)
  await until(() => made[2]!.sharing.health.breakers['x']!.state === 'open', 'it knows')
  expect([c.state, await c.run(() => 'called')]).toEqual(['CLOSED', 'called'])
  await end()
})

test('B14: without Redis each node decides alone, says so, and loses no call; afterwards they share again', async () => {
  const server: Redis = await redis()
  const { made, end } = await nodes(['a', 'b'], server.url, { deadlineMs: 200, openMs: 1_000 })
  const { breaker, sharing, warnings } = made[0]!
  try {
    expect(sharing.health.state).toBe('shared')
    await server.pause()
    await until(() => sharing.health.state === 'local', 'the outage is seen')
    expect(await breaker.run(() => 'called')).toBe('called')
    await fail(breaker)
    await fail(breaker)
    expect(await codeOf(breaker.run(() => 'x'))).toBe('breaker_open')
    await until(() => breaker.ready, 'the wait is over')
    expect(await breaker.run(() => 1)).toBe(1)
    expect(await breaker.run(() => 2)).toBe(2)
    expect([breaker.state, warnings]).toEqual(['CLOSED', ['store_unavailable']])
    await server.resume()
    await until(() => sharing.health.state === 'shared', 'they share again')
    await server.kill()
    await until(() => sharing.health.state === 'local', 'the second outage is seen')
    expect(await breaker.run(() => 'called')).toBe('called')
    await server.restart()
    await until(() => sharing.health.state === 'shared', 'they share again')
    expect(warnings).toEqual(['store_unavailable', 'store_unavailable'])
  } finally {
    await end()
    await server.stop()
  }
})

interface NodeAnswer {
  readonly id: number
  readonly answers: readonly string[]
  readonly state: string
  readonly transitions: readonly string[]
  readonly health: SharingHealth
}

describe('three processes', () => {
  const children: ChildProcess[] = []
  let upstream: Server
  let calls = 0
  let status: number | 'held' = 200
  const held: ServerResponse[] = []

  beforeAll(async () => {
    upstream = createServer((_incoming, response) => {
      calls++
      if (status === 'held') held.push(response)
      else response.writeHead(status).end()
    })
    // A connection that is closed while it is used would be a failed trial.
    upstream.keepAliveTimeout = 60_000
    upstream.listen(0, '127.0.0.1')
    await once(upstream, 'listening')
  })
  afterAll(() => {
    for (const child of children) child.kill('SIGKILL')
    upstream.closeAllConnections()
    upstream.close()
  })

  function ask(child: ChildProcess, id: number, what: string, times = 1): Promise<NodeAnswer> {
    return new Promise((resolve) => {
      const heard = (message: NodeAnswer): void => {
        if (message.id !== id) return
        child.off('message', heard)
        resolve(message)
      }
      child.on('message', heard)
      if (id > 0) child.send({ id, do: what, times })
    })
  }

  test('B14: three processes open together, and probe with 2 calls in all', { timeout: 4 * patienceMs }, async () => {
    const { url } = await sharedRedis()
    const at = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`
    const prefix = `test:${randomUUID()}`
    const program = fileURLToPath(new URL('cluster-node.ts', import.meta.url))
    for (const node of ['a', 'b', 'c']) {
      children.push(fork(program, [url, at, node, prefix], { execArgv: ['--conditions=@gw/source'] }))
    }
    const [a, b, c] = children as [ChildProcess, ChildProcess, ChildProcess]
    await Promise.all(children.map((child) => ask(child, 0, '')))
    expect((await ask(c, 1, 'call')).answers).toEqual(['200'])

    status = 503
    const moved: string[] = []
    for (const [index, child] of children.entries()) {
      child.on('message', (message: { moved?: string; reason?: string }) => {
        if (message.moved !== undefined) moved.push(`${'abc'[index]} ${message.moved} ${message.reason}`)
      })
    }
    await Promise.all([ask(a, 2, 'call', 5), ask(b, 2, 'call', 5)])
    await until(
      () => moved.includes('c breaker.opened cluster'),
      () => `c has opened: ${moved.join(', ')}`,
    )
    const before = calls
    const refused = await Promise.all(children.map((child) => ask(child, 3, 'burst', 20)))
    expect(new Set(refused.flatMap(({ answers }) => answers))).toEqual(new Set(['breaker_open']))
    expect(calls).toBe(before)

    status = 'held'
    let id = 100
    const probing: Promise<NodeAnswer>[] = []
    await until(() => {
      for (const child of children) probing.push(ask(child, id++, 'burst', 10))
      return held.length === 2
    }, 'the trials have reached the upstream')
    for (let round = 0; round < 10; round++) {
      const bursts = await Promise.all(children.map((child) => ask(child, id++, 'burst', 20)))
      expect(new Set(bursts.flatMap(({ answers }) => answers))).toEqual(new Set(['breaker_open']))
    }
    expect(calls - before).toBe(2)

    status = 200
    for (const response of held) response.writeHead(200).end()
    await until(
      () => moved.filter((each) => each.includes('breaker.closed')).length === 3,
      () => `all have closed: ${moved.join(', ')}`,
    )
    const answers = (await Promise.all(probing)).flatMap(({ answers }) => answers)
    expect(answers.filter((answer) => answer === '200').length).toBe(2)
    const ends = await Promise.all(children.map((child) => ask(child, 4, 'end')))
    for (const { state, transitions } of ends) {
      expect(state).toBe('CLOSED')
      expect(transitions.filter((each) => each.startsWith('breaker.opened')).length).toBe(1)
    }
  })
})
