import { existsSync } from 'node:fs'
import { type ConfiguredStores, configuredStores, type StoreFlags } from './configured.ts'
import { checkGateway, checkToken } from './doctor/admin.ts'
import { type Finding, failed, ok } from './doctor/finding.ts'
import { checkDataDirectory, checkRuntime } from './doctor/machine.ts'
import { checkBucket, checkPrimary, checkRedis } from './doctor/stores.ts'
import { checkEvents, checkRuns } from './doctor/work.ts'
import { exit, messageOf } from './failure.ts'
import { paint, terminalWidth } from './terminal.ts'

/** `gw doctor` */
export async function doctor(flags: StoreFlags & { readonly deep?: boolean; readonly json?: boolean }): Promise<void> {
  const findings = await examine(flags)
  const worst = findings.some(({ state }) => state === 'failed')
  if (flags.json === true) console.log(JSON.stringify({ ok: !worst, findings }))
  else console.log(reportText(findings))
  const configuration = findings.some(({ check, state }) => check === 'configuration' && state === 'failed')
  if (worst) process.exitCode = configuration ? exit.configuration : exit.failed
}

async function examine(flags: StoreFlags & { readonly deep?: boolean }): Promise<readonly Finding[]> {
  const findings: Finding[] = [checkRuntime()]
  let stores: ConfiguredStores
  try {
    stores = await configuredStores(flags)
  } catch (error) {
    return [...findings, failed('configuration', messageOf(error), 'Mend what is named, and run gw config check')]
  }
  const { loaded, dataDir, databaseUrl, redisUrl, coldTierUrl } = stores
  findings.push(ok('configuration', loaded.file ?? 'no file; environment and defaults'))
  findings.push(...checkToken(loaded.config))
  if (databaseUrl === undefined || existsSync(dataDir)) findings.push(...checkDataDirectory(dataDir))
  const { findings: primary, look } = await checkPrimary(dataDir, databaseUrl, redisUrl)
  findings.push(...primary)
  try {
    // Tables of another version are not read as if they were of this one.
    const current = (owner: string) =>
      look?.schemas.some((schema) => schema.owner === owner && schema.found === schema.known) === true
    if (look !== undefined && current('checkpoint')) findings.push(...(await checkRuns(look)))
    if (look !== undefined && current('events')) findings.push(...(await checkEvents(look, flags.deep === true)))
  } catch (error) {
    findings.push(
      failed(
        'runs',
        messageOf(error),
        `See gw inspect ${databaseUrl === undefined ? dataDir : 'with the URL of the database'}`,
      ),
    )
  } finally {
    await look?.close()
  }
  if (redisUrl !== undefined) findings.push(...(await checkRedis(redisUrl)))
  if (coldTierUrl !== undefined) findings.push(...(await checkBucket(coldTierUrl)))
  if (loaded.config.admin?.enabled !== false) findings.push(...(await checkGateway(flags)))
  return findings
}

function reportText(findings: readonly Finding[]): string {
  const marks = { ok: paint.green('✓'), warning: paint.yellow('!'), failed: paint.red('✗') }
  const widest = Math.max(...findings.map(({ check }) => check.length))
  const indent = ' '.repeat(widest + 4)
  const room = Math.max(20, Math.min(terminalWidth(), 120) - widest - 4)
  const lines = findings.flatMap(({ check, state, detail, mend }) => {
    const [first = '', ...more] = detail.split('\n').flatMap((line) => wrapped(line, room))
    const advice =
      state === 'ok' || mend === undefined ? [] : wrapped(`→ ${mend}`, room).map((line) => paint.cyan(line))
    return [`${marks[state]} ${check.padEnd(widest)}  ${first}`, ...[...more, ...advice].map((line) => indent + line)]
  })
  const bad = findings.filter(({ state }) => state === 'failed').length
  const odd = findings.filter(({ state }) => state === 'warning').length
  const verdict =
    bad > 0
      ? paint.red(`${bad} ${bad === 1 ? 'thing is' : 'things are'} wrong${odd > 0 ? `, and ${odd} to look at` : ''}.`)
      : odd > 0
        ? paint.yellow(`It works; ${odd} ${odd === 1 ? 'thing' : 'things'} to look at.`)
        : paint.green('All is well.')
  return `${lines.join('\n')}\n\n${verdict}`
}

function wrapped(text: string, room: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > room) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}
