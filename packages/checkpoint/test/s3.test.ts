import { createHash, randomBytes } from 'node:crypto'
import { s3Request, sharedS3 } from '@gw/services'
import { describe, expect, test as sequential, vi } from 'vitest'
import { md5 } from '../src/md5.ts'
import { parseListing } from '../src/s3-listing.ts'
import { type S3CheckpointStoreOptions, s3CheckpointStore } from '../src/stores/s3.ts'
import { clientOf, freshCold } from './fixture-runs.ts'

const test = sequential.concurrent
vi.setConfig({ testTimeout: 30_000 })
const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => i * 7)

describe('T4: the laws of a cold store, on Ceph', () => {
  test('checkpoint T2: law 1: an object is put once; the same bytes again are stored, others are refused and change nothing', async () => {
    const { cold } = await freshCold({ prefix: 'a/b.c' })
    expect(await cold.put('runs/1', bytes)).toBe('stored')
    expect(await cold.put('runs/1', bytes)).toBe('stored')
    expect(await cold.put('runs/1', bytes.slice(1))).toBe('exists')
    expect(await cold.put('runs/1', new Uint8Array())).toBe('exists')
    expect(Buffer.from((await cold.get('runs/1'))!)).toEqual(Buffer.from(bytes))
    expect(await cold.put('runs/empty', new Uint8Array())).toBe('stored')
    expect(await cold.get('runs/empty')).toEqual(new Uint8Array())
  })

  test('checkpoint T2: law 1: of two writers at once on one name, one is stored and the other hears that it exists', async () => {
    const { cold, place } = await freshCold()
    const other = s3CheckpointStore(place)
    for (let round = 0; round < 20; round++) {
      const name = `backup/${round}`
      const mine = randomBytes(2_000)
      const theirs = randomBytes(2_000)
      const answers = await Promise.all([cold.put(name, mine), other.put(name, theirs)])
      expect([...answers].sort()).toEqual(['exists', 'stored'])
      expect(Buffer.from((await cold.get(name))!)).toEqual(answers[0] === 'stored' ? mine : theirs)
    }
  })

  test('law 3, law 5: what was never put, or was removed, is not there, and removing it again is no error', async () => {
    const { cold } = await freshCold()
    expect(await cold.get('runs/none')).toBeUndefined()
    await cold.put('runs/x', bytes)
    await cold.remove('runs/x')
    await cold.remove('runs/x')
    expect(await cold.get('runs/x')).toBeUndefined()
    expect(await cold.list('')).toEqual([])
  })

  test('law 4: a listing of more than one page is whole and in order, below the prefix only, from any name on', async () => {
    const { cold, access, bucket, folder } = await freshCold({ prefix: 'in' })
    const names = Array.from({ length: 1_203 }, (_, i) => `runs/${String(i * 7).padStart(5, '0')}`)
    const queue = [...names]
    await Promise.all(
      Array.from({ length: 16 }, async () => {
        for (let name = queue.pop(); name !== undefined; name = queue.pop()) await cold.put(name, Uint8Array.of(1))
      }),
    )
    await s3Request(access, 'PUT', `/${bucket}/${folder}/inside`, { body: 'x' })
    await s3Request(access, 'PUT', `/${bucket}/${folder}/other`, { body: 'x' })
    await cold.put('backup/1', Uint8Array.of(1))
    expect(await cold.list('runs/')).toEqual(names)
    expect(await cold.list('')).toEqual(['backup/1', ...names])
    expect(await cold.list('runs/', { after: names[1_000]! })).toEqual(names.slice(1_001))
    expect(await cold.list('runs/', { after: 'runs/00006', limit: 3 })).toEqual(names.slice(1, 4))
    expect(await cold.list('none/')).toEqual([])
  })
})

