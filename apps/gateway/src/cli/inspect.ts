import { existsSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { folderArchive } from '@gw/events/folder'
import { CommandError, exit } from './failure.ts'
import { bucketAt, isBucket } from './offline/bucket.ts'
import { inspectObjects, objectsReportText } from './offline/inspect-objects.ts'
import { damageOf, inspectStores, storeReportText } from './offline/inspect-stores.ts'
import { lookIntoRedis, type RedisReport } from './offline/redis-look.ts'
import { facts } from './table.ts'
import { count, paint, size } from './terminal.ts'

/** `gw inspect`: looks into whatever a gateway keeps things in, and changes nothing there. */
export async function inspect(
  place: string,
  flags: { readonly quick?: boolean; readonly json?: boolean },
): Promise<void> {
  const { quick = false, json = false } = flags
  if (/^rediss?:\/\//.test(place)) {
    const report = await lookIntoRedis(place)
    console.log(json ? JSON.stringify(report) : redisReportText(report))
    return
  }
  if (/^postgres(?:ql)?:\/\//.test(place) || existsSync(join(place, 'gateway.db'))) {
    const report = await inspectStores(place, quick)
    console.log(json ? JSON.stringify(report) : storeReportText(report))
    if (damageOf(report).length > 0) process.exitCode = exit.failed
    return
  }
  const report = isBucket(place)
    ? await inspectObjects({ ...bucketAt(place), quick })
    : await inspectObjects({ place: resolve(place), target: folderArchive({ path: folderAt(place) }), quick })
  console.log(json ? JSON.stringify(report) : objectsReportText(report))
  if (report.damage.length > 0) process.exitCode = exit.failed
}

function folderAt(place: string): string {
  if (statSync(place, { throwIfNoEntry: false })?.isDirectory() === true) return resolve(place)
  throw new CommandError(
    `${place} is no data directory, archive or backup folder; expected one of those, postgres://, redis:// or s3://`,
  )
}

function redisReportText({ place, version, nodes, keys, breakers, bytes, risks }: RedisReport): string {
  return [
    facts([
      ['place', place],
      ['redis', `${version}${nodes > 1 ? `, ${nodes} masters` : ''}`],
      ['size', `${size(bytes)} in all`],
      ['keys', count(keys)],
      ['breakers', count(breakers)],
    ]),
    '',
    risks.length === 0
      ? paint.green('Its settings keep what it is given.')
      : paint.yellow(`At risk:\n${risks.map((risk) => `  ${risk}`).join('\n')}`),
  ].join('\n')
}
