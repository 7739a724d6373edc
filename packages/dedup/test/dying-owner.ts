/** Claims a key of the Redis that it is given, says so, and hangs until it is killed. */
import { createClient } from 'redis'
import { RequestDeduplicator } from '../dist/index.js'
import { redisDedupStore } from '../dist/stores/redis.js'

const [url = '', prefix = '', identity = '{}'] = process.argv.slice(2)
const client = createClient({ url })
await client.connect()
const store = redisDedupStore({ client, prefix, onRisk: () => {} })
const deduplicator = new RequestDeduplicator({ store, leaseMs: 700 })
const { kind } = await deduplicator.acquire(JSON.parse(identity))
console.log(kind)
setInterval(() => {}, 1_000)
