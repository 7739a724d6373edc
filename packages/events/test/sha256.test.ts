import { createHash, createHmac } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { bytesOf, hexOf } from '../src/bytes.ts'
import { crc32, portableCrc32 } from '../src/event.ts'
import { hmacSha256, portableSha256, sha256 } from '../src/sha256.ts'

test('the portable SHA-256 gives the examples of FIPS 180-4 and what the runtime gives', () => {
  expect(hexOf(portableSha256(bytesOf('abc')))).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const expected = createHash('sha256').update(bytes).digest('hex')
      expect(hexOf(portableSha256(bytes))).toBe(expected)
      expect(hexOf(sha256(bytes.subarray(0, 7), bytes.subarray(7)))).toBe(expected)
    }),
    { numRuns: 300 },
  )
})

test('HMAC agrees with the runtime, keys over 64 bytes too', () => {
  for (const length of [0, 32, 64, 65, 200]) {
    const key = new Uint8Array(length).fill(7)
    expect(hexOf(hmacSha256(key, bytesOf('x')))).toBe(createHmac('sha256', key).update('x').digest('hex'))
  }
})

test('CRC-32 gives the check value of its definition, and both ways of computing it agree over chunks', () => {
  expect(portableCrc32(bytesOf('123456789'))).toBe(0xcbf43926)
  fc.assert(
    fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
      expect(crc32(a, b)).toBe(portableCrc32(a, b))
    }),
    { numRuns: 100 },
  )
})
