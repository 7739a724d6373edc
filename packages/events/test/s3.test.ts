import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { sharedS3 } from '@gw/services'
import { afterEach, expect, test } from 'vitest'
import { retain, segmentArchive } from '../src/archive.ts'
import { EventStore } from '../src/index.ts'
import { s3Archive } from '../src/s3.ts'
import { sqliteEventStore } from '../src/stores/sqlite.ts'
import { closeDatabases, openTestDatabase, temporaryFolder } from './test-database.ts'
import { clientOf, s3Of, type TestS3 } from './test-s3.ts'

afterEach(closeDatabases)

async function freshFolder(): Promise<TestS3> {
  const { url, accessKeyId, secretAccessKey, region, createBucket } = await sharedS3()
  const bucket = `gw-events-${crypto.randomUUID()}`
  await createBucket(bucket)
  return { url: `${url}/${bucket}/a b/c`, accessKeyId, secretAccessKey, region }
}

const bytes = Uint8Array.from({ length: 3_000 }, (_, i) => i)

test('R2: an object is written once; of eight writers at once one creates it, and its bytes stay', async () => {
  const target = s3Of(await freshFolder())
  const puts = await Promise.all(Array.from({ length: 8 }, (_, i) => target.put('x/y&<z>', new Uint8Array([i]))))
  const winner = puts.indexOf('created')
  expect(puts.filter((put) => put === 'created')).toHaveLength(1)
  expect(await target.get('x/y&<z>')).toEqual(new Uint8Array([winner]))
  expect(await target.put('x/y&<z>', bytes)).toBe('exists')
  expect(await target.get('none')).toBeUndefined()
  expect(await target.list('x/')).toEqual(['x/y&<z>'])
  expect(await target.list('y')).toEqual([])
}, 120_000)

test('R2: a listing of more than one page is whole and in order', async () => {
  const target = s3Of(await freshFolder())
  const names = Array.from({ length: 1_003 }, (_, i) => `s/${String(i).padStart(4, '0')}`)
  const waiting = [...names]
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      for (let name = waiting.pop(); name !== undefined; name = waiting.pop())
        await target.put(name, new Uint8Array([1]))
    }),
  )
  expect(await target.list('s/')).toEqual(names)
}, 120_000)

for (const lost of [409, 500, 503, 'connection'] as const) {
  const answer = () => {
    if (lost === 'connection') throw new TypeError('fetch failed')
    return new Response('', { status: lost })
  }

  test(`R2: ${lost} after the object was written is a write: what is there tells, and other bytes are not taken for it`, async () => {
    const place = await freshFolder()
    const client = clientOf(place)
    const target = s3Archive({
      url: place.url,
      client: {
        async fetch(url, init) {
          const response = await client.fetch(url, init)
          return init?.method === 'PUT' ? answer() : response
        },
      },
    })
    expect(await target.put('n', bytes)).toBe('created')
    expect(await target.put('n', bytes.slice(1))).toBe('exists')
    expect(await s3Of(place).get('n')).toEqual(bytes)
  }, 120_000)

  test(`R2: ${lost} when nothing was written is \`archive_unavailable\`, not damage and not a write`, async () => {
    const place = await freshFolder()
    const client = clientOf(place)
    const target = s3Archive({
      url: place.url,
      client: { fetch: async (url, init) => (init?.method === 'PUT' ? answer() : client.fetch(url, init)) },
    })
    await expect(target.put('n', bytes)).rejects.toMatchObject({ code: 'archive_unavailable' })
    expect(await s3Of(place).get('n')).toBeUndefined()
  }, 120_000)
}

test('R2: a key that S3 does not know is `archive_unavailable` everywhere', async () => {
  const target = s3Of({ ...(await freshFolder()), secretAccessKey: 'wrong' })
  for (const call of [() => target.put('n', bytes), () => target.get('n'), () => target.list('')])
    await expect(call()).rejects.toMatchObject({ code: 'archive_unavailable', message: expect.stringContaining('403') })
}, 120_000)

for (const step of ['sealed', 'uploaded', 'described', 'verified', 'archived', 'dropped']) {
  test(`R2: killed when a segment was ${step} on S3: every event is readable, none twice, and the next run finishes`, async () => {
    const place = await freshFolder()
    const directory = join(temporaryFolder(), 'data')
    const fill = await openTestDatabase(directory)
    await new EventStore({ store: sqliteEventStore({ db: fill }) }).appendBatch(
      's',
      Array.from({ length: 100 }, (_, i) => ({ type: 'a', data: { i } })),
    )
    await fill.close()
    const file = fileURLToPath(new URL('./archiving-child.ts', import.meta.url))
    const args = ['--conditions=@gw/source', file, 'archive to S3', directory, JSON.stringify(place), step]
    const [, signal] = await once(spawn(process.execPath, args, { stdio: 'inherit' }), 'exit')
    expect(signal).toBe('SIGKILL')
    const db = await openTestDatabase(directory)
    const archive = segmentArchive({ target: s3Of(place), maxSegmentBytes: 4_000 })
    const events = new EventStore({ store: sqliteEventStore({ db }), archive })
    const all = async () => (await events.query({ limit: 200 })).events.map(({ position }) => position)
    const expected = Array.from({ length: 100 }, (_, i) => String(i + 1))
    expect(await all()).toEqual(expected)
    expect((await retain(events, { archive, maxEvents: 0 })).blocked).toBeUndefined()
    expect(await all()).toEqual(expected)
    expect(await events.verify()).toMatchObject({ ok: true, events: 100 })
    expect((await events.store.base()).position > 50n).toBe(true)
  }, 120_000)
}
