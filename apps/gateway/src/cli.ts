#!/usr/bin/env node
import { Command } from 'commander'
import { printSchema, showConfig } from './cli/config.ts'
import { verifyEvents } from './cli/events.ts'
import { listRequests, showRequest } from './cli/requests.ts'
import { restoreRequests } from './cli/restore.ts'
import { start } from './cli/start.ts'

const program = new Command('gw').description('Durable Gateway').version('0.0.0').showHelpAfterError()

program
  .command('start')
  .description('run the gateway of gateway.config.*, or the reference gateway where there is none')
  .option('--host <host>', 'where to listen (HOST)')
  .option('--port <port>', "the gateway's port (PORT)")
  .option('--admin-port <port>', "the admin listener's port (GW_ADMIN_PORT)")
  .option('--data-dir <directory>', 'where the database lies (GW_DATA_DIR)')
  .option('--config <file>', 'instead of gateway.config.{ts,js,json,yaml} (GW_CONFIG)')
  .addHelpText(
    'after',
    '\nExample: gw start --port 8080 --data-dir /var/lib/gateway\nExit codes: 0 stopped, 1 could not start, 74 storage failed, 78 refused configuration',
  )
  .action(start)

const requests = program.command('requests').description('durable requests')
requests
  .command('ls')
  .description('list requests, newest first')
  .option('--status <status>')
  .option('--operation <name>')
  .option('--limit <n>', 'at most 1000', '20')
  .option('--json', 'for programs')
  .addHelpText('after', '\nExample: gw requests ls --status running')
  .action(listRequests)
requests
  .command('show <id>')
  .description('one request and its steps')
  .option('--json', 'for programs')
  .action(showRequest)

const events = program.command('events').description('the audit trail')
events
  .command('verify')
  .description('recompute every hash of the log')
  .option('--json', 'for programs')
  .addHelpText('after', '\nExit codes: 0 the log is whole, 1 it is damaged')
  .action(verifyEvents)

program
  .command('restore')
  .description(
    'bring back every backed-up request from the cold tier (GW_S3_URL), onto an empty machine or beside what is there',
  )
  .option('--config <file>', 'instead of gateway.config.{ts,js,json,yaml} (GW_CONFIG)')
  .addHelpText(
    'after',
    '\nExample: GW_S3_URL=https://key:secret@host/bucket gw restore\nExit codes: 0 restored, 1 failed, 78 refused configuration',
  )
  .action(restoreRequests)

const config = program.command('config').description('the configuration')
for (const [name, description] of [
  ['check', 'say everything that is wrong with it, or that nothing is'],
  ['print', 'what file, environment and flags come to, secrets masked'],
  ['diff', 'what differs from the defaults'],
] as const) {
  config
    .command(name)
    .description(description)
    .option('--config <file>', 'instead of gateway.config.{ts,js,json,yaml} (GW_CONFIG)')
    .option('--json', 'for programs')
    .action((flags) => showConfig(name, flags))
}
config.command('schema').description('its JSON Schema, for editors').action(printSchema)

await program.parseAsync()
