import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

// What Workers refuse at module scope, and what a bundle would run there.
const program = `
const refuse = (name) => { globalThis[name] = class { constructor() { throw new Error(name + ' at module scope') } } }
const forbidden = (name) => () => { throw new Error(name + ' at module scope') }
refuse('AbortController')
const { setTimeout, queueMicrotask } = globalThis
globalThis.setTimeout = forbidden('setTimeout')
globalThis.fetch = forbidden('fetch')
Math.random = forbidden('random')
Date.now = forbidden('Date.now')
const { CircuitBreaker, CircuitBreakerRegistry, breaker, fetchWithBreaker, customFetch } = await import(process.argv[1] + '/index.ts')
const { shareBreakers } = await import(process.argv[1] + '/sharing.ts')
const { redisBreakerStore } = await import(process.argv[1] + '/stores/redis.ts')
await import(process.argv[1] + '/dry-run.ts')
const circuit = new CircuitBreaker({ name: 'x', callTimeoutMs: 5 })
const registry = new CircuitBreakerRegistry().add('x', circuit)
breaker({ breaker: circuit })
fetchWithBreaker({ registry })
customFetch({ registry })
shareBreakers({ store: redisBreakerStore({ client: { eval() { throw new Error('sent') } } }), breakers: registry.all })
console.log('made')
`

test('making a breaker, a registry, a middleware, a store does nothing, and loads no cockatiel', async () => {
  const source = fileURLToPath(new URL('../src', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program, source])
  expect(stdout).toBe('made\n')
})
