import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { CheckpointManager, durable } from '../src/index.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { withoutSecretParameters, withoutSecrets } from '../src/without-secrets.ts'

test.each([
  ['postgres://gw:pw@db/gw is away', 'postgres://redacted@db/gw is away'],
  ['redis://:pw@cache and https://token@host/x', 'redis://redacted@cache and https://redacted@host/x'],
  [
    'GET https://a/b?page=2&access_token=x&sig=y#z failed',
    'GET https://a/b?page=2&access_token=redacted&sig=redacted#z failed',
  ],
  ['mail to ann@example.org about a://b', 'mail to ann@example.org about a://b'],
  ['nothing & nobody? no', 'nothing & nobody? no'],
])('reliability P12: %s is kept as %s', (text, kept) => {
  expect(withoutSecrets(text)).toBe(kept)
})

test.each([
  [
    'token=1&apiKey=2&api_key=3&X-Api-Key=4&client_secret=5&Signature=6&%74oken=7&key=8',
    'token apiKey api_key X-Api-Key client_secret Signature %74oken key',
  ],
  ['sort_key=1&idempotency_key=2&design=3&page=4&tokenizer=5&monkey=6&%=7', ''],
])('reliability P12: of %s the values of “%s” are not kept', (query, redacted) => {
  const names = withoutSecretParameters(`http://a/b?${query}`)
    .slice('http://a/b?'.length)
    .split('&')
    .filter((pair) => pair.endsWith('=redacted'))
    .map((pair) => pair.split('=')[0])
  expect(names.join(' ')).toBe(redacted)
})

test('reliability P12: a text made to be slow is not', () => {
  const long = ['://', '?', '&token', '?token=', 'a=b&', '@', ':'].map((piece) => piece.repeat(100_000 / piece.length))
  const began = performance.now()
  for (const text of long) withoutSecrets(text)
  // Quadratic time would be minutes.
  expect(performance.now() - began).toBeLessThan(5_000)
})

test('reliability P12: a run keeps its query without what is named like a secret, unless the route names it, and its reason without passwords', async () => {
  const checkpoints = new CheckpointManager({ store: memoryCheckpointStore() })
  const app = new Hono()
  const seen: string[] = []
  app.post('/a', durable({ checkpoints, operation: 'a', query: ['sig'] }), (c) => {
    seen.push(c.req.url)
    throw new Error('no postgres://gw:pw@db')
  })
  app.onError((_, c) => c.text('', 500))
  checkpoints.serve(app)
  const answer = await app.request('http://h/a?page=1&token=t&sig=s', { method: 'POST' })
  const id = answer.headers.get('gw-run')!
  expect(seen).toEqual(['http://h/a?page=1&token=t&sig=s'])
  expect(await checkpoints.get(id)).toMatchObject({ status: 'failed', reason: 'no postgres://redacted@db' })
  expect((await checkpoints.store.input(id))?.url).toBe('http://h/a?page=1&token=redacted&sig=s')
  await checkpoints.stop()
})
