import { breaker, CircuitBreaker, CircuitBreakerRegistry, customFetch } from '@gw/breaker'
import { Hono } from 'hono'
import { type Proof, proof, same } from '../proof.ts'

let nowMs = 0
const circuit = new CircuitBreaker({
  name: 'reports',
  failureThreshold: 2,
  openMs: 1_000,
  halfOpenMaxCalls: 1,
  now: () => nowMs,
})
const registry = new CircuitBreakerRegistry().add('reports', circuit)
const guarded = customFetch({ registry })
const app = new Hono()
let status: 200 | 500 = 500
app.get('/reports', breaker({ registry, name: 'reports' }), (c) => c.text('report', status))

export const middleware: Proof = proof((test) => {
  test('it opens at its threshold, answers 503 with Retry-After, and closes after a trial that goes well', async () => {
    const answers: number[] = []
    for (let i = 0; i < 3; i++) answers.push((await app.request('/reports')).status)
    same(answers, [500, 500, 503])
    const refused = await app.request('/reports')
    same([circuit.state, refused.headers.get('retry-after')], ['OPEN', '1'])
    nowMs += 1_000
    status = 200
    same((await app.request('/reports')).status, 200)
    same(circuit.state, 'CLOSED')
  })
  test('a guarded fetch is a function', async () => {
    same(typeof guarded, 'function')
  })
})
