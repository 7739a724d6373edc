import { type Column, columns, type Slot } from '../wire.ts'
import { onHistory } from './history.ts'

const sparkSlots = 60

/** Moves the small lines of the overview on. */
export function followSparks(): void {
  if (document.querySelector('[data-spark]') === null) return
  onHistory((slots) => {
    for (const spark of document.querySelectorAll<SVGElement>('[data-spark]')) draw(spark, slots)
  })
}

function draw(spark: SVGElement, slots: readonly Slot[]): void {
  const column = columns.indexOf(spark.dataset['spark'] as Column)
  if (column < 0) return
  const values = slots.slice(-sparkSlots).map(({ values }) => values[column] ?? 0)
  if (values.length < 2) return
  const top = Math.max(...values)
  const points = values
    .map((value, i) => {
      const y = 25 - (top === 0 ? 0 : (value / top) * 22)
      return `${((i / (values.length - 1)) * 100).toFixed(1)},${y.toFixed(1)}`
    })
    .join(' ')
  part(spark, 'polygon').setAttribute('points', `0,26 ${points} 100,26`)
  part(spark, 'polyline').setAttribute('points', points)
}

function part(spark: SVGElement, name: 'polygon' | 'polyline'): Element {
  const found = spark.querySelector(name)
  if (found !== null) return found
  const made = document.createElementNS('http://www.w3.org/2000/svg', name)
  spark.append(made)
  return made
}
