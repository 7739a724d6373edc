import { type FaultProxy, faultProxy } from '@gw/services'
import type { Hono } from 'hono'
import { expect } from 'vitest'
import type { DedupStore } from '../src/index.ts'
import { afterwards, codeOfAnswer, counting, send } from './fixture.ts'

export const deadlineMs = 1_000

export const appOn = (store: DedupStore) =>
  counting({}, undefined, { store, cache: false, monotonic: () => performance.now(), now: () => Date.now() })

/** What is promised while a store is away, and when it is back. */
export async function survives(app: Hono, away: () => Promise<unknown>, back: () => Promise<unknown>): Promise<void> {
  expect((await send(app, 'before')).status).toBe(201)
  await away()
  for (let i = 0; i < 2; i++) {
    const began = performance.now()
    expect(await codeOfAnswer(await send(app, `during${i}`))).toEqual([503, 'idempotency_store_unavailable'])
    expect(performance.now() - began).toBeLessThan(deadlineMs + 500)
  }
  expect((await send(app, undefined)).status).toBe(201)
  await back()
  const began = performance.now()
  await expect.poll(async () => (await send(app, 'after')).status, { timeout: 10_000, interval: 50 }).toBe(201)
  expect(performance.now() - began).toBeLessThan(2_000 + deadlineMs)
  expect((await send(app, 'before')).headers.get('idempotent-replayed')).toBe('true')
  // A claim that was sent and not answered ran nothing, and does not keep its key.
  await expect.poll(async () => (await send(app, 'during0')).status, { timeout: 10_000, interval: 50 }).toBe(201)
}

/** A server behind a link that can fail. */
export async function through(url: string): Promise<FaultProxy> {
  const proxy = await faultProxy(url)
  afterwards(() => proxy.close())
  return proxy
}
