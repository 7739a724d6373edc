import { paint, plain, terminalWidth } from './terminal.ts'

/** What stands in one place of a table. */
export type Cell = string | { readonly text: string; readonly colour: (text: string) => string }

/** A column of a table. */
export interface Column {
  readonly title: string
  /** Numbers and times stand at the right. */
  readonly right?: boolean
  /** May be cut where the terminal is too narrow, down to so many characters; columns at the right are cut first. */
  readonly shrinksTo?: number
}

/** Columns as wide as their widest cell, and together no wider than the terminal where they can shrink so far. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  width: number = terminalWidth(),
): string {
  const texts = rows.map((row) => row.map((cell) => plain(typeof cell === 'string' ? cell : cell.text)))
  const widths = columns.map(({ title }, i) => Math.max(title.length, ...texts.map((row) => row[i]?.length ?? 0)))
  shrink(widths, columns, width)
  const line = (cells: readonly string[], colourOf: (i: number) => ((text: string) => string) | undefined) => {
    const parts = columns.map(({ right = false }, i) => {
      const text = cut(cells[i] ?? '', widths[i]!)
      const padding = ' '.repeat(widths[i]! - text.length)
      const painted = colourOf(i)?.(text) ?? text
      const last = i === columns.length - 1
      return right ? padding + painted : last ? painted : painted + padding
    })
    return parts.join('  ').trimEnd()
  }
  const head = line(
    columns.map(({ title }) => title),
    () => paint.dim,
  )
  return [
    head,
    ...texts.map((row, at) =>
      line(row, (i) => {
        const cell = rows[at]![i]
        return typeof cell === 'object' ? cell.colour : undefined
      }),
    ),
  ].join('\n')
}

/** Takes from the columns that may give, those at the right first. */
function shrink(widths: number[], columns: readonly Column[], width: number): void {
  let surplus = widths.reduce((sum, each) => sum + each, 2 * (widths.length - 1)) - width
  for (let i = columns.length - 1; i >= 0 && surplus > 0; i--) {
    const { shrinksTo, title } = columns[i]!
    if (shrinksTo === undefined) continue
    const given = Math.min(surplus, Math.max(0, widths[i]! - Math.max(title.length, shrinksTo)))
    widths[i]! -= given
    surplus -= given
  }
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`
}

/** Names and values under each other, for one thing. */
export function facts(entries: readonly (readonly [name: string, value: Cell | undefined])[]): string {
  const there = entries.filter((entry): entry is readonly [string, Cell] => entry[1] !== undefined)
  const widest = Math.max(0, ...there.map(([name]) => name.length))
  return there
    .map(([name, value]) => {
      const text = plain(typeof value === 'string' ? value : value.text)
      return `${paint.dim(name.padEnd(widest))}  ${typeof value === 'string' ? text : value.colour(text)}`
    })
    .join('\n')
}
