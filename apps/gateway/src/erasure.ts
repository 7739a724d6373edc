import { createHmac } from 'node:crypto'
import type { RunRecord } from '@gw/checkpoint'
import { eraseSubject } from '@gw/events/privacy'
import { GatewayError } from './errors.ts'
import type { Gateway } from './gateway.ts'

/** What an erasure came to. */
export interface Erased {
  /** Names the erasure in the trail without naming the subject. */
  readonly receipt: string
  readonly position: string
  /** Idempotency records that were removed. */
  readonly keys: number
  /** Finished requests of the subject as principal that were removed, because nothing had encrypted them. */
  readonly requests: number
  /** Those that are not finished: they go on, and another erasure takes them when they are. */
  readonly unfinished: number
}

const pageSize = 500
const over: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled', 'dead'])

/** What names an erased subject in the trail. */
export function receiptOf(gateway: Gateway, subject: string): string {
  return createHmac('sha256', gateway.events.secret).update(subject).digest('hex').slice(0, 32)
}

/**
 * Erases a subject from everything that the gateway keeps: its key is destroyed, which takes the personal members of its events and the
 * payloads of its requests in every copy; its idempotency records are removed, and so are its finished requests of routes that name no
 * `subject`. Safe to repeat.
 */
export async function erase(
  gateway: Gateway,
  subject: string,
  { actor, tenant }: { readonly actor: string; readonly tenant?: string },
): Promise<Erased> {
  const { keyring, events, idempotency } = gateway
  if (keyring === undefined)
    throw new GatewayError('privacy_off', 'There is no keyring: give `privacy.keysFile` or `privacy.keyring`')
  let keys = 0
  let requests = { removed: 0, unfinished: 0 }
  const { position } = await eraseSubject(events, subject, {
    keyring,
    actor,
    forget: [
      async (principal) => {
        keys = await idempotency.erase({ principal, ...(tenant === undefined ? {} : { tenant }) })
      },
      async (principal) => {
        requests = await removeRequests(gateway, principal)
      },
    ],
  })
  return {
    receipt: receiptOf(gateway, subject),
    position: String(position),
    keys,
    requests: requests.removed,
    unfinished: requests.unfinished,
  }
}

async function removeRequests({ checkpoints }: Gateway, principal: string) {
  const { store } = checkpoints
  let [removed, unfinished] = [0, 0]
  for (let cursor: string | undefined; ; ) {
    const page = await checkpoints.list({ principal, limit: pageSize, ...(cursor === undefined ? {} : { cursor }) })
    // What is sealed under a subject's key is gone with that key.
    const plain = page.runs.filter((run) => run.subject === undefined)
    const finished = plain.filter(({ status, settled }) => over.has(status) && settled)
    unfinished += plain.length - finished.length
    for (const run of finished) if (await wasRemoved(run)) removed++
    cursor = page.cursor
    if (cursor === undefined) return { removed, unfinished }
  }

  async function wasRemoved({ id, revision }: RunRecord): Promise<boolean> {
    const unit = store.unit()
    unit.add(store.remove([{ id, revision }]))
    try {
      await unit.commit()
      return true
    } catch (error) {
      // Somebody else changed it, or took it away, meanwhile.
      if (error instanceof Error && 'code' in error && error.code === 'refused') return false
      throw error
    }
  }
}
