import type { RunRecord } from '@gw/checkpoint'

/** Why a request makes no progress, by name. */
export type StandstillCause =
  | 'none'
  | 'queued'
  | 'no_room'
  | 'not_served'
  | 'draining'
  | 'storage_down'
  | 'running'
  | 'owner_silent'
  | 'owner_gone'
  | 'breaker_open'
  | 'pool_exhausted'
  | 'sleeping'
  | 'retry_later'
  | 'waiting_for_signal'
  | 'due'
  | 'outcome_unknown'
  | 'version_changed'
  | 'handler_diverged'
  | 'compensation_failed'
  | 'needs_resolve'
  | 'dead_lettered'
  | 'cancelling'
  | 'unsettled'

/** What is to be known to say why a request stands still. */
export interface StandstillFacts {
  readonly run: RunRecord
  readonly now: number
  /** What is left of the owner's lease in milliseconds; `undefined` where it has none, or nobody knows. */
  readonly leaseRemainingMs: number | undefined
  /** Whether this process runs it. */
  readonly here: boolean
  /** Steps whose start was marked and whose result is not there. */
  readonly openSteps: readonly string[]
  /** Whether this gateway has the operation. */
  readonly served: boolean
  /** Whether another handler may begin. */
  readonly room: boolean
  readonly draining: boolean
  readonly storage: string
}

/** One line for a person, and its name for a program. */
export interface Standstill {
  readonly cause: StandstillCause
  readonly text: string
}

/** Says why a request makes no progress, or that it does. */
export function standstillOf(facts: StandstillFacts): Standstill {
  const { run, draining, storage, here } = facts
  if (storage !== 'open' && run.expiresAt === undefined)
    return say('storage_down', `The storage is ${storage}: nothing goes on until it is back`)
  switch (run.status) {
    case 'completed':
    case 'failed':
    case 'cancelled':
      return run.settled
        ? say('none', `It is ${run.status}`)
        : say(
            'unsettled',
            `It is ${run.status}; its key or its audit event is still to be written elsewhere, which is tried again`,
          )
    case 'dead':
      return say(
        'dead_lettered',
        `Given up: ${run.reason ?? 'its attempts are used up'}. Retry or fork it once the cause is mended`,
      )
    case 'parked':
      return parked(facts)
    case 'queued':
      return queued(facts)
    case 'waiting':
      return waiting(facts)
    case 'running':
      if (run.cancelRequested) return say('cancelling', 'It was asked to end, and does so at its next step')
      if (draining && here)
        return say('draining', 'This gateway shuts down; the request is handed over if it does not finish in time')
      return running(facts)
  }
}

function queued({ run, served, room, draining }: StandstillFacts): Standstill {
  if (!served)
    return say('not_served', `This gateway has no operation \`${run.operation}\`: one that has it takes the request`)
  if (draining)
    return say('draining', 'This gateway shuts down and takes no more; another one, or the next start, takes it')
  if (!room) return say('no_room', 'As many handlers run as may (`maxWorkers`): it begins when one of them ends')
  return say(
    'queued',
    run.reason === undefined ? 'It is queued and begins with the next sweep' : `It is queued: ${run.reason}`,
  )
}

function running({ run, here, leaseRemainingMs, openSteps }: StandstillFacts): Standstill {
  const doing = openSteps.length === 0 ? '' : `, in step ${openSteps.join(', ')}`
  if (here) return say('running', `It runs in this process${doing}`)
  if (run.owner === undefined || leaseRemainingMs === undefined)
    return say(
      'owner_gone',
      `Its owner ${run.owner ?? ''} is gone: the next sweep of any gateway takes it over`.replace('  ', ' '),
    )
  if (leaseRemainingMs <= 0)
    return say(
      'owner_silent',
      `Its owner ${run.owner} has not been heard of: the lease is over, and the next sweep takes it over`,
    )
  return say(
    'running',
    `It runs on ${run.owner}${doing}; if that is gone, it is taken over in ${seconds(leaseRemainingMs)}`,
  )
}

function waiting({ run, now }: StandstillFacts): Standstill {
  const { reason = '', wakeAt } = run
  if (run.cancelRequested) return say('cancelling', 'It was asked to end, and does so with the next sweep')
  const time = wakeAt === undefined ? '' : `${new Date(wakeAt).toISOString()} (${seconds(wakeAt - now)})`
  const over = wakeAt !== undefined && wakeAt <= now
  if (reason.startsWith('waits for the signal'))
    return say(
      'waiting_for_signal',
      `It ${reason}${time === '' ? ', however long that takes' : `, until ${time} at the latest`}`,
    )
  if (over) return say('due', `It is due since ${new Date(wakeAt).toISOString()} and goes on with the next sweep`)
  if (reason.startsWith('breaker_open'))
    return say('breaker_open', `A circuit breaker is open (${reason}): it is tried again at ${time}`)
  if (/^pool_(?:exhausted|factory_failed)/.test(reason))
    return say('pool_exhausted', `A connection pool has nothing to lend (${reason}): it is tried again at ${time}`)
  if (reason.startsWith('sleeps in')) return say('sleeping', `It ${reason} until ${time}`)
  return say('retry_later', `${reason === '' ? 'It waits' : reason}: it is tried again at ${time}`)
}

function parked({ run, openSteps }: StandstillFacts): Standstill {
  const { reason = 'no reason was kept' } = run
  if (/^accepted by version/.test(reason))
    return say('version_changed', `The handler has changed (${reason}): resolve it by going on or by beginning anew`)
  if (reason.startsWith('the handler diverged'))
    return say(
      'handler_diverged',
      `The handler no longer asks for what was kept (${reason}): resolve it by beginning anew, or bring the old one back`,
    )
  if (/ could not be compensated:/.test(reason))
    return say('compensation_failed', `An effect was not taken back (${reason}): take it back by hand and resolve it`)
  if (openSteps.length > 0)
    return say(
      'outcome_unknown',
      `Whether ${openSteps.join(', ')} had its effect is not known (${reason}): somebody has to find out and resolve it`,
    )
  return say('needs_resolve', `It is parked (${reason}): somebody has to decide and resolve it`)
}

function say(cause: StandstillCause, text: string): Standstill {
  return { cause, text }
}

function seconds(ms: number): string {
  const whole = Math.max(0, Math.ceil(ms / 1_000))
  return whole < 120 ? `${whole} s` : whole < 7_200 ? `${Math.round(whole / 60)} min` : `${Math.round(whole / 3_600)} h`
}
