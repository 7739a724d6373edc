import { createHmac } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { sharedRedis } from '@gw/services'
import { CloudEvent, HTTP } from 'cloudevents'
import { createClient } from 'redis'
import { afterEach, expect, test } from 'vitest'
import { type CloudEventJson, cloudEventOf, exportCloudEvents } from '../src/cloudevents.ts'
import { EventStore, memoryEventStore } from '../src/index.ts'
import { redisStreamPublisher, relay, webhookPublisher } from '../src/relay.ts'

const stores: EventStore[] = []
afterEach(async () => {
  for (const events of stores.splice(0)) await events.stop()
})

function memory(options = {}): EventStore {
  const events = new EventStore({ store: memoryEventStore(), ...options })
  stores.push(events)
  return events
}

async function until(holds: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 5))
}

test('X1: everything is published, in the order of each key, though publishing fails; a dead event lets its key go on', async () => {
  const events = memory()
  const published: string[] = []
  const failures = new Map([
    ['a1', 2],
    ['b2', 99],
  ])
  const running = relay(events, {
    name: 'r',
    backoffMs: 1,
    maxBackoffMs: 5,
    maxAttempts: 4,
    pollMs: 5,
    publish: async ({ data }) => {
      const left = failures.get(data as string) ?? 0
      failures.set(data as string, left - 1)
      if (left > 0) throw new Error('down')
      published.push(data as string)
    },
  })
  for (let i = 1; i <= 4; i++)
    for (const key of ['a', 'b', 'c']) await events.append('x', `${key}${i}`, { stream: key })
  await until(() => published.length === 11)
  for (const key of ['a', 'b', 'c']) {
    const own = published.filter((each) => each.startsWith(key))
    expect(own).toEqual(['1', '2', '3', '4'].map((i) => key + i).filter((each) => each !== 'b2'))
  }
  expect(await running.deadLetters()).toMatchObject([{ key: 'b', attempts: 4, reason: 'down', position: '5' }])
  expect(await running.pending()).toEqual([])
  failures.clear()
  expect(await running.revive('5')).toBe(true)
  await until(() => published.includes('b2'))
})

test('X1: what was published and not noted down before a crash comes again with the same id', async () => {
  const store = memoryEventStore()
  const first = memory({ store })
  const ids: string[] = []
  let crash = true
  const publish = async ({ id }: CloudEventJson) => {
    ids.push(id)
    if (crash) await new Promise(() => {})
  }
  relay(first, { name: 'r', leaseMs: 20, publish })
  const { id } = await first.append('x', {})
  await until(() => ids.length === 1)
  stores.splice(0)
  crash = false
  const [register] = await store.registers('consumer/relay.r')
  const unit = store.unit()
  unit.add(store.setRegister(register!.name, JSON.stringify({ position: '0' }), register!.version))
  await unit.commit()
  const second = memory({ store })
  const again = relay(second, { name: 'r', publish })
  await again.consumer.whenProcessed('1')
  expect(ids).toEqual([id, id])
})

test('X1: with one attempt an event is tried once; a hook that throws holds back neither it nor what is behind it', async () => {
  const events = memory()
  const tried: unknown[] = []
  const running = relay(events, {
    name: 'r',
    maxAttempts: 1,
    pollMs: 5,
    publish: async ({ data }) => {
      tried.push(data)
      if (data === 1) throw new Error('down')
    },
    onError: () => {
      throw new Error('mine')
    },
  })
  for (const data of [1, 2, 3]) await events.append('x', data)
  await until(() => tried.includes(3))
  expect(tried).toEqual([1, 2, 3])
  expect(await running.deadLetters()).toMatchObject([{ position: '1', attempts: 1 }])
})

test('X1: a clock that is put back keeps no event waiting for longer than the longest pause', async () => {
  let now = Date.UTC(2040, 0)
  const events = memory({ now: () => now })
  let tries = 0
  relay(events, {
    name: 'r',
    pollMs: 5,
    publish: async () => {
      tries++
      if (tries === 1) throw new Error('down')
    },
  })
  await events.append('x', {})
  await until(() => tries === 1)
  now = Date.UTC(2026, 0)
  await until(() => tries === 2)
})

test('X1: a pending event that retention took is dead, and not forgotten', async () => {
  const store = memoryEventStore()
  const events = memory({ store })
  const running = relay(events, {
    name: 'r',
    backoffMs: 1,
    maxAttempts: 2,
    pollMs: 5,
    publish: async () => {
      const unit = store.unit()
      unit.add(store.drop(await store.head()))
      await unit.commit().catch(() => {})
      throw new Error('down')
    },
  })
  await events.append('x', {})
  await until(async () => (await running.deadLetters()).length === 1)
  expect(await running.deadLetters()).toMatchObject([{ position: '1', reason: 'The event is no longer at hand' }])
})

