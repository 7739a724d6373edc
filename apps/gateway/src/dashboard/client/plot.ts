import UPlot from 'uplot'
import { type Column, columns, type Slot, slotMs } from '../wire.ts'
import { onHistory } from './history.ts'
import { clock, figure } from './text.ts'

const height = 168
const dashes: readonly (readonly number[])[] = [[], [6, 3], [2, 3], [8, 3, 2, 3]]
/** A gateway that has just started is not shown as an empty hour. */
const leastSeconds = 300
const slotsPerRow = 60_000 / slotMs

/** Draws a plot over the still picture that the server sent, and keeps its table up to date while that is open. */
export class LivePlot extends HTMLElement {
  #plot: UPlot | undefined
  #end: (() => void) | undefined
  #resize: ResizeObserver | undefined
  #columns: number[] = []
  #slots: readonly Slot[] = []
  readonly #redraw = () => {
    this.#plot?.destroy()
    this.#plot = undefined
    this.#draw()
  }
  readonly #scheme = matchMedia('(prefers-color-scheme: dark)')

  connectedCallback(): void {
    this.#columns = (this.dataset['columns'] ?? '').split(' ').map((name) => columns.indexOf(name as Column))
    this.#end = onHistory((slots) => {
      this.#slots = slots
      this.#draw()
      this.#fillTable()
    })
    this.#resize = new ResizeObserver(() => {
      const area = this.#area
      if (area !== null && this.#plot !== undefined && area.clientWidth !== this.#plot.width)
        this.#plot.setSize({ width: area.clientWidth, height })
    })
    if (this.#area !== null) this.#resize.observe(this.#area)
    this.querySelector('details')?.addEventListener('toggle', () => this.#fillTable())
    this.#scheme.addEventListener('change', this.#redraw)
  }

  disconnectedCallback(): void {
    this.#end?.()
    this.#resize?.disconnect()
    this.#scheme.removeEventListener('change', this.#redraw)
    this.#plot?.destroy()
    this.#plot = undefined
  }

  get #area(): HTMLElement | null {
    return this.querySelector<HTMLElement>('[data-area]')
  }

  #data(): UPlot.AlignedData {
    const slots = this.#slots
    return [
      slots.map(({ at }) => at / 1_000),
      ...this.#columns.map((column) => slots.map(({ values }) => values[column] ?? null)),
    ]
  }

  #draw(): void {
    const area = this.#area
    if (area === null || area.clientWidth === 0 || this.#slots.length < 2) return
    if (this.#plot !== undefined) {
      this.#plot.setData(this.#data())
      return
    }
    const colour = (name: string) => this.#colour(name)
    const axis = {
      stroke: colour('--ink-2'),
      grid: { stroke: colour('--line'), width: 1 },
      ticks: { show: false },
      font: `11px ${getComputedStyle(this).getPropertyValue('--sans')}`,
    }
    area.replaceChildren()
    this.#plot = new UPlot(
      {
        width: area.clientWidth,
        height,
        legend: { show: false },
        padding: [8, 8, 0, 0],
        tzDate: (seconds) => UPlot.tzDate(new Date(seconds * 1_000), 'Etc/UTC'),
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
        scales: {
          x: { range: (_, min, max) => [Math.min(min, max - leastSeconds), max] },
          y: { range: (_, __, max) => [0, max > 0 ? max * 1.08 : 1] },
        },
        axes: [
          { ...axis, size: 24, values: (_, splits) => splits.map((at) => clock(at * 1_000).slice(0, 5)) },
          { ...axis, size: 46, gap: 4, values: (_, splits) => splits.map(short) },
        ],
        series: [
          {},
          ...this.#columns.map((_, i) => ({
            stroke: colour(`--series-${i + 1}`),
            width: 1.75,
            dash: [...dashes[i]!],
            points: { show: false },
          })),
        ],
        hooks: { setCursor: [(plot) => this.#read(plot.cursor.idx ?? undefined)] },
      },
      this.#data(),
      area,
    )
    this.#read(undefined)
  }

  /** What a token of a colour is in the scheme that holds here: a canvas knows neither. */
  #colour(name: string): string {
    this.style.color = `var(${name})`
    const { color } = getComputedStyle(this)
    this.style.removeProperty('color')
    return color
  }

  /** Shows the figures under the cursor in the legend; the newest ones where it is elsewhere. */
  #read(index: number | undefined): void {
    const slot = this.#slots[index ?? this.#slots.length - 1]
    this.querySelectorAll('[data-reading]').forEach((reading, i) => {
      reading.textContent = figure(slot?.values[this.#columns[i]!])
    })
  }

  #fillTable(): void {
    const body = this.querySelector('[data-rows]')
    if (body === null || this.querySelector('details')?.open !== true) return
    const rows: HTMLTableRowElement[] = []
    let group: Slot[] = []
    const put = () => {
      if (group.length === 0) return
      const row = document.createElement('tr')
      const head = document.createElement('th')
      head.scope = 'row'
      head.textContent = clock(group[0]!.at).slice(0, 5)
      row.append(head)
      for (const column of this.#columns) {
        const cell = row.insertCell()
        cell.className = 'number'
        cell.textContent = figure(mean(group, column))
      }
      rows.unshift(row)
      group = []
    }
    for (const slot of this.#slots) {
      if (group.length > 0 && minuteOf(slot) !== minuteOf(group[0]!)) put()
      group.push(slot)
    }
    put()
    body.replaceChildren(...rows)
  }
}

function minuteOf({ at }: Slot): number {
  return Math.floor(at / (slotsPerRow * slotMs))
}

function mean(group: readonly Slot[], column: number): number | null {
  const values = group.map(({ values }) => values[column] ?? null).filter((value) => value !== null)
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length
}

function short(value: number): string {
  return value >= 1_000 ? `${value / 1_000}k` : String(Math.round(value * 1_000) / 1_000)
}
