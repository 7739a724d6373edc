import { type Command, Option } from 'commander'
import { documented, jsonOption, lazily, onlineExits, repeated, wholeNumber } from '../command.ts'
import { exit } from '../failure.ts'
import { timeArgument } from '../online/times.ts'
import { asking, yesOption } from './options.ts'

/** `gw events …` */
export function eventCommands(events: Command): void {
  documented(
    filtered(asking(events.command('tail').description('follow the log as it grows, through restarts of the gateway')))
      .option('--from-start', 'from the first event on, instead of the next')
      .addOption(new Option('--json', 'for programs: one JSON value a line'))
      .action(lazily(async () => (await import('../online/events.ts')).tailEvents)),
    { examples: ['gw events tail --type breaker.opened,breaker.closed'], exits: onlineExits },
  )
  documented(
    filtered(asking(events.command('query').description('events in the order of their positions')))
      .addOption(
        new Option('--from <time>', 'since: ISO 8601, or how long ago, as 2h').argParser(timeArgument).helpGroup(which),
      )
      .addOption(new Option('--to <time>', 'before').argParser(timeArgument).helpGroup(which))
      .option('--limit <n>', 'at most 1000', wholeNumber(1, 1_000), 50)
      .option('--cursor <cursor>', 'where an earlier page ended')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/events.ts')).queryEvents)),
    { examples: ['gw events query --actor alice --from 1d'], exits: onlineExits },
  )
  documented(
    offline(
      asking(
        events
          .command('verify [place]')
          .description(
            'recompute every hash: of a running gateway, or without it of a data directory, a bundle, an archive folder or postgres://',
          ),
      ),
    )
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../events.ts')).verifyEvents)),
    {
      examples: ['gw events verify', 'gw events verify ./data --note checkpoint.txt --verifier @verifier.txt'],
      exits: { ...onlineExits, [exit.failed]: 'it is damaged' },
    },
  )
  documented(
    offline(
      asking(
        events
          .command('prove <position> [place]')
          .description(
            'a proof that an event is in the log: signed by a running gateway, or without it against a checkpoint that was signed before',
          ),
      ),
    )
      .option('-o, --output <file>', 'instead of stdout')
      .action(lazily(async () => (await import('../events.ts')).proveEvent)),
    {
      examples: ['gw events prove 42 -o proof.json', 'gw events prove 42 events.ndjson --verifier @verifier.txt'],
      exits: onlineExits,
    },
  )
  documented(
    events
      .command('check <proof>')
      .description('whether a proof holds, with nothing but the public key')
      .addOption(verifierOption().makeOptionMandatory())
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../events.ts')).checkProof)),
    { examples: ['gw events check proof.json --verifier @verifier.txt'], exits: { [exit.failed]: 'it does not hold' } },
  )
  documented(
    offline(
      filtered(
        asking(
          events
            .command('export [place]')
            .description('the log as a stream: of a running gateway, or without it of where it lies'),
        ),
      ),
    )
      .addOption(
        new Option('--format <format>', 'CloudEvents 1.0, one event a line, or a bundle that verifies by itself')
          .choices(['cloudevents', 'ndjson', 'bundle'])
          .default('bundle'),
      )
      .option('-o, --output <file>', 'instead of stdout')
      .action(lazily(async () => (await import('../events.ts')).exportEvents)),
    {
      examples: ['gw events export -o events.ndjson', 'gw events export ./data --format cloudevents'],
      exits: onlineExits,
    },
  )
  documented(
    asking(events.command('archive').description('move what is due from the store to the archive, now'))
      .option('--force', 'past consumers that have not read so far; never past a legal hold')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/events.ts')).archiveEvents)),
    { examples: ['gw events archive'], exits: onlineExits },
  )
  documented(
    asking(
      events
        .command('erase <subject>')
        .description('make everything that is kept of a subject unreadable for good, in events, requests and keys'),
    )
      .option('--tenant <name>', 'whose subject that is')
      .addOption(yesOption())
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/events.ts')).eraseSubject)),
    { examples: ['gw events erase customer-17 --yes'], exits: onlineExits },
  )
  documented(
    asking(
      events
        .command('rebuild [projection]')
        .description('build projections anew beside the old ones, and swap them in'),
    )
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/events.ts')).rebuildProjections)),
    { examples: ['gw events rebuild'], exits: onlineExits },
  )
}

const which = 'Which events:'

function filtered(command: Command): Command {
  return command
    .addOption(new Option('--actor <name>', 'who did it').helpGroup(which))
    .addOption(new Option('--type <types>', 'one, or several separated by commas').helpGroup(which))
    .addOption(new Option('--subject <subject>', 'what it was done to: a request, a breaker').helpGroup(which))
    .addOption(new Option('--stream <stream>').helpGroup(which))
    .addOption(new Option('--request-id <id>', 'the X-Request-ID behind it').helpGroup(which))
}

function verifierOption(): Option {
  return new Option(
    '--verifier <key>',
    'a public key whose signature is believed, or @file; may be repeated',
  ).argParser(repeated)
}

/** What a log is compared with where it lies. */
function offline(command: Command): Command {
  const group = 'Without a gateway:'
  return command
    .addOption(verifierOption().helpGroup(group))
    .addOption(
      new Option('--note <file>', 'a checkpoint that was kept elsewhere; may be repeated')
        .argParser(repeated)
        .helpGroup(group),
    )
    .addOption(
      new Option('--archive <place>', 'where the events lie that retention took out of the store').helpGroup(group),
    )
    .addOption(new Option('--log <id>', 'which log, where an archive has several').helpGroup(group))
}