describe('T4: addressing and signing', () => {
  test('checkpoint T4: the bucket stands in the path or in the host name, and a folder of the endpoint stays', async () => {
    const seen: string[] = []
    const fetched = async (request: Request) => {
      seen.push(request.url)
      return new Response(null, { status: 204 })
    }
    const client = clientOf(await sharedS3())
    const urls: Partial<S3CheckpointStoreOptions>[] = [
      { endpoint: 'https://s3.example.com' },
      { endpoint: 'https://s3.example.com:9000/sub/', prefix: 'p/q' },
      { endpoint: 'https://s3.example.com', addressing: 'virtual-host', prefix: 'p/' },
      { region: 'eu-central-1' },
    ]
    for (const options of urls)
      await s3CheckpointStore({ client, bucket: 'bkt', fetch: fetched, ...options }).remove('runs/1')
    expect(seen).toEqual([
      'https://s3.example.com/bkt/runs/1',
      'https://s3.example.com:9000/sub/bkt/p/q/runs/1',
      'https://bkt.s3.example.com/p/runs/1',
      'https://s3.eu-central-1.amazonaws.com/bkt/runs/1',
    ])
  })

  test('checkpoint T4: every put carries the condition and the hash of its body, and both are signed', async () => {
    const { cold } = await freshCold({
      fetch: async (request) => {
        if (request.method === 'PUT') {
          expect(request.headers.get('if-none-match')).toBe('*')
          expect(request.headers.get('x-amz-content-sha256')).toBe(createHash('sha256').update(bytes).digest('hex'))
          expect(request.headers.get('authorization')).toMatch(
            /SignedHeaders=[^,]*if-none-match[^,]*x-amz-content-sha256/,
          )
        }
        return fetch(request)
      },
    })
    expect(await cold.put('runs/1', bytes)).toBe('stored')
  })

  test('checkpoint T4: a body that was changed on its way is refused', async () => {
    const { cold } = await freshCold({
      deadlineMs: 1_000,
      fetch: (request) =>
        fetch(
          request.method === 'PUT'
            ? new Request(request.url, { method: 'PUT', headers: request.headers, body: bytes.slice(1) })
            : request,
        ),
    })
    await expect(cold.put('runs/1', bytes)).rejects.toMatchObject({ code: 'cold_rejected' })
    expect(await cold.get('runs/1')).toBeUndefined()
  })

  test('checkpoint T3: server-side encryption goes out as S3 names it, a customer key with every read too', async () => {
    const seen: Record<string, string>[] = []
    const stub = async (request: Request) => {
      seen.push(Object.fromEntries([...request.headers].filter(([name]) => name.startsWith('x-amz-server-side'))))
      return new Response(new Uint8Array(), { status: 200 })
    }
    const client = clientOf(await sharedS3())
    const customerKey = new Uint8Array(32).fill(7)
    for (const sse of ['AES256', { kmsKeyId: 'k-1' }, { customerKey }] as const) {
      const cold = s3CheckpointStore({ client, bucket: 'bkt', endpoint: 'http://h', sse, fetch: stub })
      await cold.put('runs/1', bytes)
      await cold.get('runs/1')
    }
    const customer = {
      'x-amz-server-side-encryption-customer-algorithm': 'AES256',
      'x-amz-server-side-encryption-customer-key': Buffer.from(customerKey).toString('base64'),
      'x-amz-server-side-encryption-customer-key-md5': createHash('md5').update(customerKey).digest('base64'),
    }
    expect(seen).toEqual([
      { 'x-amz-server-side-encryption': 'AES256' },
      {},
      { 'x-amz-server-side-encryption': 'aws:kms', 'x-amz-server-side-encryption-aws-kms-key-id': 'k-1' },
      {},
      customer,
      customer,
    ])
  })

  test('checkpoint T3: a server that cannot encrypt as asked says so, and nothing is stored', async () => {
    const { cold } = await freshCold({ sse: { kmsKeyId: 'none' } })
    await expect(cold.put('runs/1', bytes)).rejects.toMatchObject({ code: 'cold_rejected' })
    expect(await cold.get('runs/1')).toBeUndefined()
  })

  test('MD5 is that of the platform, for every length around its blocks', () => {
    for (let length = 0; length < 200; length++) {
      const input = randomBytes(length)
      expect(Buffer.from(md5(input)).toString('hex')).toBe(createHash('md5').update(input).digest('hex'))
    }
  })
})

