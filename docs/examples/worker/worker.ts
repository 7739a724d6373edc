import { breaker, CircuitBreaker, CircuitBreakerRegistry } from '@gw/breaker'
import { dedup, RequestDeduplicator } from '@gw/dedup'
import { sqliteDedupStore } from '@gw/dedup/sqlite'
import { type DurableObjectStorage, durableObjectDatabase } from '@gw/sqlite/durable-object'
import { Hono } from 'hono'

interface Bindings {
  readonly CUSTOMERS: {
    idFromName(name: string): object
    get(id: object): { fetch(request: Request): Promise<Response> }
  }
}

/** A customer's orders and idempotency keys, in the SQLite of one Durable Object: whichever isolate is asked, they are the same. */
export class Customer {
  readonly #app = new Hono()

  constructor({ storage }: { readonly storage: DurableObjectStorage }) {
    const deduplicator = new RequestDeduplicator({ store: sqliteDedupStore({ db: durableObjectDatabase(storage) }) })
    const principal = (c: { req: { header(name: string): string | undefined } }) => c.req.header('x-user-id')
    this.#app.post('/orders', dedup({ deduplicator, principal, missing: 'required' }), (c) => {
      storage.sql.exec('CREATE TABLE IF NOT EXISTS placed (id INTEGER PRIMARY KEY)')
      const [placed] = storage.sql.exec('INSERT INTO placed DEFAULT VALUES RETURNING id').toArray()
      return c.json({ order: placed?.['id'] }, 201)
    })
  }

  fetch(request: Request): Response | Promise<Response> {
    return this.#app.fetch(request)
  }
}

// What is made at module scope does no I/O, opens nothing and is one isolate's own.
const breakers = new CircuitBreakerRegistry().add('origin', new CircuitBreaker({ name: 'origin', failureThreshold: 3 }))

const app = new Hono<{ Bindings: Bindings }>()
app.post('/orders', (c) => {
  const { CUSTOMERS } = c.env
  return CUSTOMERS.get(CUSTOMERS.idFromName(c.req.header('x-user-id') ?? 'nobody')).fetch(c.req.raw)
})
app.get('/origin', breaker({ registry: breakers, name: 'origin' }), (c) => c.text('away', 502))

// biome-ignore lint/style/noDefaultExport: a Worker is found by it
export default app
