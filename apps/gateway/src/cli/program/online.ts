import type { Command } from 'commander'

/** Commands that ask a running gateway. */
export function onlineCommands(gw: Command): void {
  gw.commandsGroup('Ask a running gateway:')
}
