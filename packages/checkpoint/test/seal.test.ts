import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { canCompress } from '../src/compression.ts'
import { createSeal, type SealOptions } from '../src/seal.ts'
import { memoryKeyring } from './fixture-keyring.ts'

const [a, b] = [randomBytes(32), randomBytes(32)]
const keysOf = (current: string, ...ids: readonly string[]) => ({
  current,
  keys: new Map(ids.map((id) => [id, new Uint8Array(id === 'a' ? a : b)])),
})
const context = { run: 'r-1', kind: 'input' }
const text = new TextEncoder().encode('{"card":"4111 1111 1111 1111"}'.repeat(8))

const forms: readonly (readonly [name: string, options: SealOptions, subject?: string])[] = [
  ['a checksum', {}],
  ['a checksum and gzip', { compressAboveBytes: 10 }],
  ['AES', { keys: keysOf('a', 'a') }],
  ['AES and gzip', { keys: keysOf('a', 'a'), compressAboveBytes: 10 }],
  ['AES and zstd', { keys: keysOf('a', 'a'), compressAboveBytes: 10, compression: 'zstd' }],
  ['a keyring', { keyring: memoryKeyring() }, 'ann'],
  ['a keyring beside keys', { keyring: memoryKeyring(), keys: keysOf('a', 'a'), compressAboveBytes: 10 }, 'ann'],
]

for (const [name, options, subject] of forms) {
  test(`checkpoint T3: what is sealed with ${name} comes back to the byte`, async () => {
    const seal = createSeal(options)
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.string(), fc.string(), async (bytes, run, kind) => {
        const envelope = await seal.seal(bytes, { run, kind }, subject)
        expect(Buffer.from(await seal.open(envelope, { run, kind }))).toEqual(Buffer.from(bytes))
      }),
      { numRuns: 50 },
    )
  })

  test(`checkpoint T3: any flipped byte and any cut of ${name} is found`, async () => {
    const seal = createSeal(options)
    const envelope = await seal.seal(text, context, subject)
    for (let at = 0; at < envelope.length; at++) {
      for (const flip of [0x01, 0x80, 0xff]) {
        const damaged = Uint8Array.from(envelope)
        damaged[at]! ^= flip
        await expect(seal.open(damaged, context), `byte ${at} by ${flip}`).rejects.toThrow()
      }
      await expect(seal.open(envelope.subarray(0, at), context), `cut at ${at}`).rejects.toThrow()
    }
    await expect(seal.open(Uint8Array.of(...envelope, 0), context)).rejects.toThrow()
  })

  test(`checkpoint T3: ${name} opens only under the run, the kind and the namespace that it was sealed for`, async () => {
    const seal = createSeal(options)
    const envelope = await seal.seal(text, context, subject)
    const elsewhere = [
      () => seal.open(envelope, { run: 'r-2', kind: 'input' }),
      () => seal.open(envelope, { run: 'r-1', kind: 'outcome' }),
      () => seal.open(envelope, { run: 'r-1"', kind: 'nput' }),
      () => createSeal({ ...options, namespace: 'other' }).open(envelope, context),
    ]
    for (const opening of elsewhere) await expect(opening()).rejects.toThrow()
  })
}

test('checkpoint T3: keys rotate: new payloads take the current key, old ones open while theirs is there, and then say which is missing', async () => {
  const before = createSeal({ keys: keysOf('a', 'a') })
  const after = createSeal({ keys: keysOf('b', 'a', 'b') })
  const later = createSeal({ keys: keysOf('b', 'b') })
  const old = await before.seal(text, context)
  const fresh = await after.seal(text, context)
  expect(Buffer.from(await after.open(old, context))).toEqual(Buffer.from(text))
  expect(Buffer.from(await later.open(fresh, context))).toEqual(Buffer.from(text))
  await expect(later.open(old, context)).rejects.toMatchObject({
    code: 'key_unknown',
    message: expect.stringContaining('`a`'),
  })
  await expect(createSeal().open(old, context)).rejects.toMatchObject({ code: 'key_unknown' })
})

test('checkpoint T3: a wrong key is an error of its own, and unencrypted payloads are refused where keys are given', async () => {
  const envelope = await createSeal({ keys: { current: 'a', keys: new Map([['a', new Uint8Array(a)]]) } }).seal(
    text,
    context,
  )
  const wrong = createSeal({ keys: { current: 'a', keys: new Map([['a', new Uint8Array(b)]]) } })
  await expect(wrong.open(envelope, context)).rejects.toMatchObject({ code: 'seal_broken' })
  await expect(wrong.open(await createSeal().seal(text, context), context)).rejects.toMatchObject({
    code: 'not_sealed',
  })
  await expect(wrong.open(text, context)).rejects.toMatchObject({ code: 'not_sealed' })
})

test('checkpoint T3: two seals of the same bytes share no nonce and no ciphertext', async () => {
  const seal = createSeal({ keys: keysOf('a', 'a') })
  const envelopes = await Promise.all(Array.from({ length: 200 }, () => seal.seal(text, context)))
  const tails = envelopes.map((envelope) => Buffer.from(envelope.subarray(10, 22)).toString('hex'))
  expect(new Set(tails).size).toBe(200)
  expect(new Set(envelopes.map((envelope) => Buffer.from(envelope).toString('hex'))).size).toBe(200)
})

test('checkpoint T3: what is longer than asked is compressed, and kept so only if it is smaller', async () => {
  expect(canCompress('gzip')).toBe(true)
  const seal = createSeal({ compressAboveBytes: 100 })
  const [short, noise] = [new Uint8Array(100), randomBytes(5_000)]
  expect((await seal.seal(text, context)).length).toBeLessThan(text.length)
  expect((await seal.seal(short, context)).length).toBeGreaterThan(100)
  const kept = await seal.seal(noise, context)
  expect(kept.length).toBe(noise.length + 13)
  expect(Buffer.from(await seal.open(kept, context))).toEqual(noise)
})

test('checkpoint T3: options that cannot be right are refused when the seal is made', () => {
  const bad: readonly object[] = [
    { compressAboveBytes: -1 },
    { compression: 'lzma' },
    { keys: { current: 'a', keys: new Map() } },
    { keys: { current: 'a', keys: new Map([['a', new Uint8Array(31)]]) } },
    { keyring: {} },
    { namespace: '' },
    { secret: 1 },
  ]
  for (const options of bad) expect(() => createSeal(options), JSON.stringify(options)).toThrow(/Expected|Unknown/)
})
