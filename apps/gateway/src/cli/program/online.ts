import { type Command, Option } from 'commander'
import { documented, jsonOption, lazily, offlineExits, onlineExits, repeated, wholeNumber } from '../command.ts'
import { exit } from '../failure.ts'
import type { DependencyFlags } from '../online/dependencies.ts'
import { periodArgument } from '../online/times.ts'
import { eventCommands } from './events.ts'
import { asking, yesOption } from './options.ts'
import { requestCommands } from './requests.ts'

/** Commands that ask a running gateway. */
export function onlineCommands(gw: Command): void {
  gw.commandsGroup('Ask a running gateway:')
  requestCommands(gw.command('requests').description('durable requests: look at them, and act on one or on many'))
  eventCommands(gw.command('events').description('the audit trail: read, follow, verify, prove, export, archive'))
  breakerCommands(gw.command('breakers').description('circuit breakers'))
  poolCommands(gw.command('pools').description('connection pools'))
  keyCommands(gw.command('keys').description('idempotency keys'))
  documented(
    asking(gw.command('drain').description('shut a gateway down in order, as SIGTERM does'))
      .option('--wait', 'until it has stopped')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/drain.ts')).drain)),
    { examples: ['gw drain --wait'], exits: onlineExits },
  )
  documented(
    gw
      .command('bench <path>')
      .description('keep requests to a route or a URL under way for a while, and print rate and latency')
      .option('--duration <period>', 'how long', periodArgument, 10_000)
      .option('--connections <n>', 'requests under way at once', wholeNumber(1, 10_000), 50)
      .option('--method <method>', 'GET, or POST with a body')
      .option('--header <header>', "as 'Name: value'; may be repeated", repeated)
      .option('--body <text>', 'the body, or @file')
      .option('--keys', 'give each request an Idempotency-Key of its own')
      .option('--config <file>', 'where the address comes from, instead of gateway.config.* (GW_CONFIG)')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../bench.ts')).bench)),
    {
      examples: [
        'gw bench /health/live --duration 5s',
        `gw bench /api/orders --keys --body '{"item":"lamp","quantity":1}'`,
      ],
      exits: { ...offlineExits, [exit.failed]: 'some answers were errors', [exit.unavailable]: 'nothing answers' },
    },
  )
}

function breakerCommands(breakers: Command): void {
  documented(
    asking(breakers.command('ls').description('every circuit breaker and its state'))
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/dependencies.ts')).listBreakers)),
    { examples: ['gw breakers ls'], exits: onlineExits },
  )
  documented(
    asking(breakers.command('show <name>').description('one, with its figures and history'))
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/dependencies.ts')).showBreaker)),
    { examples: ['gw breakers show billing'], exits: onlineExits },
  )
  for (const [action, description] of [
    ['open', 'force it open: calls are refused until it is reset'],
    ['close', 'force it closed: calls go through until it is reset'],
    ['reset', 'forget what was forced and counted, and begin closed'],
  ] as const)
    documented(
      asking(breakers.command(`${action} <name>`).description(description))
        .addOption(jsonOption())
        .action(
          lazily(async () => {
            const { actOnBreaker } = await import('../online/dependencies.ts')
            return (name: string, flags: DependencyFlags) => actOnBreaker(action, name, flags)
          }),
        ),
      { examples: [`gw breakers ${action} billing`], exits: onlineExits },
    )
}

function poolCommands(pools: Command): void {
  documented(
    asking(pools.command('ls').description('every pool and its figures'))
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/dependencies.ts')).listPools)),
    {
      examples: ['gw pools ls'],
      exits: onlineExits,
    },
  )
  documented(
    asking(pools.command('show <name>').description('all figures of one'))
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/dependencies.ts')).showPool)),
    {
      examples: ['gw pools show database'],
      exits: onlineExits,
    },
  )
  documented(
    asking(pools.command('resize <name>').description('new bounds, until the process ends'))
      .option('--min <n>', 'connections that are kept', wholeNumber(0))
      .option('--max <n>', 'connections at most', wholeNumber(1))
      .option('--factory <name>', 'of this factory only')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/dependencies.ts')).resizePool)),
    { examples: ['gw pools resize database --max 20'], exits: onlineExits },
  )
  documented(
    asking(
      pools
        .command('refresh <name>')
        .description('replace every connection: idle ones now, lent ones when they come back'),
    )
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/dependencies.ts')).refreshPool)),
    { examples: ['gw pools refresh database'], exits: onlineExits },
  )
}

function keyCommands(keys: Command): void {
  const scoped = (command: Command) =>
    asking(command)
      .option('--route <pattern>', 'the route it was sent to, as /api/payment')
      .option('--method <method>', 'POST, unless given')
      .option('--principal <name>', 'who sent it: anonymous, unless given')
      .option('--tenant <name>', 'whose principal that is')
      .addOption(jsonOption())
  documented(
    scoped(
      keys
        .command('show <key>')
        .description('what a key stands for; by its 64 stored digits, or as the client sent it'),
    ).action(lazily(async () => (await import('../online/keys.ts')).showKey)),
    {
      examples: ['gw keys show order-1 --route /api/payment'],
      exits: { ...onlineExits, [exit.failed]: 'there is no such key' },
    },
  )
  documented(
    scoped(
      keys.command('release <key>').description('free a key that is under way, so that the next request with it runs'),
    )
      .addOption(yesOption())
      .action(lazily(async () => (await import('../online/keys.ts')).releaseKey)),
    { examples: ['gw keys release order-1 --route /api/payment --yes'], exits: onlineExits },
  )
  documented(
    asking(
      keys.command('erase <principal>').description('remove every kept answer of a principal; keys under way stay'),
    )
      .option('--tenant <name>', 'whose principal that is')
      .addOption(yesOption())
      .addOption(new Option('--json', 'for programs'))
      .action(lazily(async () => (await import('../online/keys.ts')).eraseKeys)),
    { examples: ['gw keys erase alice --yes'], exits: onlineExits },
  )
}
