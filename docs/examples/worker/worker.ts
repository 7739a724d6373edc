import { breaker, CircuitBreaker, CircuitBreakerRegistry } from '@gw/breaker'
import { dedup, RequestDeduplicator } from '@gw/dedup'
import { memoryDedupStore } from '@gw/dedup/memory'
import { Hono } from 'hono'

// Everything is made at module scope, where a Worker may do no I/O: nothing opens before the first request.
// This store is one isolate's; keys that must hold everywhere need one that isolates share.
const deduplicator = new RequestDeduplicator({ store: memoryDedupStore() })
const breakers = new CircuitBreakerRegistry().add('origin', new CircuitBreaker({ name: 'origin', failureThreshold: 3 }))

const app = new Hono()
let orders = 0
app.post('/orders', dedup({ deduplicator, principal: (c) => c.req.header('x-user-id'), missing: 'required' }), (c) =>
  c.json({ order: ++orders }, 201),
)
app.get('/origin', breaker({ registry: breakers, name: 'origin' }), (c) => c.text('away', 502))

// biome-ignore lint/style/noDefaultExport: a Worker is found by it
export default app
