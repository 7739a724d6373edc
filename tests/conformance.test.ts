import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { checkConformance, conformanceCases } from '@gw/dedup/conformance'
import { expect, test } from 'vitest'
import { startServer } from './crash/server.ts'

// One body that all three operations accept: each reads its own members.
const body = {
  amount: 25,
  currency: 'EUR',
  payment_method: 'card',
  customer_id: 'ann',
  type: 'report',
  user_id: 'ann',
  item_ms: 120,
}

test('the gateway keeps every case of the conformance kit', async () => {
  const server = await startServer(join(mkdtempSync(join(tmpdir(), 'gw-conformance-')), 'data'), {
    GW_API_TOKENS: 'ann:token-of-ann,bob:token-of-bob',
  })
  try {
    const report = await checkConformance({
      url: server.url,
      path: '/api/payment',
      slowPath: '/api/long-running-process',
      requiredPath: '/api/order',
      getPath: '/api/payments',
      body: JSON.stringify(body),
      headers: { authorization: 'Bearer token-of-ann' },
      otherHeaders: { authorization: 'Bearer token-of-bob' },
    })
    expect(report.results.filter(({ outcome }) => outcome !== 'passed')).toEqual([])
    expect(report.passed).toBe(conformanceCases.length)
  } finally {
    server.process.kill('SIGKILL')
    await server.exited
  }
})
