import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { offlineCommands } from './program/offline.ts'
import { onlineCommands } from './program/online.ts'
import { serverCommands } from './program/server.ts'

/** Every command of `gw`. */
export function program(): Command {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    readonly version: string
  }
  const gw = new Command('gw')
    .description('Durable Gateway: requests that are not lost, do not run twice, and are accounted for')
    .version(version)
    .addHelpText('after', '\nEach command has its own help: gw requests ls --help. The reference is docs/cli.md.')
  serverCommands(gw)
  onlineCommands(gw)
  offlineCommands(gw)
  strict(gw)
  return gw
}

/** Errors of the command line are thrown, so that they end with one exit code; a group of commands alone shows its help. */
function strict(command: Command): void {
  command
    .exitOverride()
    .showHelpAfterError(`(${pathOf(command)} --help says more)`)
    .showSuggestionAfterError()
  for (const inner of command.commands) strict(inner)
}

/** How a command is called. */
export function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`
}
