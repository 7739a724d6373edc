import type { RunRecord } from '@gw/checkpoint'
import { expect, test } from 'vitest'
import { type StandstillCause, type StandstillFacts, standstillOf } from '../src/admin/standstill.ts'

const now = Date.parse('2026-01-31T12:00:00Z')

const run: RunRecord = {
  id: 'r',
  requestId: undefined,
  operation: 'pay',
  version: '1',
  method: 'POST',
  route: '/pay',
  principal: undefined,
  subject: undefined,
  status: 'running',
  owner: 'node-a/1',
  fence: 1,
  revision: 1,
  attempt: 1,
  recoveries: 0,
  stage: undefined,
  progress: undefined,
  data: undefined,
  reason: undefined,
  wakeAt: undefined,
  cancelRequested: false,
  signals: 0,
  links: {},
  idempotencySeed: undefined,
  settled: false,
  expiresAt: undefined,
  createdAt: now - 60_000,
  updatedAt: now,
}

const facts: StandstillFacts = {
  run,
  now,
  leaseRemainingMs: 10_000,
  here: false,
  openSteps: [],
  served: true,
  room: true,
  draining: false,
  storage: 'open',
}

const over = { settled: true, expiresAt: now + 1, owner: undefined }

const cases: readonly (readonly [
  StandstillCause,
  string,
  Partial<Omit<StandstillFacts, 'run'>>,
  Partial<RunRecord>,
])[] = [
  ['none', 'It is completed', {}, { status: 'completed', ...over }],
  ['none', 'It is failed', {}, { status: 'failed', ...over }],
  [
    'unsettled',
    'It is completed; its key or its audit event is still to be written',
    {},
    { status: 'completed', ...over, settled: false },
  ],
  [
    'dead_lettered',
    'Given up: taken over 10 times. Retry or fork it',
    {},
    { status: 'dead', ...over, reason: 'taken over 10 times' },
  ],
  ['queued', 'It is queued and begins with the next sweep', {}, { status: 'queued', owner: undefined }],
  [
    'queued',
    'It is queued: handed over at shutdown',
    {},
    { status: 'queued', owner: undefined, reason: 'handed over at shutdown' },
  ],
  ['not_served', 'This gateway has no operation `pay`', { served: false }, { status: 'queued', owner: undefined }],
  ['draining', 'This gateway shuts down and takes no more', { draining: true }, { status: 'queued', owner: undefined }],
  ['no_room', 'As many handlers run as may (`maxWorkers`)', { room: false }, { status: 'queued', owner: undefined }],
  ['running', 'It runs in this process', { here: true }, {}],
  ['running', 'It runs in this process, in step charge#1', { here: true, openSteps: ['charge#1'] }, {}],
  ['running', 'It runs on node-a/1; if that is gone, it is taken over in 10 s', {}, {}],
  ['draining', 'This gateway shuts down; the request is handed over', { here: true, draining: true }, {}],
  ['owner_silent', 'Its owner node-a/1 has not been heard of', { leaseRemainingMs: -5 }, {}],
  ['owner_gone', 'Its owner node-a/1 is gone', { leaseRemainingMs: undefined }, {}],
  ['owner_gone', 'Its owner is gone', { leaseRemainingMs: undefined }, { owner: undefined }],
  ['cancelling', 'It was asked to end, and does so at its next step', { here: true }, { cancelRequested: true }],
  [
    'cancelling',
    'It was asked to end, and does so with the next sweep',
    {},
    { status: 'waiting', cancelRequested: true },
  ],
  [
    'breaker_open',
    'A circuit breaker is open (breaker_open: ledger is open): it is tried again at 2026-01-31T12:00:30.000Z (30 s)',
    {},
    { status: 'waiting', reason: 'breaker_open: ledger is open', wakeAt: now + 30_000 },
  ],
  [
    'pool_exhausted',
    'A connection pool has nothing to lend (pool_exhausted: main)',
    {},
    { status: 'waiting', reason: 'pool_exhausted: main', wakeAt: now + 1_000 },
  ],
  [
    'pool_exhausted',
    'A connection pool has nothing to lend (pool_factory_failed: main)',
    {},
    { status: 'waiting', reason: 'pool_factory_failed: main', wakeAt: now + 1_000 },
  ],
  [
    'sleeping',
    'It sleeps in nap#1 until 2026-01-31T15:00:00.000Z (3 h)',
    {},
    { status: 'waiting', reason: 'sleeps in nap#1', wakeAt: now + 3 * 3_600_000 },
  ],
  [
    'retry_later',
    'attempt 2 failed: no route: it is tried again at 2026-01-31T12:05:00.000Z (5 min)',
    {},
    { status: 'waiting', reason: 'attempt 2 failed: no route', wakeAt: now + 300_000 },
  ],
  [
    'due',
    'It is due since 2026-01-31T11:59:59.000Z',
    {},
    { status: 'waiting', reason: 'sleeps in nap#1', wakeAt: now - 1_000 },
  ],
  [
    'waiting_for_signal',
    'It waits for the signal approved, however long that takes',
    {},
    { status: 'waiting', reason: 'waits for the signal approved' },
  ],
  [
    'waiting_for_signal',
    'It waits for the signal approved, until 2026-01-31T12:01:00.000Z (60 s) at the latest',
    {},
    { status: 'waiting', reason: 'waits for the signal approved', wakeAt: now + 60_000 },
  ],
  [
    'outcome_unknown',
    'Whether charge#1 had its effect is not known',
    { openSteps: ['charge#1'] },
    { status: 'parked', reason: 'charge#1 was under way when its process died; decide whether it happened' },
  ],
  [
    'version_changed',
    'The handler has changed (accepted by version 1, this is 2)',
    {},
    { status: 'parked', reason: 'accepted by version 1, this is 2' },
  ],
  [
    'handler_diverged',
    'The handler no longer asks for what was kept',
    {},
    { status: 'parked', reason: 'the handler diverged: kept a#1, got b#1' },
  ],
  [
    'compensation_failed',
    'An effect was not taken back (charge#1 could not be compensated: refused)',
    {},
    { status: 'parked', reason: 'charge#1 could not be compensated: refused' },
  ],
  [
    'needs_resolve',
    'It is parked (somebody should look): somebody has to decide',
    {},
    { status: 'parked', reason: 'somebody should look' },
  ],
  ['storage_down', 'The storage is unavailable', { storage: 'unavailable' }, {}],
]

for (const [cause, text, world, changes] of cases)
  test(`gateway G10: why a request stands still, ${cause}: ${text.slice(0, 60)}`, () => {
    const standstill = standstillOf({ ...facts, ...world, run: { ...run, ...changes } })
    expect(standstill.cause).toBe(cause)
    expect(standstill.text).toContain(text)
    expect(standstill.text).not.toMatch(/undefined|null|\n/)
  })

test('gateway G10: a finished request that is settled is none of the storage’s business', () => {
  const done = { ...run, ...over, status: 'completed' as const }
  expect(standstillOf({ ...facts, storage: 'failed', run: done }).cause).toBe('none')
})
