import { confirmed } from '../confirm.ts'
import { CommandError, exit } from '../failure.ts'
import { facts } from '../table.ts'
import { count, period, size } from '../terminal.ts'
import { connectionOf, type GatewayFlags } from './connection.ts'

/** Which key: its stored name, or what the client sent and where. */
export interface KeyFlags {
  readonly principal?: string
  readonly method?: string
  readonly route?: string
  readonly tenant?: string
}

type Flags = GatewayFlags & { readonly json?: boolean }

function scopeOf(key: string, { principal, method, route, tenant }: KeyFlags) {
  if (/^[0-9a-f]{64}$/.test(key) && route === undefined) return { hash: key }
  if (route === undefined)
    throw new CommandError(
      'Expected --route with the key that a client sent, as in --route /api/payment, or the 64 digits of a stored key',
      exit.usage,
    )
  return {
    key,
    route,
    ...(principal === undefined ? {} : { principal }),
    ...(method === undefined ? {} : { method }),
    ...(tenant === undefined ? {} : { tenant }),
  }
}

/** `gw keys show` */
export async function showKey(key: string, flags: Flags & KeyFlags): Promise<void> {
  const scope = scopeOf(key, flags)
  const { client, ask } = await connectionOf(flags)
  const { keys } = await ask(client.admin.keys.$get({ query: scope }))
  if (flags.json === true) console.log(JSON.stringify({ keys }))
  const [found] = keys
  if (found === undefined) {
    if (flags.json !== true) console.log('There is no such key: it was never used here, or its window is over.')
    process.exitCode = exit.failed
    return
  }
  if (flags.json === true) return
  const { hash, state, request, owner, lapsed, leaseRemainingMs, windowRemainingMs, response } = found
  console.log(
    facts([
      ['key', hash],
      ['state', `${state.replace('_', ' ')}${lapsed ? ', its owner is gone' : ''}`],
      ['request', request ?? undefined],
      ['owner', owner ?? undefined],
      ['lease', state === 'in_flight' && leaseRemainingMs > 0 ? `${period(leaseRemainingMs)} left` : undefined],
      ['window', state === 'completed' ? `${period(windowRemainingMs)} left` : undefined],
      [
        'answer',
        response === null
          ? undefined
          : `${response.status}${response.bytes === null ? '' : `, ${size(response.bytes)}`}`,
      ],
    ]),
  )
}

/** `gw keys release` */
export async function releaseKey(key: string, flags: Flags & KeyFlags & { readonly yes?: boolean }): Promise<void> {
  const scope = scopeOf(key, flags)
  const { client, ask } = await connectionOf(flags)
  if (
    !(await confirmed(
      'Free the key, so that the next request with it runs, whatever the first one did?',
      flags.yes === true,
    ))
  )
    throw new CommandError('Nothing was done')
  const answer = await ask(client.admin.keys.release.$post({ json: scope }))
  console.log(flags.json === true ? JSON.stringify(answer) : `${answer.hash}  ${answer.result}`)
}

/** `gw keys erase` */
export async function eraseKeys(
  principal: string,
  flags: Flags & { readonly tenant?: string; readonly yes?: boolean },
): Promise<void> {
  const { client, ask } = await connectionOf(flags)
  if (!(await confirmed(`Remove every kept answer of ${principal}?`, flags.yes === true)))
    throw new CommandError('Nothing was done')
  const { tenant } = flags
  const answer = await ask(
    client.admin.keys.erase.$post({ json: { principal, ...(tenant === undefined ? {} : { tenant }) } }),
  )
  console.log(flags.json === true ? JSON.stringify(answer) : `${count(answer.erased)} removed`)
}
