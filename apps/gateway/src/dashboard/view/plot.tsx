/** @jsxImportSource hono/jsx */
import { type Column, columns, type History, slotMs } from '../wire.ts'
import { clock, figure } from './format.ts'

/** One line of a plot. */
export interface Line {
  readonly column: Column
  readonly name: string
}

/** What a plot shows. */
export interface PlotProps {
  readonly title: string
  readonly unit: string
  readonly lines: readonly Line[]
  readonly history: History
}

const width = 600
const height = 140
/** A gateway that has just started is not shown as an empty hour. */
const leastMs = 300_000
/** Slots that one point of the still picture stands for. */
const perPoint = 4
/** Slots that one row of the table stands for: a minute. */
const perRow = 60_000 / slotMs

/** A plot of the last hour: a still picture and a table from the server, to which the browser adds what moves. */
export function Plot({ title, unit, lines, history }: PlotProps) {
  const picked = lines.map(({ column }) => columns.indexOf(column))
  const { slots } = history
  const points = grouped(slots, perPoint).map((group) => ({
    at: group[0]!.at,
    values: picked.map((column) => mean(group, column)),
  }))
  const top = niceTop(Math.max(0, ...points.flatMap(({ values }) => values.map((value) => value ?? 0))))
  const end = (slots.at(-1)?.at ?? Date.now()) + slotMs
  const start = Math.min(slots[0]?.at ?? end, end - leastMs)
  const x = (at: number) => (((at - start) / (end - start)) * width).toFixed(1)
  const y = (value: number) => (height - (value / top) * (height - 6)).toFixed(1)
  return (
    <gw-plot
      class="card"
      data-columns={lines.map(({ column }) => column).join(' ')}
      data-names={lines.map(({ name }) => name).join('|')}
      data-unit={unit}
    >
      <figure class="plot" aria-label={`${title}, ${unit}, last hour`}>
        <figcaption>
          <h2>{title}</h2>
          <span class="muted small">{unit}, last hour</span>
        </figcaption>
        <div class="area" data-area="">
          <div class="still">
            <svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
              {lines.map((_, i) =>
                segments(points.map(({ at, values }) => ({ at, value: values[i] ?? null }))).map((segment) => (
                  <polyline
                    class={`s${i + 1}`}
                    points={segment.map(({ at, value }) => `${x(at)},${y(value)}`).join(' ')}
                  />
                )),
              )}
            </svg>
            <span class="top small muted">{figure(top)}</span>
            <div class="axis">
              <span>{clock(start)}</span>
              <span>{clock(end)} UTC</span>
            </div>
          </div>
        </div>
        <ul class="legend">
          {lines.map(({ column, name }, i) => (
            <li>
              <svg viewBox="0 0 22 8" aria-hidden="true">
                <line class={`s${i + 1}`} x1="0" y1="4" x2="22" y2="4" />
              </svg>
              {name}
              <span class="reading" data-reading={column}>
                {figure(slots.at(-1)?.values[picked[i]!])}
              </span>
            </li>
          ))}
        </ul>
        <details>
          <summary>As a table</summary>
          <section class="scroll" tabindex={0} aria-label={`${title} as a table`}>
            <table class="grid">
              <thead>
                <tr>
                  <th scope="col">Minute (UTC)</th>
                  {lines.map(({ name }) => (
                    <th scope="col" class="number">
                      {name}
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody data-rows="">
                {grouped(slots, perRow)
                  .reverse()
                  .map((group) => (
                    <tr>
                      <th scope="row">{clock(group[0]!.at).slice(0, 5)}</th>
                      {picked.map((column) => (
                        <td class="number">{figure(mean(group, column))}</td>
                      ))}
                    </tr>
                  ))}
              </tbody>
            </table>
          </section>
        </details>
      </figure>
    </gw-plot>
  )
}

/** A small line without axes; what it shows is said in words beside it. */
export function Spark({ values, column }: { values: readonly (number | null)[]; column?: string }) {
  const top = Math.max(0, ...values.map((value) => value ?? 0))
  const at = (value: number | null, i: number) =>
    `${((i / Math.max(1, values.length - 1)) * 100).toFixed(1)},${(25 - (top === 0 ? 0 : ((value ?? 0) / top) * 22)).toFixed(1)}`
  const points = values.map(at).join(' ')
  return (
    <svg class="spark" viewBox="0 0 100 26" preserveAspectRatio="none" aria-hidden="true" data-spark={column}>
      <line x1="0" y1="25.5" x2="100" y2="25.5" />
      {values.length > 1 ? <polygon points={`0,26 ${points} 100,26`} /> : ''}
      {values.length > 1 ? <polyline points={points} /> : ''}
    </svg>
  )
}

function grouped<Item extends { readonly at: number }>(slots: readonly Item[], size: number): Item[][] {
  const groups = new Map<number, Item[]>()
  for (const slot of slots) {
    const key = Math.floor(slot.at / (size * slotMs))
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [slot])
    else group.push(slot)
  }
  return [...groups.values()]
}

function mean(group: History['slots'], column: number): number | null {
  const values = group.map((slot) => slot.values[column] ?? null).filter((value) => value !== null)
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Unbroken stretches: where nothing was measured, no line is drawn. */
function segments(points: readonly { readonly at: number; readonly value: number | null }[]) {
  const all: { at: number; value: number }[][] = [[]]
  for (const { at, value } of points) {
    if (value !== null) all.at(-1)!.push({ at, value })
    else if (all.at(-1)!.length > 0) all.push([])
  }
  return all.filter(({ length }) => length > 0)
}

/** The next of 1, 2, 5, 10, … */
function niceTop(value: number): number {
  if (value <= 0) return 1
  const size = 10 ** Math.floor(Math.log10(value))
  return [1, 2, 5, 10].map((step) => step * size).find((step) => step >= value)!
}
