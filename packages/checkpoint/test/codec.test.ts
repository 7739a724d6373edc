import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decode, encode } from '../src/codec.ts'
import { crcOf } from '../src/crc32.ts'
import { sha256Hex } from '../src/sha256.ts'

test('checkpoint S2: what JSON loses or refuses comes back equal', () => {
  const value = {
    date: new Date(5),
    big: 2n ** 70n,
    none: undefined,
    nan: Number.NaN,
    zero: -0,
    map: new Map<unknown, unknown>([[{ a: 1 }, new Set([1, 'x'])]]),
    bytes: Uint8Array.from([0, 255, 128]),
    floats: new Float64Array([1.5]),
    $gw: 'mine',
    error: Object.assign(new TypeError('no'), { code: 'x' }),
  }
  const back = decode(encode(value)) as typeof value
  expect(back).toEqual(value)
  expect(Object.is(back.zero, -0)).toBe(true)
  expect([back.error.name, back.error.code]).toEqual(['TypeError', 'x'])
})

test('checkpoint S2: any value of these kinds survives the way through', () => {
  fc.assert(
    fc.property(
      fc.anything({
        withBigInt: true,
        withDate: true,
        withMap: true,
        withSet: true,
        withTypedArray: false,
        withNullPrototype: false,
      }),
      (value) => {
        expect(decode(encode(value))).toEqual(value)
      },
    ),
  )
})

test('checkpoint S2: a cycle, a symbol and a class instance are refused with their path', () => {
  const cycle: Record<string, unknown> = {}
  cycle['self'] = cycle
  expect(() => encode(cycle)).toThrow('`self`')
  expect(() => encode({ a: Symbol('x') })).toThrow('`a`')
  expect(() => encode([new (class Money {})()])).toThrow('an instance of Money')
})

test('checkpoint S4: sha256Hex is SHA-256', async () => {
  for (const text of ['', 'abc', 'é'.repeat(60), 'x'.repeat(1_000)]) {
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))
    expect(sha256Hex(text)).toBe(Buffer.from(digest).toString('hex'))
  }
})

test('checkpoint T5: rows that differ anywhere, or only in where a column ends, have different CRCs', () => {
  expect(crcOf(['123456789'])).not.toBe(crcOf(['12345678', '9']))
  expect(crcOf([null])).not.toBe(crcOf(['null']))
  expect(crcOf([1])).not.toBe(crcOf(['1']))
  expect(crcOf([Uint8Array.from([1, 2])])).not.toBe(crcOf([Uint8Array.from([2, 1])]))
})