test('X1: a webhook gets a signed structured CloudEvent with the id as key; an answer over 299 or a redirect is a failure', async () => {
  const calls: { headers: Record<string, unknown>; body: string }[] = []
  let status = 200
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk) => {
      body += chunk
    })
    request.on('end', () => {
      calls.push({ headers: request.headers, body })
      response.writeHead(status, { location: 'http://127.0.0.1:1/' }).end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`
  const secret = new TextEncoder().encode('s')
  const publish = webhookPublisher({ url, secret })
  const events = memory()
  await events.append('x', { n: 1 })
  const event = cloudEventOf(events, (await events.query()).events[0]!)
  await publish(event)
  const { headers, body } = calls[0]!
  expect(JSON.parse(body)).toEqual(event)
  expect([headers['content-type'], headers['idempotency-key']]).toEqual(['application/cloudevents+json', event.id])
  const signed = `${event.id}.${headers['webhook-timestamp']}.${body}`
  expect(headers['webhook-signature']).toBe(`v1,${createHmac('sha256', secret).update(signed).digest('base64')}`)
  for (status of [302, 400, 500]) await expect(publish(event)).rejects.toMatchObject({ code: 'publish_failed' })
  await new Promise((resolve) => server.close(resolve))
})

test('X1: events reach a stream of a real Redis, once each and in order', async () => {
  const { url } = await sharedRedis()
  const client = createClient({ url })
  await client.connect()
  const key = `events-${crypto.randomUUID()}`
  const events = memory()
  const running = relay(events, { name: 'r', publish: redisStreamPublisher({ client, key }) })
  for (let i = 0; i < 20; i++) await events.append('x', { i }, { stream: 's' })
  await running.consumer.whenProcessed('20')
  const entries = await client.xRange(key, '-', '+')
  expect(entries!.map(({ message }) => (JSON.parse(message['event']!) as { data: { i: number } }).data.i)).toEqual(
    Array.from({ length: 20 }, (_, i) => i),
  )
  await client.del(key)
  client.destroy()
})

test('E1: the export is read back by the cloudevents package, with every extension', async () => {
  const events = memory()
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  await events.append(
    'order.placed',
    { total: 3 },
    { stream: 'order-1', correlationId: 'c', causationId: 'd', traceparent },
  )
  await events.append('order.paid', {}, { stream: 'order-1' })
  let text = ''
  for await (const chunk of exportCloudEvents(events, { source: '/orders', dataschema: () => 'urn:schema:1' }))
    text += chunk
  const read = HTTP.toEvent({
    headers: { 'content-type': 'application/cloudevents-batch+json' },
    body: text,
  }) as CloudEvent<unknown>[]
  expect(read).toHaveLength(2)
  expect(read.every((event) => event.validate())).toBe(true)
  expect(read[0]).toMatchObject({
    specversion: '1.0',
    source: '/orders',
    type: 'order.placed',
    subject: 'order-1',
    dataschema: 'urn:schema:1',
    sequence: '1',
    streamversion: '0',
    correlationid: 'c',
    causationid: 'd',
    traceparent,
    data: { total: 3 },
  })
  expect(new CloudEvent(JSON.parse(text)[1]).id).toBe(read[1]!.id)
})

test('E1: upcasters bring old data to the newest shape for readers, step by step; the stored bytes stay', async () => {
  const store = memoryEventStore()
  const events = memory({
    store,
    upcasters: [
      {
        type: 'named',
        from: 1,
        upcast: (data: { name: string }) => ({ first: data.name.split(' ')[0], last: data.name.split(' ')[1] }),
      },
      { type: 'named', from: 2, upcast: (data: object) => ({ ...data, title: null }) },
    ],
  })
  await events.append('named', { name: 'Ann Lee' })
  await events.append('named', { first: 'B', last: 'C', title: 'Dr' }, { schemaVersion: 3 })
  expect((await events.query()).events.map(({ data, schemaVersion }) => [data, schemaVersion])).toEqual([
    [{ first: 'Ann', last: 'Lee', title: null }, 3],
    [{ first: 'B', last: 'C', title: 'Dr' }, 3],
  ])
  expect((await events.verify()).ok).toBe(true)
  expect((await store.read({ after: 0n, asOf: 1n, limit: 1 }))[0]!.data).toBe('{"name":"Ann Lee"}')
})
