import { setTimeout as delay } from 'node:timers/promises'
import type { Browser } from 'playwright-core'
import { launch } from './browser.ts'
import { type TestServer, testServer } from './server.ts'

/** A gateway with a request in every state, a breaker that is open, a loan that is too long, and requests that keep coming. */
export interface Scene {
  readonly server: TestServer
  readonly browser: Browser
  /** The newest request of an operation. */
  newest(operation: string, status?: string): Promise<string>
  /** Ends the stream of requests. */
  calm(): Promise<void>
  close(): Promise<void>
}

const async = { prefer: 'respond-async' }

/** Sets the scene. Nothing in it depends on the time that it takes. */
export async function scene({ load = true } = {}): Promise<Scene> {
  const [server, browser] = await Promise.all([testServer(), launch()])
  const newest = async (operation: string, status?: string): Promise<string> => {
    for (;;) {
      const query = new URLSearchParams({ operation, limit: '1', ...(status === undefined ? {} : { status }) })
      const { requests } = (await (await server.admin(`/admin/requests?${query}`)).json()) as {
        requests: { id: string }[]
      }
      if (requests[0] !== undefined) return requests[0].id
      await delay(50)
    }
  }

  // A step that must not run twice and whose process dies parks its request.
  for (let i = 0; i < 3; i++) await server.post('/api/dispute', { case: i }, async)
  await started(server, 'dispute', 3)
  await server.kill()
  await server.start()
  await newest('dispute', 'parked')

  await server.post('/test/break-ledger')
  await server.post('/test/borrow')
  for (let i = 0; i < 3; i++) {
    await server.post('/api/refund', { payment: `pay_${i}`, password: 'hunter2' }, async)
    await server.post('/api/transfer', { to: `acc_${i}` }, async)
    await server.post('/api/approval', { by: 'finance' }, async)
  }
  await server.post('/api/report', { items: 600, item_ms: 200 }, async)
  await server.post('/api/payment', { amount: 25, currency: 'EUR' }, { 'idempotency-key': 'order-1' })
  await server.post('/api/payment', { amount: 25, currency: 'EUR' }, { 'idempotency-key': 'order-1' })
  const cancelled = await newest('approval', 'waiting')
  await server.admin(`/admin/requests/${cancelled}/cancel`, { method: 'POST' })
  for (const [operation, status] of [
    ['refund', 'failed'],
    ['transfer', 'waiting'],
    ['approval', 'waiting'],
    ['report', 'running'],
    ['payment', 'completed'],
  ] as const)
    await newest(operation, status)

  let ended = false
  const loading = load ? keepBusy(server, () => ended) : Promise.resolve()
  return {
    server,
    browser,
    newest,
    async calm() {
      ended = true
      await loading
    },
    async close() {
      ended = true
      await loading
      await browser.close()
      await server.kill()
    },
  }
}

/** Payments one after the other, a few of them repeated or refused, until it is over. */
async function keepBusy(server: TestServer, over: () => boolean): Promise<void> {
  for (let i = 0; !over(); i++) {
    const key = i % 3 === 0 ? {} : { 'idempotency-key': `load-${Math.floor(i / 4)}` }
    const paid = await server
      .post(i % 17 === 0 ? '/api/fail' : '/api/payment', { amount: (i * 7) % 100 }, key)
      .catch(() => undefined)
    await paid?.arrayBuffer()
    await delay(paid === undefined ? 200 : 25)
  }
}

/** Waits until so many requests of an operation have a step under way. */
async function started(server: TestServer, operation: string, count: number): Promise<void> {
  for (;;) {
    const list = (await (await server.admin(`/admin/requests?operation=${operation}`)).json()) as {
      requests: { id: string }[]
    }
    const details = await Promise.all(
      list.requests.map(
        async ({ id }) =>
          (await (await server.admin(`/admin/requests/${id}`)).json()) as { steps: { state: string }[] },
      ),
    )
    if (details.filter(({ steps }) => steps.some(({ state }) => state === 'started')).length === count) return
    await delay(30)
  }
}

/** Every page that the dashboard has, with what stands in its heading. */
export async function pagesOf({ newest }: Scene): Promise<readonly (readonly [path: string, heading: RegExp])[]> {
  const [payment, dispute, refund, report] = await Promise.all([
    newest('payment', 'completed'),
    newest('dispute', 'parked'),
    newest('refund', 'failed'),
    newest('report', 'running'),
  ])
  return [
    ['/', /Overview/],
    ['/requests', /Requests/],
    ['/requests?status=dead', /Requests/],
    [`/requests/${payment}`, new RegExp(payment)],
    [`/requests/${dispute}`, new RegExp(dispute)],
    [`/requests/${report}`, new RegExp(report)],
    [`/requests/${dispute}/resolve`, /Resolve/],
    [`/requests/${refund}/fork`, /Fork/],
    ['/requests/bulk?action=cancel&status=parked', /Cancel/],
    ['/audit', /Audit trail/],
    ['/audit/2', /request_received|pool/],
    ['/audit/2/proof', /Proof of event #2/],
    ['/audit/verification', /Verification/],
    ['/keys?key=order-1&principal=ann&route=/api/payment', /Keys/],
    ['/breakers', /Breakers/],
    ['/breakers/ledger/open', /Hold open/],
    ['/pools', /Pools/],
    ['/pools/main/resize', /Resize/],
    ['/storage', /Storage/],
    ['/system', /System/],
    ['/system/drain', /Shut this process down/],
    ['/nothing', /Not found/],
  ]
}
