import { type Cell, facts, table } from '../table.ts'
import { count, paint, period, relative } from '../terminal.ts'
import { connectionOf, type GatewayFlags } from './connection.ts'

/** Flags of the commands on breakers and pools. */
export type DependencyFlags = GatewayFlags & { readonly json?: boolean }

function stateCell(state: string): Cell {
  return { text: state, colour: { OPEN: paint.red, HALF_OPEN: paint.yellow }[state] ?? paint.green }
}

/** `gw breakers ls` */
export async function listBreakers(flags: DependencyFlags): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const answer = await ask(client.admin['circuit-breakers'].$get())
  if (flags.json === true) return console.log(JSON.stringify(answer))
  const breakers = Object.entries(answer.circuit_breakers)
  if (breakers.length === 0) return console.log('This gateway has no circuit breakers.')
  console.log(
    table(
      [
        { title: 'breaker', shrinksTo: 12 },
        { title: 'state' },
        { title: 'failures', right: true },
        { title: 'rate', right: true },
        { title: 'last failure', right: true },
        { title: 'next try', right: true },
      ],
      breakers.map(([name, breaker]) => [
        name,
        stateCell(breaker.state),
        count(breaker.failure_count),
        `${Math.round(breaker.failure_rate * 100)} %`,
        breaker.last_failure === null ? '' : relative(Date.parse(breaker.last_failure)),
        breaker.next_attempt === null ? '' : relative(Date.parse(breaker.next_attempt)),
      ]),
    ),
  )
}

/** `gw breakers show` */
export async function showBreaker(name: string, flags: DependencyFlags): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const breaker = await ask(client.admin['circuit-breakers'][':name'].$get({ param: { name } }))
  if (flags.json === true) return console.log(JSON.stringify(breaker))
  const { terms, figures, history } = breaker
  console.log(
    facts([
      ['breaker', breaker.name],
      ['state', stateCell(breaker.state)],
      ['forced', breaker.forced ?? undefined],
      ['failures', `${count(breaker.failure_count)}, ${Math.round(breaker.failure_rate * 100)} %`],
      ['last failure', breaker.last_failure === null ? undefined : relative(Date.parse(breaker.last_failure))],
      ['next try', breaker.next_attempt === null ? undefined : relative(Date.parse(breaker.next_attempt))],
      ['stays open', period(terms.openMs)],
      ['trials at once', count(terms.halfOpenMaxCalls)],
      ['window', period(terms.rollingWindowMs)],
      ...Object.entries(figures).map(([figure, value]) => [wordsOf(figure), count(value)] as const),
    ]),
  )
  if (history.length === 0) return
  console.log(
    `\n${table(
      [
        { title: 'event', right: true },
        { title: 'type' },
        { title: 'actor', shrinksTo: 8 },
        { title: 'at', right: true },
      ],
      history
        .slice(-20)
        .map(({ position, type, actor, time }) => [position, type, actor ?? '', relative(Date.parse(time))]),
    )}`,
  )
}

/** `gw breakers open`, `close` and `reset` */
export async function actOnBreaker(
  action: 'open' | 'close' | 'reset',
  name: string,
  flags: DependencyFlags,
): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const answer = await ask(client.admin['circuit-breaker'][':name'][':action'].$post({ param: { name, action } }))
  console.log(flags.json === true ? JSON.stringify(answer) : `${name}  ${answer.state}`)
}

/** `gw pools ls` */
export async function listPools(flags: DependencyFlags): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const answer = await ask(client.admin['connection-pools'].$get())
  if (flags.json === true) return console.log(JSON.stringify(answer))
  const pools = Object.entries(answer.connection_pools)
  if (pools.length === 0) return console.log('This gateway has no connection pools.')
  console.log(
    table(
      [
        { title: 'pool', shrinksTo: 10 },
        { title: 'lent', right: true },
        { title: 'idle', right: true },
        { title: 'min', right: true },
        { title: 'max', right: true },
        { title: 'waiting', right: true },
        { title: 'timeouts', right: true },
        { title: 'errors', right: true },
        { title: 'wait', right: true },
      ],
      pools.map(([name, pool]) => [
        name,
        count(pool.activeConnections),
        count(pool.idleConnections),
        count(pool.minConnections),
        count(pool.maxConnections),
        count(pool.waitingRequests),
        count(pool.acquisitionTimeouts),
        count(pool.connectionErrors),
        period(pool.avgAcquisitionTimeMs),
      ]),
    ),
  )
}

/** `gw pools show` */
export async function showPool(name: string, flags: DependencyFlags): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const pool = await ask(client.admin['connection-pools'][':name'].$get({ param: { name } }))
  if (flags.json === true) return console.log(JSON.stringify(pool))
  const { factories, ...figures } = pool.metrics
  console.log(
    facts([
      ['pool', pool.name],
      ...Object.entries(figures).map(([figure, value]) => [wordsOf(figure), figureText(figure, value)] as const),
      ...Object.entries(factories).map(
        ([factory, { failing, totalConnections, maxConnections }]) =>
          [
            factory,
            `${count(totalConnections)} of ${count(maxConnections)} connections${failing ? ', failing' : ''}`,
          ] as const,
      ),
    ]),
  )
}

/** `gw pools resize` */
export async function resizePool(
  name: string,
  flags: DependencyFlags & { readonly min?: number; readonly max?: number; readonly factory?: string },
): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const { min, max, factory } = flags
  const json = {
    ...(min === undefined ? {} : { min }),
    ...(max === undefined ? {} : { max }),
    ...(factory === undefined ? {} : { factory }),
  }
  const answer = await ask(client.admin['connection-pools'][':name'].resize.$post({ param: { name }, json }))
  console.log(flags.json === true ? JSON.stringify(answer) : answer.message)
}

/** `gw pools refresh` */
export async function refreshPool(name: string, flags: DependencyFlags): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  const answer = await ask(client.admin['connection-pools'][':name'].refresh.$post({ param: { name } }))
  console.log(flags.json === true ? JSON.stringify(answer) : answer.message)
}

/** `avgAcquisitionTimeMs` as `avg acquisition time`. */
function wordsOf(name: string): string {
  return name
    .replace(/(?:Ms|Seconds|Total)$/, '')
    .replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
    .replaceAll('_', ' ')
}

function figureText(name: string, value: number): string {
  if (name.endsWith('Ms')) return period(value)
  return name.endsWith('Seconds') ? period(value * 1_000) : count(value)
}
