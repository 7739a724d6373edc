import type { Verification } from '@gw/events'
import { askAdmin } from './admin-client.ts'

/** `gw events verify` */
export async function verifyEvents(flags: { readonly json?: boolean }): Promise<void> {
  const verification = await askAdmin<Verification>('/admin/events/verify', { method: 'POST' })
  if (flags.json === true) console.log(JSON.stringify(verification))
  else if (verification.ok)
    console.log(`ok: ${verification.events} events, head ${verification.head.position} ${verification.head.hash}`)
  else for (const { kind, position, detail } of verification.problems) console.log(`${kind} at ${position}: ${detail}`)
  if (!verification.ok) process.exitCode = 1
}
