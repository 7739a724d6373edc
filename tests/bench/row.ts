/** One figure of a bench. */
export interface Row {
  readonly name: string
  readonly value: number
  readonly unit: string
  /** To the row that it is compared with. */
  readonly ratio?: number
}

/** The one in the middle. */
export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!
}

/** To a place behind the point, or more for small figures. */
export function rounded(value: number): number {
  return Number(value.toFixed(value < 10 ? 2 : 1))
}
