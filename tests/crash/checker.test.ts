import { expect, test } from 'vitest'
import { type Asked, check, type Found, type Received } from './checker.ts'

const asked: Asked[] = [
  { key: 'p', kind: 'payment', customer: 'c', items: 0 },
  { key: 'j', kind: 'job', customer: 'd', items: 3 },
]
const received: Received[] = [
  { key: 'p', status: 201, body: 'x', run: 'r1' },
  { key: 'j', status: 200, body: 'y', run: 'r2' },
]
const found: Found = {
  ledger: new Map([['c', 1]]),
  work: new Map([['r2', [0, 1, 2]]]),
  effects: new Map([['r2', [0, 1, 1, 2]]]),
}
const whole = {
  asked: 2,
  acknowledged: 2,
  lost: 0,
  duplicatedRows: 0,
  repeatedExecutions: 1,
  differentAnswers: 0,
  unfinished: 0,
}

test('a whole history has nothing to report but repeated executions', () => {
  expect(check(asked, received, found)).toEqual(whole)
})

test('finds a lost payment, a lost item, a second charge, a second row, another answer and an unfinished key', () => {
  const planted = (change: Partial<Found>, answers = received) => check(asked, answers, { ...found, ...change })
  expect(planted({ ledger: new Map() }).lost).toBe(1)
  expect(planted({ work: new Map([['r2', [0, 2]]]) }).lost).toBe(1)
  expect(planted({ ledger: new Map([['c', 2]]) }).duplicatedRows).toBe(1)
  expect(planted({ work: new Map([['r2', [0, 1, 1, 2]]]) }).duplicatedRows).toBe(1)
  expect(planted({}, [...received, { key: 'p', status: 201, body: 'z', run: 'r1' }]).differentAnswers).toBe(1)
  expect(planted({}, received.slice(1)).unfinished).toBe(1)
})