describe('T4: what is wrong is said', () => {
  test('checkpoint T4: wrong credentials are `cold_denied`, a missing bucket is `bucket_not_found`, in every call', async () => {
    const { access, bucket } = await freshCold()
    const endpoint = access.url
    const stores = [
      ['cold_denied', s3CheckpointStore({ client: clientOf(access, { secretAccessKey: 'wrong' }), bucket, endpoint })],
      ['cold_denied', s3CheckpointStore({ client: clientOf(access, { accessKeyId: 'nobody' }), bucket, endpoint })],
      ['bucket_not_found', s3CheckpointStore({ client: clientOf(access), bucket: 'gw-absent', endpoint })],
    ] as const
    for (const [code, cold] of stores) {
      const calls = [
        () => cold.probe(),
        () => cold.put('runs/1', bytes),
        () => cold.get('runs/1'),
        () => cold.list('runs/'),
        () => cold.remove('runs/1'),
      ]
      for (const call of calls) await expect(call()).rejects.toMatchObject({ code })
    }
  })

  test('checkpoint T4: no message holds a credential', async () => {
    const { access, bucket } = await freshCold()
    const client = clientOf(access, { secretAccessKey: 'canary-5f2d' })
    const error: Error = await s3CheckpointStore({ client, bucket, endpoint: access.url })
      .get('runs/1')
      .then(
        () => new Error('no'),
        (thrown: Error) => thrown,
      )
    expect(`${error.message} ${error.stack} ${String(error.cause)}`).not.toMatch(/canary|Signature=|gwtest/)
  })

  test('checkpoint T4: the probe passes on Ceph and leaves nothing behind', async () => {
    const { cold } = await freshCold()
    await cold.probe()
    expect(await cold.list('')).toEqual([])
  })

  test('checkpoint T2: the probe refuses a server that ignores the condition, and one that does not know it', async () => {
    const ignoring = await freshCold({
      fetch: (request) => {
        if (request.method !== 'PUT') return fetch(request)
        // Signed without the condition, as the server would take it that does not look at it.
        return plainPut(request)
      },
    })
    const plainPut = async (request: Request) => {
      const { access } = ignoring
      const response = await s3Request(access, 'PUT', new URL(request.url).pathname, {
        body: new Uint8Array(await request.arrayBuffer()),
      })
      return response
    }
    await expect(ignoring.cold.probe()).rejects.toMatchObject({
      code: 'condition_ignored',
      message: expect.stringContaining('does not honour'),
    })
    const unknowing = await freshCold({
      fetch: (request) =>
        request.method === 'PUT'
          ? Promise.resolve(new Response('<Error><Code>NotImplemented</Code></Error>', { status: 501 }))
          : fetch(request),
    })
    await expect(unknowing.cold.probe()).rejects.toMatchObject({ code: 'condition_ignored' })
  })

  test('options that cannot be right are refused when the store is made, and making it does nothing', () => {
    const good = { client: { sign: () => Promise.reject(new Error('no')) }, bucket: 'bkt' }
    s3CheckpointStore(good)
    const bad: readonly object[] = [
      { bucket: 'Bad Bucket' },
      { bucket: '../x' },
      { prefix: '../x' },
      { prefix: 'a//b' },
      { prefix: '/a' },
      { prefix: 'a/..' },
      { endpoint: 'ftp://h' },
      { endpoint: 'http://user:pass@h' },
      { addressing: 'dns' },
      { deadlineMs: 0 },
      { sse: 'aws:kms' },
      { sse: { customerKey: new Uint8Array(16) } },
      { sse: { kmsKeyId: 'a\r\nb' } },
      { client: {} },
      { retries: 3 },
    ]
    for (const options of bad)
      expect(() => s3CheckpointStore({ ...good, ...options }), JSON.stringify(options)).toThrow(/Expected|Unknown/)
  })

  test('checkpoint T4: a name that is not one of ours never reaches the server', async () => {
    const { cold } = await freshCold({ fetch: () => Promise.reject(new Error('sent')) })
    for (const name of ['../x', 'A', 'a b', 'a\n', 'a?b', 'ä'])
      await expect(cold.get(name), name).rejects.toMatchObject({ code: 'invalid_option' })
  })
})

describe('T4: listings are read with care', () => {
  const page = (inner: string) => `<?xml version="1.0"?><ListBucketResult xmlns="x">${inner}</ListBucketResult>`

  test('entities and URL escapes are undone, and the prefix is no key', () => {
    const xml = page(
      '<EncodingType>url</EncodingType><Prefix>a</Prefix><IsTruncated>true</IsTruncated><NextContinuationToken>x&amp;&#60;&#x3e;</NextContinuationToken>' +
        '<Contents><Key>a%2Fb+c</Key><Size>1</Size></Contents><Contents><Size>1</Size><Key>d</Key></Contents>',
    )
    expect(parseListing(xml)).toEqual({ keys: ['a/b c', 'd'], continuation: 'x&<>' })
  })

  test('anything that could be expanded, and anything cut or misshapen, is refused', () => {
    const done = '<IsTruncated>false</IsTruncated>'
    const bad = [
      `<!DOCTYPE x [<!ENTITY e "e">]>${page(done)}`,
      page(`${done}<Contents><Key>&e;</Key></Contents>`),
      page(`${done}<Contents><Key>&#x110000;</Key></Contents>`),
      page(`${done}<Contents><Key>&amp</Key></Contents>`),
      page(`${done}<Contents><Key><![CDATA[a]]></Key></Contents>`),
      page(`${done}<Contents><Key>a`),
      page(`${done}<Contents></Contents>`),
      page(`<EncodingType>url</EncodingType>${done}<Contents><Key>%zz</Key></Contents>`),
      page('<IsTruncated>true</IsTruncated>'),
      page(''),
      '<html>busy</html>',
      '',
    ]
    for (const xml of bad) expect(() => parseListing(xml), xml).toThrow(/cannot be read/)
  })

  test('checkpoint T4: a listing out of order, or with names from elsewhere, is refused', async () => {
    const entry = (key: string) => `<Contents><Key>${key}</Key></Contents>`
    for (const keys of [['runs/2', 'runs/1'], ['runs/1', 'runs/1'], ['other/1']]) {
      const body = page(`<IsTruncated>false</IsTruncated>${keys.map(entry).join('')}`)
      const { cold } = await freshCold({ fetch: async () => new Response(body) })
      await expect(cold.list('runs/')).rejects.toMatchObject({ code: 'cold_rejected' })
    }
  })
})
