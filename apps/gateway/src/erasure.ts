import { eraseSubject } from '@gw/events/privacy'
import { GatewayError } from './errors.ts'
import type { Gateway } from './gateway.ts'

/** What an erasure came to. */
export interface Erased {
  /** Names the erasure in the trail without naming the subject. */
  readonly receipt: string
  readonly position: string
  readonly requests: number
  readonly keys: number
}

/**
 * Erases a subject from everything that the gateway keeps: its key is destroyed, which takes its events' personal members and its
 * requests' payloads in every copy; its idempotency records are removed. Safe to repeat.
 */
export async function erase(
  gateway: Gateway,
  subject: string,
  { actor, tenant }: { readonly actor: string; readonly tenant?: string },
): Promise<Erased> {
  const { keyring, events, idempotency, keeping } = gateway
  if (keyring === undefined)
    throw new GatewayError('privacy_off', 'There is no keyring: give `privacy.keysFile` or `privacy.keyring`')
  let keys = 0
  const proof = await eraseSubject(events, subject, {
    keyring,
    actor,
    forget: [
      async (principal) => {
        keys = await idempotency.erase({ principal, ...(tenant === undefined ? {} : { tenant }) })
      },
      async () => {
        for (const projection of keeping.projections.values()) await projection.rebuild()
      },
    ],
  })
  const record = (await events.query({ type: 'subject.erased', limit: 1_000 })).events.findLast(
    ({ id }) => id === proof.id,
  )
  const receipt = (record?.data as { readonly receipt: string } | undefined)?.receipt ?? ''
  return { receipt, position: String(proof.position), requests: 0, keys }
}
