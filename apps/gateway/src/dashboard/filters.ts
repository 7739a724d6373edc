/** What a page's address says, without what is empty. Times of a browser's field are UTC. */
export function filtersOf(url: string, names: readonly string[]): Readonly<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const [name, value] of new URL(url).searchParams) {
    const text = value.trim()
    if (text !== '' && names.includes(name))
      found[name] = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?$/.test(text) ? `${text}Z` : text
  }
  return found
}

/** A time as a browser's field takes it. */
export function fieldTime(text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  const ms = Date.parse(text)
  return Number.isNaN(ms) ? undefined : new Date(ms).toISOString().slice(0, 19)
}

/** An address with filters. */
export function withFilters(path: string, filters: Readonly<Record<string, string | undefined>>): string {
  const fields = Object.entries(filters).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return fields.length === 0 ? path : `${path}?${new URLSearchParams(fields)}`
}
