import type { Command } from 'commander'
import { configOption, documented, jsonOption, lazily } from '../command.ts'
import type { ConfigFlags } from '../config.ts'
import { exit } from '../failure.ts'

/** Commands that run a server, or are about its configuration. */
export function serverCommands(gw: Command): void {
  gw.commandsGroup('Run a gateway:')
  documented(
    gw
      .command('init [directory]')
      .description('make a project to start from: TypeScript, a configuration, one durable route')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../init.ts')).init)),
    { examples: ['gw init my-gateway'], exits: { [exit.failed]: 'there are files already, which it leaves alone' } },
  )
  documented(
    withServerOptions(
      gw
        .command('dev')
        .description('run gw start, again after each change of the configuration or of the sources beside it'),
    ).action(lazily(async () => (await import('../dev.ts')).dev)),
    { examples: ['gw dev --port 8080'] },
  )
  documented(
    withServerOptions(
      gw
        .command('start')
        .description('run the gateway of gateway.config.*, or the reference gateway where there is none'),
    ).action(lazily(async () => (await import('../start.ts')).start)),
    {
      examples: ['gw start --port 8080 --data-dir /var/lib/gateway'],
      exits: {
        [exit.failed]: 'it could not start',
        [exit.storageFailed]: 'the storage failed, at the start or later',
        [exit.configuration]: 'the configuration is refused',
      },
    },
  )
  const config = gw.command('config').description('the configuration')
  for (const [name, description] of [
    ['check', 'say everything that is wrong with it, or that nothing is'],
    ['print', 'what file, environment and flags come to, secrets masked'],
    ['diff', 'what differs from the defaults'],
  ] as const)
    documented(
      config
        .command(name)
        .description(description)
        .addOption(configOption())
        .addOption(jsonOption())
        .action(
          lazily(async () => {
            const { showConfig } = await import('../config.ts')
            return (flags: ConfigFlags) => showConfig(name, flags)
          }),
        ),
      { examples: [`gw config ${name}`], exits: { [exit.configuration]: 'the configuration is refused' } },
    )
  documented(
    config
      .command('schema')
      .description('its JSON Schema, for editors')
      .action(lazily(async () => (await import('../config.ts')).printSchema)),
    {
      examples: ['gw config schema > gateway.schema.json'],
    },
  )
}

function withServerOptions(command: Command): Command {
  return command
    .option('--host <host>', 'where to listen (HOST)')
    .option('--port <port>', "the gateway's port (PORT)")
    .option('--admin-port <port>', "the admin listener's port (GW_ADMIN_PORT)")
    .option('--data-dir <directory>', 'where the database lies (GW_DATA_DIR)')
    .addOption(configOption())
}
