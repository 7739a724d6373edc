import { type Command, Option } from 'commander'
import { configOption } from '../command.ts'

/** Adds the options by which a command finds a running gateway. */
export function asking(command: Command): Command {
  return command
    .addOption(new Option('--url <url>', 'the admin listener (GW_ADMIN_HOST, GW_ADMIN_PORT)').helpGroup('The gateway:'))
    .addOption(
      new Option(
        '--token-file <file>',
        'its token, instead of GW_ADMIN_TOKEN or <data directory>/admin-token',
      ).helpGroup('The gateway:'),
    )
    .addOption(new Option('--data-dir <directory>', 'its data directory (GW_DATA_DIR)').helpGroup('The gateway:'))
    .addOption(configOption().helpGroup('The gateway:'))
}

/** `--yes`, the same everywhere. */
export function yesOption(): Option {
  return new Option('-y, --yes', 'without asking')
}
