import { table } from '../table.ts'
import { count, relative, size } from '../terminal.ts'
import { type Manifest, sizesOf } from './manifest.ts'

/** A line for each backup, for people. */
export function backupTable(backups: readonly Manifest[]): string {
  return table(
    [
      { title: 'backup' },
      { title: 'of' },
      { title: 'made', right: true },
      { title: 'size', right: true },
      { title: 'runs', right: true },
      { title: 'events', right: true },
    ],
    backups.map((each) => [
      each.id,
      each.kind,
      relative(Date.parse(each.madeAt)),
      size(sizesOf(each).stored),
      count(Object.values(each.runs).reduce((sum, runs) => sum + runs, 0)),
      count(BigInt(each.events?.position ?? 0)),
    ]),
  )
}
