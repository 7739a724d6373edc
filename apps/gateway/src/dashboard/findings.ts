import { statSync } from 'node:fs'
import type { Gateway } from '../gateway.ts'
import { type Notice, noticesOf } from './notices.ts'

const busyLoop = 0.9

/**
 * What a look at this process finds, beyond what asks for attention at once: each check with what to do about it. `gw doctor` looks from
 * outside, and at more.
 */
export function findingsOf(
  gateway: Gateway,
  counts: Readonly<Record<string, number>>,
  eventLoopUtilization: number,
): readonly Notice[] {
  return [
    ...noticesOf(gateway, counts),
    ...privacyOf(gateway.engine.directory),
    ...(gateway.engine.kind === 'memory'
      ? [{ tone: 'wait' as const, text: 'Everything is kept in memory and ends with this process: give it a database' }]
      : []),
    ...(eventLoopUtilization > busyLoop
      ? [{ tone: 'wait' as const, text: 'The event loop is busy all the time: requests wait for one another' }]
      : []),
    ...(gateway.events.buffered.failure === undefined
      ? []
      : [{ tone: 'bad' as const, text: `Buffered events are not stored: ${String(gateway.events.buffered.failure)}` }]),
    ...coldTierOf(gateway),
  ]
}

/** Whether others on this machine may read what the gateway keeps. */
function privacyOf(directory: string): readonly Notice[] {
  try {
    const mode = statSync(directory).mode & 0o777
    if ((mode & 0o077) === 0) return []
    return [
      {
        tone: 'wait',
        text: `Others on this machine may look into ${directory} (mode ${mode.toString(8)}): chmod 700 keeps them out`,
      },
    ]
  } catch (error) {
    return [{ tone: 'bad', text: `The data directory cannot be looked at: ${String(error)}` }]
  }
}

function coldTierOf({ engine }: Gateway): readonly Notice[] {
  const cold = engine.tiers?.cold
  if (cold === undefined || cold.lastError === undefined || cold.failures === 0) return []
  return [
    {
      tone: 'bad',
      text: `The cold tier refused ${cold.failures} times, the last: ${cold.lastError}`,
      href: '/storage',
    },
  ]
}
