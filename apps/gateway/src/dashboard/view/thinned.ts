/** At most sixty points, each the largest of its stretch, so that a peak stays one. */
export function thinned(values: readonly number[]): readonly number[] {
  const size = Math.ceil(values.length / 60)
  if (size <= 1) return values
  return Array.from({ length: Math.ceil(values.length / size) }, (_, i) =>
    Math.max(...values.slice(i * size, (i + 1) * size)),
  )
}
