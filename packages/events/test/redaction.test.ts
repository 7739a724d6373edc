import fc from 'fast-check'
import { expect, test } from 'vitest'
import { bytesOf } from '../src/bytes.ts'
import { defaultRedaction, maskedAddress, redacted } from '../src/redaction.ts'

const key = bytesOf('key')
const clean = (value: unknown, rules = {}) => redacted(value, { ...defaultRedaction, ...rules }, key)

test('D1: headers on the deny-list are replaced wherever they stand, whatever their case', () => {
  for (const name of ['Authorization', 'cookie', 'Set-Cookie', 'PROXY-AUTHORIZATION', 'x-api-key', 'stack_trace'])
    expect(clean({ a: [{ [name]: { deep: 'secret' } }] })).toEqual({ a: [{ [name]: '[redacted]' }] })
})

test('D1: an idempotency key is a keyed hash: equal for equal keys, another under another secret', () => {
  const hash = (value: string, secret = key) => redacted({ 'Idempotency-Key': value }, defaultRedaction, secret)
  expect(JSON.stringify(hash('pay-1'))).not.toContain('pay-1')
  expect(hash('pay-1')).toEqual(hash('pay-1'))
  expect(hash('pay-1')).not.toEqual(hash('pay-2'))
  expect(hash('pay-1')).not.toEqual(hash('pay-1', bytesOf('other')))
})

test('D1: JSON pointers, with * for any member, and ~1 and ~0 in names', () => {
  const rules = { paths: ['/user/name', '/items/*/card', '/a~1b/c~0d'] }
  expect(
    clean({ user: { name: 'x', id: 1 }, items: [{ card: 1, n: 2 }, { card: 3 }], 'a/b': { 'c~d': 1 } }, rules),
  ).toEqual({
    user: { name: '[redacted]', id: 1 },
    items: [{ card: '[redacted]', n: 2 }, { card: '[redacted]' }],
    'a/b': { 'c~d': '[redacted]' },
  })
})

test('D1: a text over the cap becomes its length and keyed hash', () => {
  expect(clean({ text: 'x'.repeat(5_000) })).toEqual({
    text: expect.stringMatching(/^\[5000 characters, hmac [0-9a-f]{32}\]$/),
  })
})

test('D1: what is nested deeper than 32 is cut off, in objects and in arrays', () => {
  const nested = (depth: number, wrap: (inner: unknown) => unknown) => {
    let value: unknown = 'end'
    for (let i = 0; i < depth; i++) value = wrap(value)
    return JSON.stringify(clean(value))
  }
  for (const wrap of [(inner: unknown) => ({ inner }), (inner: unknown) => [inner]]) {
    expect(nested(32, wrap)).toContain('end')
    expect(nested(33, wrap)).toContain('[too deep]')
    expect(nested(50_000, wrap)).toContain('[too deep]')
  }
})

test('D1: addresses are cut to /24 and /48; what is none is replaced', () => {
  expect(maskedAddress('203.0.113.77')).toBe('203.0.113.0/24')
  expect(maskedAddress('::ffff:203.0.113.77')).toBe('203.0.113.0/24')
  expect(maskedAddress('2001:db8:aaaa:bbbb::1')).toBe('2001:db8:aaaa::/48')
  expect(maskedAddress('2001:DB8::1')).toBe('2001:db8:0::/48')
  expect(maskedAddress('::1')).toBe('0:0:0::/48')
  expect(maskedAddress('203.0.113.77, 10.0.0.1')).toBe('[redacted]')
  expect(clean({ ip_address: '203.0.113.77' })).toEqual({ ip_address: '203.0.113.0/24' })
})

test('D1: credentials in URLs, queries, messages and Bearer values are taken out of any text', () => {
  const canary = 'c4n4ry0123456789'
  const value = {
    dsn: `connect to postgres://app:${canary}@db/x failed`,
    url: `/callback?state=1&token=${canary}&x=1`,
    header: `Bearer ${canary}`,
    error: Object.assign(new Error(`basic ${canary}`), { stack: canary, cause: canary }),
    [`https://u:${canary}@h/`]: 1,
  }
  expect(JSON.stringify(clean(value))).not.toContain(canary)
})

test('D1: redaction ends on whatever JSON there is, keeps __proto__ a member, and says the same twice', () => {
  expect(JSON.stringify(clean(JSON.parse('{"__proto__":{"admin":true}}')))).toBe('{"__proto__":{"admin":true}}')
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(JSON.stringify(clean(clean(value)))).toBe(JSON.stringify(clean(value)))
    }),
    { numRuns: 200 },
  )
})

test('D1: texts made to be slow are redacted in time that grows with their length only', () => {
  const began = performance.now()
  for (const text of ['://'.repeat(1_300), '?token='.repeat(580), 'bearer '.repeat(580), `:://${'a'.repeat(4_000)}`])
    clean(text)
  expect(performance.now() - began).toBeLessThan(1_000)
})

test('D1: what says itself how it is written as JSON is kept as that; a circle is cut where it closes', () => {
  expect(
    clean({ at: new URL('https://ann:secret@example.com/x'), when: new Date(0), never: new Date(Number.NaN) }),
  ).toEqual({
    at: 'https://[redacted]@example.com/x',
    when: '1970-01-01T00:00:00.000Z',
    never: null,
  })
  expect(clean({ money: { toJSON: () => ({ amount: '1.50', password: 'x' }) } })).toEqual({
    money: { amount: '1.50', password: '[redacted]' },
  })
  const node: Record<string, unknown> = { name: 'a' }
  for (const edge of ['left', 'right', 'up', 'down']) node[edge] = { node, twice: [node, 1] }
  const cut = { node: '[circular]', twice: ['[circular]', 1] }
  expect(clean(node)).toEqual({ name: 'a', left: cut, right: cut, up: cut, down: cut })
  const shared = { n: 1 }
  expect(clean([shared, shared])).toEqual([{ n: 1 }, { n: 1 }])
})

test('D1: each of several addresses is cut', () => {
  expect(clean({ 'X-Forwarded-For': ['203.0.113.77', 'canary'] })).toEqual({
    'X-Forwarded-For': ['203.0.113.0/24', '[redacted]'],
  })
})
