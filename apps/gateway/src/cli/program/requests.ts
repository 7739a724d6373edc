import { type Command, Option } from 'commander'
import { documented, jsonOption, lazily, onlineExits, wholeNumber } from '../command.ts'
import { exit } from '../failure.ts'
import type { Action, ActionFlags } from '../online/request-actions.ts'
import { timeArgument } from '../online/times.ts'
import { asking, yesOption } from './options.ts'

/** `gw requests …` */
export function requestCommands(requests: Command): void {
  documented(
    filtered(asking(requests.command('ls').description('list requests, newest first')))
      .option('--limit <n>', 'at most 1000', wholeNumber(1, 1_000), 20)
      .option('--cursor <cursor>', 'where an earlier page ended')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/requests.ts')).listRequests)),
    { examples: ['gw requests ls --status parked,dead', 'gw requests ls --from 2h --json'], exits: onlineExits },
  )
  documented(
    asking(requests.command('show <id>').description('one request: why it stands still, its steps, its events'))
      .option('--payloads', 'what it brought, kept and answered as well, secrets masked')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/requests.ts')).showRequest)),
    { examples: ['gw requests show 01a21116-6e73-7a51-96ab-625bb11319b0'], exits: onlineExits },
  )
  const actions: Readonly<Record<Action, string>> = {
    resume: 'go on with parked or waiting requests from their last kept step',
    retry: 'go on with failed, dead or cancelled requests from their last kept step',
    cancel: 'end requests that are not finished, taking their effects back',
  }
  for (const [action, description] of Object.entries(actions) as [Action, string][])
    documented(
      filtered(asking(requests.command(`${action} [ids...]`).description(`${description}; by id, or all of a filter`)))
        .option('--dry-run', 'only say how many a filter shows')
        .addOption(yesOption())
        .addOption(jsonOption())
        .action(
          lazily(async () => {
            const { actOnRequests } = await import('../online/request-actions.ts')
            return (ids: readonly string[], flags: ActionFlags) => actOnRequests(action, ids, flags)
          }),
        ),
      {
        examples: [
          `gw requests ${action} 01a21116-6e73-7a51-96ab-625bb11319b0`,
          `gw requests ${action} --status ${action === 'cancel' ? 'queued' : 'parked'} --operation payment --dry-run`,
        ],
        exits: { ...onlineExits, [exit.failed]: 'some could not be done' },
      },
    )
  documented(
    asking(requests.command('fork <id>').description('run a request again as one of its own, and print its id'))
      .option('--from-step <step>', 'the first step that runs again, as charge#2; all, unless given')
      .option('--body <text>', 'another body, or @file')
      .option('--as-version <version>', 'under another version')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/request-actions.ts')).forkRequest)),
    { examples: ['gw requests fork 01a21116-… --from-step charge --body @payment.json'], exits: onlineExits },
  )
  documented(
    asking(requests.command('resolve <id>').description('decide about a parked request'))
      .option('--rerun', 'go on from the last kept step, and run what was under way again')
      .option('--restart', 'forget every kept step')
      .option('--done <step>', 'this step had its effect')
      .option('--value <json>', 'what that step came to')
      .option('--fail <reason>', 'end it, taking its effects back')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/request-actions.ts')).resolveRequest)),
    {
      examples: [
        'gw requests resolve 01a21116-… --rerun',
        `gw requests resolve 01a21116-… --done charge --value '{"id":7}'`,
      ],
      exits: onlineExits,
    },
  )
  documented(
    asking(
      requests
        .command('signal <id> <name> [value]')
        .description('send a signal, with a JSON value, to a request that waits for it'),
    )
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/request-actions.ts')).signalRequest)),
    { examples: ['gw requests signal 01a21116-… approved true'], exits: onlineExits },
  )
  documented(
    asking(requests.command('export <id>').description('a request whole, payloads as they are, as JSON'))
      .option('-o, --output <file>', 'instead of stdout')
      .action(lazily(async () => (await import('../online/request-actions.ts')).exportRequest)),
    { examples: ['gw requests export 01a21116-… -o request.json'], exits: onlineExits },
  )
  documented(
    asking(
      requests.command('import <files...>').description('take in requests that were exported; one that is there stays'),
    )
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../online/request-actions.ts')).importRequests)),
    { examples: ['gw requests import request.json'], exits: onlineExits },
  )
}

function filtered(command: Command): Command {
  const group = 'Which requests:'
  return command
    .addOption(new Option('--status <statuses>', 'one, or several separated by commas').helpGroup(group))
    .addOption(new Option('--operation <name>').helpGroup(group))
    .addOption(new Option('--principal <name>', 'whose').helpGroup(group))
    .addOption(new Option('--request-id <id>', 'their X-Request-ID').helpGroup(group))
    .addOption(new Option('--stage <stage>').helpGroup(group))
    .addOption(
      new Option('--from <time>', 'accepted since: ISO 8601, or how long ago, as 2h')
        .argParser(timeArgument)
        .helpGroup(group),
    )
    .addOption(new Option('--to <time>', 'accepted before').argParser(timeArgument).helpGroup(group))
    .addOption(new Option('--text <text>', 'part of id, operation, route, principal or reason').helpGroup(group))
}
