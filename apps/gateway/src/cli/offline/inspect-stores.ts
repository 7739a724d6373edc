import { type LogStats, stats, type Verification } from '@gw/events'
import { progressOf } from '../progress.ts'
import { facts, table } from '../table.ts'
import { count, paint, relative, size } from '../terminal.ts'
import type { SchemaState } from './read-only-sqlite.ts'
import { type DamagedRun, damagedRuns } from './run-damage.ts'
import { eventsOf, type KeyFigures, lookIntoDirectory, lookIntoPostgres, type TableSize } from './store-look.ts'

/** What `gw inspect` found in a data directory or a database. */
export interface StoreReport {
  readonly kind: 'sqlite' | 'postgres'
  readonly place: string
  readonly remark: string | undefined
  readonly bytes: number
  readonly schemas: readonly SchemaState[]
  readonly tables: readonly TableSize[]
  readonly runs: { readonly total: number; readonly byStatus: Readonly<Record<string, number>> } | undefined
  readonly keys: KeyFigures | undefined
  readonly events: LogStats | undefined
  /** What is damaged; `undefined` where it was not looked for. */
  readonly damage:
    | {
        readonly engine: readonly string[]
        readonly runs: readonly DamagedRun[]
        readonly log: Verification | undefined
      }
    | undefined
}

/** Looks into the stores of a gateway, and reads everything unless it is to be `quick`. */
export async function inspectStores(place: string, quick: boolean): Promise<StoreReport> {
  const look = await (/^postgres(?:ql)?:/.test(place) ? lookIntoPostgres(place) : lookIntoDirectory(place))
  try {
    const byStatus = await look.runs?.counts()
    const total = Object.values(byStatus ?? {}).reduce((sum, runs) => sum + runs, 0)
    const events = look.log === undefined ? undefined : await eventsOf(look)
    const base = {
      kind: look.kind,
      place: look.place,
      remark: look.remark,
      bytes: look.bytes,
      schemas: look.schemas,
      tables: await look.sizes(),
      runs: byStatus && { total, byStatus },
      keys: await look.keys(),
      events: events && (await stats(events)),
    }
    if (quick) return { ...base, damage: undefined }
    const engine = await look.check()
    const reading = progressOf('Reading runs', { of: total, unit: 'runs' })
    const runs = await damagedRuns(look, (read) => reading.at(read))
    reading.end()
    const verifying = progressOf('Verifying events', { unit: 'events' })
    const log = await events?.verify({ onProgress: ({ events: done, of }) => verifying.at(done, Number(of)) })
    verifying.end()
    return { ...base, damage: { engine, runs, log } }
  } finally {
    await look.close()
  }
}

/** Everything that is damaged, a line each. */
export function damageOf({ damage }: StoreReport): readonly string[] {
  if (damage === undefined) return []
  return [
    ...damage.engine.map((line) => `file: ${line}`),
    ...damage.runs.map(({ id, part, detail }) => `run ${id}: its ${part} cannot be read (${detail})`),
    ...(damage.log?.problems ?? []).map(({ kind, position, detail }) => `events: ${kind} at ${position}, ${detail}`),
  ]
}

/** A report for people. */
export function storeReportText(report: StoreReport): string {
  const { place, remark, bytes, schemas, tables, runs, keys, events, damage } = report
  const damaged = damageOf(report)
  const log = damage?.log
  const sections = [
    facts([
      ['place', place],
      ['size', size(bytes)],
      ['schemas', schemas.map(schemaText).join(', ')],
      ['note', remark],
    ]),
    facts([
      ['runs', runs === undefined ? 'none: no gateway has started here yet' : runsText(runs.byStatus)],
      ['keys', keys && `${count(keys.keys)}, ${count(keys.answered)} of them answered`],
      ['events', events && `${count(BigInt(events.head))}${eventNotes(events)}`],
      ['log', events?.id],
      ['last event', events?.lastTime === undefined ? undefined : relative(Date.parse(events.lastTime))],
      ['head', log && `${log.head.position} ${log.head.hash}`],
    ]),
    events !== undefined && events.consumers.length > 0
      ? table(
          [
            { title: 'consumer', shrinksTo: 12 },
            { title: 'at', right: true },
            { title: 'behind', right: true },
          ],
          events.consumers.map(({ name, position }) => [
            name,
            count(BigInt(position)),
            count(BigInt(events.head) - BigInt(position)),
          ]),
        )
      : '',
    table(
      [
        { title: 'table', shrinksTo: 12 },
        { title: 'size', right: true },
      ],
      largest(tables).map(({ table: name, bytes: taken }) => [name, size(taken)]),
    ),
    damage === undefined
      ? paint.dim('Nothing was checked for damage (--quick).')
      : damaged.length === 0
        ? paint.green('No damage: every row fits its checksum, and the chain of events is whole.')
        : paint.red(`Damaged:\n${damaged.map((line) => `  ${line}`).join('\n')}`),
  ]
  return sections.filter((section) => section !== '').join('\n\n')
}

const shownTables = 8

function largest(tables: readonly TableSize[]): readonly TableSize[] {
  const rest = tables.slice(shownTables)
  if (rest.length === 0) return tables
  const bytes = rest.reduce((sum, each) => sum + each.bytes, 0)
  return [...tables.slice(0, shownTables), { table: `${rest.length} others`, bytes }]
}

function schemaText({ owner, found, known }: SchemaState): string {
  if (found === known) return `${owner} ${found}`
  return `${owner} ${found} ${found < known ? `(this gw knows ${known}: gw migrate)` : `(newer than this gw, which knows ${known})`}`
}

/** How many runs there are, and those of each status that has some. */
export function runsText(byStatus: Readonly<Record<string, number>>): string {
  const total = Object.values(byStatus).reduce((sum, runs) => sum + runs, 0)
  const parts = Object.entries(byStatus)
    .filter(([, runs]) => runs > 0)
    .map(([status, runs]) => `${count(runs)} ${status}`)
  return parts.length === 0 ? '0' : `${count(total)} (${parts.join(', ')})`
}

function eventNotes({ base, parked, dead }: LogStats): string {
  const notes = [
    base === '0' ? undefined : `up to ${base} archived`,
    parked === 0 ? undefined : `${count(parked)} parked`,
    dead === 0 ? undefined : `${count(dead)} dead letters`,
  ].filter((note) => note !== undefined)
  return notes.length === 0 ? '' : ` (${notes.join(', ')})`
}
