import type { Gateway } from '../gateway.ts'
import type { Tone } from './view/status.tsx'

/** Something that a person should know of, and where to go. */
export interface Notice {
  readonly tone: Tone
  readonly text: string
  readonly href?: string
}

/** What asks for attention now, worst first; a line that all is well where nothing does. */
export function noticesOf(gateway: Gateway, counts: Readonly<Record<string, number>>): readonly Notice[] {
  const { engine, admission, configRefusal, configPending } = gateway
  const { state, reason, pendingWrites } = engine.health
  const notices: Notice[] = []
  if (state !== 'open')
    notices.push({
      tone: 'bad',
      text: `The storage is ${state}${reason === undefined ? '' : `: ${reason}`}`,
      href: '/storage',
    })
  if (admission.phase === 'draining')
    notices.push({
      tone: 'wait',
      text: 'The gateway drains: what is under way finishes or is handed over',
      href: '/system',
    })
  if (configRefusal !== undefined)
    notices.push({
      tone: 'bad',
      text: `The newest configuration is not in force, the one before still is: ${configRefusal}`,
      href: '/system',
    })
  if (configPending.length > 0)
    notices.push({
      tone: 'wait',
      text: `Changed in the configuration, and in force with the next start: ${configPending.join(', ')}`,
      href: '/system',
    })
  for (const [name, breaker] of gateway.breakers.all) {
    if (breaker.forced === 'open')
      notices.push({ tone: 'wait', text: `The breaker ${name} is held open by an operator`, href: '/breakers' })
    else if (breaker.state === 'OPEN')
      notices.push({ tone: 'bad', text: `The breaker ${name} is open: calls are refused`, href: '/breakers' })
  }
  for (const [name, pool] of gateway.pools.all) {
    const { factories, waitingRequests } = pool.metrics()
    if (Object.values(factories).some(({ failing }) => failing))
      notices.push({ tone: 'bad', text: `The pool ${name} cannot connect`, href: '/pools' })
    if (waitingRequests > 0)
      notices.push({
        tone: 'wait',
        text: `${waitingRequests} wait for a connection of the pool ${name}`,
        href: '/pools',
      })
  }
  const parked = counts['parked'] ?? 0
  const dead = counts['dead'] ?? 0
  if (parked > 0)
    notices.push({
      tone: 'wait',
      text: `${parked} ${parked === 1 ? 'request is' : 'requests are'} parked and ${parked === 1 ? 'waits' : 'wait'} for a decision`,
      href: '/requests?status=parked',
    })
  if (dead > 0)
    notices.push({
      tone: 'bad',
      text: `${dead} ${dead === 1 ? 'request was' : 'requests were'} given up`,
      href: '/requests?status=dead',
    })
  if (pendingWrites > 1_000)
    notices.push({ tone: 'wait', text: `${pendingWrites} writes wait for the store`, href: '/storage' })
  const { inFlight, maxConcurrentRequests } = admission
  if (inFlight > maxConcurrentRequests * 0.8)
    notices.push({ tone: 'wait', text: `${inFlight} of ${maxConcurrentRequests} requests that may be under way are` })
  return notices.length > 0 ? notices : [{ tone: 'good', text: 'All is well: nothing needs a decision' }]
}
