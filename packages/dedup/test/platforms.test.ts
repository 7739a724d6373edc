import { getRequestListener } from '@hono/node-server'
import { expect, test } from 'vitest'
import { RequestDeduplicator } from '../src/index.ts'
import { memoryDedupStore } from '../src/stores/memory.ts'

test('R1: an answer by hand is kept also where a server has put a Response of its own in place of the platform’s', async () => {
  const platforms = Response
  getRequestListener(() => new Response())
  const copy = new Response('{"by":"hand"}', { status: 201, headers: { 'content-type': 'application/json' } }).clone()
  // That is what makes it hard: the copy is the platform's, and not an instance of what is now called Response.
  expect([copy instanceof platforms, copy instanceof Response]).toEqual([true, false])

  const deduplicator = new RequestDeduplicator({ store: memoryDedupStore() })
  const scope = { principal: 'ann', method: 'POST', path: '/orders' }
  expect(await deduplicator.store(scope, 'k', copy)).toBe(true)
  const kept = await deduplicator.get(scope, 'k')
  expect([kept?.status, new TextDecoder().decode(kept?.body)]).toEqual([201, '{"by":"hand"}'])
  await deduplicator.stop()
})
