import { CommandError, exit } from '../failure.ts'
import { progressOf } from '../progress.ts'
import { paint } from '../terminal.ts'
import { connectionOf, type GatewayFlags } from './connection.ts'

const askEveryMs = 250

/** `gw drain`: has a gateway shut down in order, as SIGTERM does. */
export async function drain(flags: GatewayFlags & { readonly wait?: boolean; readonly json?: boolean }): Promise<void> {
  const { client, ask, url } = await connectionOf(flags)
  const { phase } = await ask(client.admin.system.drain.$post())
  if (flags.wait !== true) {
    console.log(
      flags.json === true
        ? JSON.stringify({ phase })
        : `${url} drains: it takes nothing new, and ends what is under way.`,
    )
    return
  }
  const waiting = progressOf('Draining', { unit: 'requests under way' })
  try {
    for (;;) {
      const { figures } = await ask(client.admin.system.$get())
      waiting.at(figures.inFlight + figures.liveRuns)
      await new Promise((resolve) => setTimeout(resolve, askEveryMs))
    }
  } catch (error) {
    if (!(error instanceof CommandError) || error.exitCode !== exit.unavailable) throw error
  } finally {
    waiting.end()
  }
  console.log(flags.json === true ? JSON.stringify({ phase: 'stopped' }) : paint.green(`${url} has stopped.`))
}
