/** One node of the cluster test: calls the upstream through a shared breaker as often as it is told over IPC. */
import { createClient } from 'redis'
import { CircuitBreaker } from '../src/index.ts'
import { shareBreakers } from '../src/sharing.ts'
import { redisBreakerStore } from '../src/stores/redis.ts'

const [redisUrl, upstream, node, prefix] = process.argv.slice(2) as [string, string, string, string]
const client = createClient({ url: redisUrl })
const subscriber = client.duplicate()
for (const each of [client, subscriber]) each.on('error', () => {})
await Promise.all([client.connect(), subscriber.connect()])

const transitions: string[] = []
const breaker = new CircuitBreaker({
  name: 'upstream',
  failureThreshold: 5,
  openMs: 3_000,
  maxHalfOpenMs: 60_000,
  halfOpenMaxCalls: 2,
  onTransition: ({ type, reason }) => {
    transitions.push(`${type} ${reason}`)
    process.send?.({ moved: type, reason })
  },
})
const sharing = shareBreakers({
  store: redisBreakerStore({ client, subscriber, prefix }),
  breakers: [['upstream', breaker]],
  node,
  pollMs: 200,
  // A machine that stalls does not make a node decide alone here.
  deadlineMs: 20_000,
})
await sharing.start()

async function call(): Promise<string> {
  try {
    const response = await breaker.run(() => fetch(`${upstream}/${node}`), {
      judge: ({ status }) => (status >= 500 ? 'failure' : 'ok'),
    })
    await response.arrayBuffer()
    return String(response.status)
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
}

process.on('message', async (message: { id: number; do: string; times?: number }) => {
  const answers: string[] = []
  if (message.do === 'call') for (let n = 0; n < (message.times ?? 1); n++) answers.push(await call())
  if (message.do === 'burst')
    answers.push(...(await Promise.all(Array.from({ length: message.times ?? 1 }, () => call()))))
  if (message.do === 'end') {
    await sharing.stop()
    await Promise.all([client.close(), subscriber.close()])
  }
  process.send?.({ id: message.id, answers, state: breaker.state, transitions, health: sharing.health })
  if (message.do === 'end') process.disconnect()
})
process.send?.({ id: 0, answers: [], state: breaker.state, transitions, health: sharing.health })
