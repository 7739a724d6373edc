import { createHash, createHmac } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { bytesOf, hexOf } from '../src/bytes.ts'
import { chainHash, crc32, type Framed, frameOf, linkOf, portableCrc32 } from '../src/event.ts'
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

test('T1: what ties an event to the one before is the hash and the sum of its frame, whatever its length and alphabet', () => {
  const event: Framed = {
    position: 1n,
    stream: 'audit',
    version: 0,
    time: 1_700_000_000_000,
    id: 'e1',
    type: 'paid',
    actor: 'ann',
    subject: null,
    requestId: null,
    correlationId: null,
    causationId: null,
    traceparent: null,
    occurredAt: null,
    schemaVersion: 1,
    redaction: 2,
    data: '{}',
  }
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.string({ unit: 'grapheme', maxLength: 80 }),
      fc.constantFrom(0, 1, 5_000, 5_300, 5_400, 5_500, 20_000),
      (before, text, length) => {
        const long = { ...event, actor: text, data: JSON.stringify(text + 'x'.repeat(length)) }
        const hash = chainHash(before, frameOf(long))
        const link = linkOf(long, before)
        expect(hexOf(link.hash)).toBe(hexOf(hash))
        expect(link.crc).toBe(crc32(frameOf(long), hash))
      },
    ),
  )
})
