import type { Command } from 'commander'
import { configOption, documented, jsonOption, lazily, offlineExits } from '../command.ts'
import { exit } from '../failure.ts'

/** Commands that look at the stores themselves, whether a gateway runs or not. */
export function offlineCommands(gw: Command): void {
  gw.commandsGroup('Look after what is stored:')
  const dataDir = ['--data-dir <directory>', 'where the database lies (GW_DATA_DIR)'] as const
  documented(
    gw
      .command('doctor')
      .description(
        'examine configuration, stores, permissions, clocks and stuck work, and say how to mend what is wrong',
      )
      .option('--deep', 'recompute every hash of the audit trail as well')
      .option(...dataDir)
      .addOption(configOption())
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../doctor.ts')).doctor)),
    {
      examples: ['gw doctor', 'gw doctor --deep --json'],
      exits: {
        [exit.failed]: 'something is wrong (what is only to be looked at leaves 0)',
        [exit.configuration]: 'the configuration is refused',
      },
    },
  )
  documented(
    gw
      .command('inspect <place>')
      .description(
        'what is in a data directory, a backup or archive folder, postgres://, redis:// or s3://; changes nothing there, and needs no gateway',
      )
      .option('--quick', 'count only, without reading everything for damage')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../inspect.ts')).inspect)),
    {
      examples: ['gw inspect ./data', 'gw inspect s3://backups/gateway --quick'],
      exits: {
        [exit.failed]: 'something is damaged, or there is nothing of a gateway',
        [exit.unavailable]: 'it does not answer',
      },
    },
  )
  documented(
    gw
      .command('backup <to>')
      .description(
        'write one consistent state of the data directory or the PostgreSQL database to a folder or a bucket, while gateways go on',
      )
      .option('--even-damaged', 'back up a database in which damage was found')
      .option(...dataDir)
      .addOption(configOption())
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../backup.ts')).backUp)),
    { examples: ['gw backup /mnt/backups', 'gw backup s3://backups/gateway'], exits: offlineExits },
  )
  documented(
    gw
      .command('restore [from]')
      .description(
        'bring a backup back into an empty data directory or database; without a place, every request from the cold tier',
      )
      .option('--backup <id>', 'which one, instead of the newest')
      .option('--list', 'only list the backups that there are')
      .option(...dataDir)
      .addOption(configOption())
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../backup.ts')).restoreFrom)),
    {
      examples: [
        'gw restore /mnt/backups --list',
        'gw restore /mnt/backups --data-dir /var/lib/gateway',
        'GW_S3_URL=https://key:secret@host/bucket gw restore',
      ],
      exits: offlineExits,
    },
  )
  documented(
    gw
      .command('migrate')
      .description('bring the tables of every store to what this gw knows, forwards only; a start does it too')
      .option('--check', 'only say whether there is something to do')
      .option(...dataDir)
      .addOption(configOption())
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../migrate.ts')).migrate)),
    {
      examples: ['gw migrate --check', 'DATABASE_URL=postgres://owner@host/gateway gw migrate'],
      exits: { ...offlineExits, [exit.failed]: 'it failed, or with --check there is something to do' },
    },
  )
}
